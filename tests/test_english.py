"""The glossary's forbidden words are in no docstring, help text or page."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOT = {
    r"\bunless given\b|\bits usual\b|\bas usual\b": "default",
    r"\b(?:is|are|was|were|be|been) told\b(?! apart)": "conditioning, condition",
    r"\bmodels? of latents\b": "latent model",
    r"\bprev(?:ious)? t\b|\bt_prev\b|\breversed time\b": "t, s with s < t",
    r"\bx_start\b|\bmodel_output\b": "x0, the network's output",
    r"\balphas_cumprod\b": "alpha_bar",
    r"\bof strangers\b|\bstrangers'|\bstranger's\b": "third-party",
}
FOREIGN = ("weights/", "docs/coming-from/", "docs/comparison.md")  # where others' names are what it is about


def docstrings(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for one in node.body:  # attribute docstrings too, which are the command line's help
                if (
                    isinstance(one, ast.Expr)
                    and isinstance(one.value, ast.Constant)
                    and isinstance(one.value.value, str)
                ):
                    yield one.lineno, one.value.value


TEXTS = [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
         ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]  # fmt: skip


@pytest.mark.parametrize("words", NOT)
def test_what_the_glossary_does_not_say(words):
    found = []
    for path in TEXTS:
        name = path.relative_to(ROOT).as_posix()
        if any(part in name for part in FOREIGN) or name == "docs/atlas.md":
            continue
        for line, text in (
            docstrings(path) if path.suffix == ".py" else enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        ):
            if hit := re.search(words, " ".join(text.split()), re.IGNORECASE):
                found.append(f"{name}:{line}: {hit[0]}")
    assert not found, f"say {NOT[words]}: {found}"
