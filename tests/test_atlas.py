"""The atlas: complete, and generated from the code as it is."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("atlas_make", ROOT / "docs" / "atlas" / "make.py")
atlas = importlib.util.module_from_spec(SPEC)
sys.modules["atlas_make"] = atlas
SPEC.loader.exec_module(atlas)

SEEDS = atlas.inventory()
ENTRIES = [(seed, number) for seed, about in SEEDS.items() for e in about["entries"] for number in atlas.equations(e)]
FUNCTIONS, PROOFS = atlas.index()


def test_every_equation_has_a_function():
    assert [key for key in ENTRIES if key not in FUNCTIONS] == []


def test_every_equation_has_a_proof():
    assert [key for key in ENTRIES if key not in PROOFS] == []


def test_every_tag_is_an_equation():
    """A tag that names no equation of the texts is a slip of the pen."""
    known = set(ENTRIES)
    assert {key: places for key, places in (FUNCTIONS | PROOFS).items() if key not in known} == {}


def test_the_page_is_as_the_code_is():
    assert (ROOT / "docs" / "atlas.md").read_text(encoding="utf-8") == atlas.page(), "run: python docs/atlas/make.py"


def test_every_equation_is_there_once():
    assert len(ENTRIES) == len(set(ENTRIES))
    numbered = {number for seed, number in ENTRIES if seed == "Sedykh" and re.fullmatch(r"\d\.\d+", number)}
    expected = {f"{chapter}.{n}" for chapter, last in ((2, 98), (3, 29), (4, 30), (5, 3)) for n in range(1, last + 1)}
    assert numbered == expected


def test_the_texts_have_no_other_equations():
    """Against the texts themselves, where they lie beside the repository."""
    folder = ROOT.parent / "shared" / "seeds"
    if not folder.is_dir():
        pytest.skip("the texts are not here")
    text = "\n".join(p.read_text(encoding="utf-8", errors="replace") for p in folder.glob("001*"))
    printed = set(re.findall(r"\(([2-5]\.\d+)\)", text))
    assert printed <= {number for seed, number in ENTRIES if seed == "Sedykh"}


def test_tags_are_read():
    assert list(atlas.tags("Source: Sedykh eq. 2.4-2.6, 3.1 and 4.2; Weng eq. 3; Sedykh Algorithm 2, Shorts' table.")) == [
        ("Sedykh", "2.4"), ("Sedykh", "2.5"), ("Sedykh", "2.6"), ("Sedykh", "3.1"), ("Sedykh", "4.2"), ("Weng", "3"),
        ("Sedykh", "Algorithm 2"), ("Shorts", "table")]  # fmt: skip
    assert list(atlas.tags("Friedman\n    eq. 1-2")) == [("Friedman", "1"), ("Friedman", "2")]


def test_a_missing_function_or_proof_is_noticed(monkeypatch, tmp_path):
    """Break it: without gaussian.py's docstrings, and without one file of identities, the lists above are not empty."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    for folder in ("src", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name not in ("gaussian.py", "levels.py", "test_gaussian.py"):
                copy = tmp_path / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(atlas, "ROOT", tmp_path)
    functions, proofs = atlas.index()
    assert ("Sedykh", "2.42") not in functions
    assert ("Sedykh", "2.6") not in proofs
