"""What editors and type checkers see of the packages whose attributes are imported when they are first used.

    python tests/exports.py            # names the packages whose static imports are not those of their lazy exports
    python tests/exports.py --write    # and writes them anew

Each such package has one block: `if TYPE_CHECKING:` an import for each lazy export and each registered class, and `else:`
what loads them when they are used, which a type checker must not see: a module with a `__getattr__` has every name.
Everything is read from the source, so that nothing is imported: a file that a newcomer adds is found by its
`@register`.
"""

import ast
import re
import sys
import textwrap
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
LAZY = {"lazy_attributes", "lazy_registry"}


def packages(src: Path = SRC) -> list[Path]:
    """The `__init__.py` of every package that has lazy exports."""
    return [path for path in sorted(src.rglob("__init__.py")) if _lazy(ast.parse(path.read_text())) is not None]


def lines(path: Path, src: Path = SRC) -> list[str]:
    """The static imports that belong into that `__init__.py`, sorted as ruff sorts them."""
    package = ".".join(path.parent.relative_to(src).parts)
    lazy = _lazy(ast.parse(path.read_text()))
    assert lazy is not None
    call = lazy.value
    found = []
    for keyword in call.keywords:
        attribute, place = keyword.arg, keyword.value.value
        module, _, name = place.partition(":")
        if name == "*":
            parent, _, name = f"{package}.{module}".rpartition(".")
        else:
            parent, name = f"{package}.{module}", name or attribute
        found.append((parent, name, attribute))
    if call.func.id == "lazy_registry":
        found += [(f"{package}.{module}", name, name) for module, name in _registered(path.parent)]
    assert len({attribute for *_, attribute in found}) == len(found), f"{path}: two exports of one name"
    return [f"from {module} import {name} as {attribute}" for module, name, attribute in sorted(found, key=_order)]


def written(path: Path, src: Path = SRC) -> str:
    """The text of that `__init__.py` with the imports that belong there."""
    text = path.read_text()
    rows, tree = text.splitlines(), ast.parse(text)
    lazy = _lazy(tree)
    assert lazy is not None
    loads = textwrap.dedent("\n".join(rows[lazy.lineno - 1 : lazy.end_lineno])).splitlines()
    block = ["if TYPE_CHECKING:", *(f"    {line}" for line in lines(path, src)), "else:", *(f"    {r}" for r in loads)]
    whole = next((node for node in tree.body if lazy in ast.walk(node)), lazy)
    rows[whole.lineno - 1 : whole.end_lineno] = block
    for node in tree.body:  # a block without the lazy exports, as a hand may have written it
        if _is_block(node) and node is not whole:
            rows[node.lineno - 1 : node.end_lineno + 1] = []
    if not re.search(r"^from typing import .*\bTYPE_CHECKING\b", text, re.MULTILINE):
        first = min(node.lineno for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
        rows[first - 1 : first - 1] = ["from typing import TYPE_CHECKING", ""]
    return "\n".join(rows) + "\n"


def _lazy(tree: ast.Module) -> ast.Assign | None:
    """`__getattr__, __dir__ = lazy_attributes(...)`, or of `lazy_registry(...)`."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Assign) else None
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in LAZY:
            return node
    return None


def _is_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _registered(folder: Path) -> list[tuple[str, str]]:
    """(module, class) of every `@register` in the folder."""
    found = []
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                calls = [d.func for d in node.decorator_list if isinstance(d, ast.Call)]
                found += [(path.stem, node.name) for f in calls if isinstance(f, ast.Name) and f.id == "register"]
    return found


def _order(export: tuple[str, str, str]) -> tuple:
    """As ruff sorts: by module, its numbers by size; then constants, classes, the rest."""
    module, name, attribute = export
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    parts = [(int(p) if p.isdigit() else 0, p) for p in re.split(r"(\d+)", module.lower())]
    return parts, kind, name, attribute


def main(arguments: list[str]) -> int:
    stale = [path for path in packages() if written(path) != path.read_text()]
    for path in stale:
        print(path.relative_to(SRC.parent))
        if "--write" in arguments:
            path.write_text(written(path))
    if stale and "--write" not in arguments:
        print("write them anew with: python tests/exports.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
