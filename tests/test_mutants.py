"""The list of mutants is as the code is: a right version that stands nowhere would never be broken."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "mutation"))

import run  # noqa: E402
from mutants import MUTANTS  # noqa: E402


def test_every_right_version_stands_in_its_file_once():
    wrong = []
    for file, right, *_ in MUTANTS:
        path = ROOT / "src" / "fromnoise" / file
        count = path.read_text(encoding="utf-8").count(right) if path.exists() else "no file"
        if count != 1:
            wrong.append((file, right, count))
    assert wrong == []


def test_every_mutant_has_tests_that_exist():
    for file, *_ in MUTANTS:
        assert all((ROOT / test).exists() for test in run.tests_of(file)), file
    assert all((ROOT / "src" / "fromnoise" / start).exists() or start.endswith("annealed") for start in run.OTHERS)
