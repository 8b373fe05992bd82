"""Write docs/atlas.md: every equation of the five texts, what is right, the function, and the proof.

    python docs/atlas/make.py

The equations are those of equations.yaml. Which function computes an equation, and which test proves it, is read from
the code: from tags such as `Sedykh eq. 2.68` in the docstrings of src and tests, and in the sources of the identities
of `fromnoise verify`, which the tests run. There is no list to keep.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SEEDS = ("Friedman", "Sedykh", "Notes", "Weng", "Shorts")
_ITEM = r"(?:\d+(?:\.\d+)?(?:-\d+(?:\.\d+)?)?)"
_TAG = re.compile(
    rf"({'|'.join(SEEDS)})(?:'s?)? (?:eq\. ({_ITEM}(?:(?:, | and ){_ITEM})*)|(Algorithm \d|Appendix A|table))"
)


@dataclass(frozen=True)
class Place:
    """Something with a docstring: `name` as one would import it, `line` of `path`."""

    name: str
    path: str
    line: int


def tags(text: str) -> Iterator[tuple[str, str]]:
    """(seed, equation) for every equation that a text names: ranges are taken apart."""
    for seed, items, other in _TAG.findall(" ".join(text.split())):
        if other:
            yield seed, other
            continue
        for item in re.split(r", | and ", items):
            yield from ((seed, number) for number in _numbers(item))


def _numbers(item: str) -> list[str]:
    first, _, last = item.partition("-")
    if not last:
        return [first]
    before, _, low = first.rpartition(".")
    high = last.rpartition(".")[2]
    prefix = before + "." if before else ""
    return [f"{prefix}{n}" for n in range(int(low), int(high) + 1)]


def docstrings(folder: Path, strip: str) -> Iterator[tuple[Place, str]]:
    """Every docstring below a folder, and the sources of the identities, with their places."""
    for path in sorted(folder.rglob("*.py")):
        module = ".".join(path.relative_to(folder).with_suffix("").parts)
        relative = str(path.relative_to(ROOT))
        yield from _inside(ast.parse(path.read_text(encoding="utf-8")), f"{strip}{module}", relative)


def _inside(node: ast.AST, name: str, path: str) -> Iterator[tuple[Place, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        text = ast.get_docstring(node) or ""
        for mark in getattr(node, "decorator_list", ()):
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "check":
                text += " " + "".join(
                    v.value for v in ast.walk(mark) if isinstance(v, ast.Constant) and isinstance(v.value, str)
                )
        yield Place(name, path, getattr(node, "lineno", 1)), text
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                yield from _inside(child, f"{name}.{child.name}", path)


def index() -> tuple[dict, dict]:
    """(seed, equation) -> the functions that compute it, and the tests that prove it."""
    functions: dict[tuple[str, str], list[Place]] = {}
    proofs: dict[tuple[str, str], list[Place]] = {}
    for place, text in docstrings(ROOT / "src" / "fromnoise", ""):
        where = proofs if place.name.startswith("verify.") else functions
        for tag in tags(text):
            where.setdefault(tag, []).append(place)
    for place, text in docstrings(ROOT / "tests", "tests."):
        for tag in tags(text):
            proofs.setdefault(tag, []).append(place)
    return functions, proofs


def inventory() -> dict:
    """equations.yaml."""
    return yaml.safe_load((ROOT / "docs" / "atlas" / "equations.yaml").read_text(encoding="utf-8"))


def equations(entry: dict) -> list[str]:
    """The single equations that an entry covers: "2.4-2.5" is two."""
    return _numbers(entry["eq"]) if re.fullmatch(_ITEM, entry["eq"]) else [entry["eq"]]


def page() -> str:
    """The atlas as Markdown."""
    functions, proofs = index()
    seeds = inventory()
    total = sum(len(equations(e)) for seed in seeds.values() for e in seed["entries"])
    errs = sum("right" in e for seed in seeds.values() for e in seed["entries"])
    out = [
        "# The atlas: every equation of the five texts\n",
        f"{total} equations; {errs} entries where a text errs, with what is right. For each the function that computes "
        "it, and the identities of `fromnoise verify` and the tests that prove it. Generated from the tags in the "
        "docstrings by `python docs/atlas/make.py`; a test fails when an equation has no function or no proof.\n",
    ]
    for seed, about in seeds.items():
        out.append(f"\n## {seed}: {about['title']} ({about['author']})\n")
        out.append("| eq. | what it says | as written | what is right | function | proof |\n|---|---|---|---|---|---|")
        for entry in about["entries"]:
            keys = [(seed, number) for number in equations(entry)]
            right = f"${entry['right']}$" if "right" in entry else ""
            links = [_links(found, keys) for found in (functions, proofs)]
            cells = [entry["eq"], entry["about"], f"${entry['writes']}$", right, *links]
            out.append("| " + " | ".join(cell.replace("\n", " ") for cell in cells) + " |")
    return "\n".join(out) + "\n"


def _links(found: dict, keys: list[tuple[str, str]]) -> str:
    places = dict.fromkeys(place for key in keys for place in found.get(key, ()))
    return ", ".join(f"[{_short(p.name)}](../{p.path})" for p in places)


def _short(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "verify":
        return f"verify: {parts[-1].replace('_', ' ')}"
    if parts[0] == "tests":
        return parts[-1].removeprefix("test_").replace("_", " ")
    kept = [part for part in parts if not part.startswith("_") or part == "__init__"]
    return f"`{'.'.join(kept[-2:])}`"


if __name__ == "__main__":
    (ROOT / "docs" / "atlas.md").write_text(page(), encoding="utf-8")
    print("docs/atlas.md")
