"""The report of identities: complete, honest, and able to fail."""

import json
import math

import pytest
import torch

import fromnoise as fn
from fromnoise import verify
from fromnoise.app.cli import main
from fromnoise.verify import Check

CHECKS = verify.checks()


@pytest.mark.parametrize("one", CHECKS, ids=lambda c: f"{c.topic}:{c.sides.__name__}")
def test_identity(one):
    (row,) = verify.rows([one])
    assert row.passed, (
        f"{row.name}: theory {row.theory}, practice {row.practice}, {row.error} > {row.tolerance} {row.why}"
    )


def test_there_are_enough_and_each_is_one():
    assert len(CHECKS) >= 60
    assert len({c.name for c in CHECKS}) == len(CHECKS)
    assert all(c.source and c.name for c in CHECKS)


def made(*sides, tolerance=1e-10):
    return next(verify.rows([Check("made", "nowhere", tolerance, lambda: sides, "topic")]))


def test_rows_can_fail():
    assert made(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])).passed
    assert not made(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1])).passed
    assert not made(0.0, math.nan).passed
    assert not made(1.0, 1.0, 1.0).passed  # the printed form, which is wrong, agrees
    assert made(1.0, 1.0, 2.0).passed
    assert made(1.0, 1.0, math.inf).passed
    broken = next(verify.rows([Check("broken", "nowhere", 0, lambda: 1 / 0, "topic")]))
    assert not broken.passed
    assert "ZeroDivisionError" in broken.why


@pytest.mark.parametrize("change", ["posterior", "kl", "score"])
def test_a_wrong_library_is_noticed(monkeypatch, change):
    """Break the shipped code: rows fail and the command's exit status is 1."""
    if change == "posterior":
        right = fn.gaussian.Step
        monkeypatch.setattr("fromnoise.gaussian.Step", lambda a, b, c, d, e: right(a, b, c, d, e * 1.001))
    elif change == "kl":
        kl = fn.Gaussian.kl
        monkeypatch.setattr(fn.Gaussian, "kl", lambda self, other: kl(other, self))
    else:
        score = fn.oracle.GaussianMixture.score
        monkeypatch.setattr(fn.oracle.GaussianMixture, "score", lambda self, x, level: -score(self, x, level))
    assert (
        main(["verify", "--quiet", "--topic", {"posterior": "levels", "kl": "levels", "score": "mixture"}[change]]) == 1
    )


def test_the_command_writes_both_reports(tmp_path, capsys):
    assert main(["verify", "--topic", "levels", "--out", str(tmp_path / "r.json")]) == 0
    rows = json.loads((tmp_path / "r.json").read_text())
    assert [set(r) for r in rows] == [{"name", "source", "theory", "practice", "error", "tolerance", "passed"}] * len(
        rows
    )
    assert all(r["passed"] is True and r["error"] <= r["tolerance"] for r in rows)
    assert f"{len(rows)} identities, {len(rows)} hold" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    assert main(["verify", "--topic", "levels", "--quiet", "--out", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--out", "report.pdf"], "must be a .html or a .json file"), (["--topic", "bond"], "did you mean bound")],
)
def test_bad_input_is_one_line(arguments, says, capsys):
    assert main(["verify", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
