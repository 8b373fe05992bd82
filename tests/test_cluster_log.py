"""metrics.jsonl after a million steps: it goes on where it is, in memory that does not grow, and is read thinly."""

import hashlib
import json
import os
import tracemalloc

import numpy as np
import pytest

from fromnoise.app.studio.curves import READ, Curves
from fromnoise.system.disk import files, lines
from fromnoise.train import log as module
from fromnoise.train.log import MetricsLog, newest


def text(first: int, last: int, loss: float = 0.5) -> bytes:
    return b"".join(json.dumps({"step": i, "loss": loss}).encode() + b"\n" for i in range(first, last + 1))


def mark_of(content: bytes) -> dict:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def opened(path, last, mark, said=None):
    return MetricsLog(path, last, mark, (said if said is not None else []).append)


@pytest.mark.parametrize(
    "after", [b"", text(8, 20), b'{"step": 8, "lo', b"\n\n"], ids=["whole", "later", "cut", "empty"]
)
def test_a_log_that_is_as_its_checkpoint_left_it_goes_on_where_it_is(tmp_path, after):
    path, said = tmp_path / "metrics.jsonl", []
    path.write_bytes(text(1, 7) + after)
    inode = path.stat().st_ino
    log = opened(path, 7, mark_of(text(1, 7)), said)
    log.write({"step": 8, "loss": 0.25})
    mark = log.mark()
    log.close()
    assert path.read_bytes() == text(1, 7) + text(8, 8, 0.25)
    assert mark == mark_of(path.read_bytes())
    assert path.stat().st_ino == inode
    assert said == []


def test_a_log_with_another_name_or_that_may_not_be_written_is_made_anew(tmp_path, monkeypatch):
    path, precious = tmp_path / "metrics.jsonl", tmp_path / "precious"
    precious.write_bytes(text(1, 9))
    os.link(precious, path)
    said: list[str] = []
    log = opened(path, 7, mark_of(text(1, 7)), said)
    log.write({"step": 8, "loss": 0.25})
    assert log.mark() == mark_of(path.read_bytes())
    log.close()
    assert path.read_bytes() == text(1, 7) + text(8, 8, 0.25)
    assert precious.read_bytes() == text(1, 9)
    assert said == []  # nobody changed it
    path.chmod(0o444)
    monkeypatch.setattr(module.lines, "continued", lambda *_: None)  # root may write everything
    opened(path, 7, mark_of(text(1, 7))).close()
    assert path.read_bytes() == text(1, 7)


def test_a_log_that_is_another_file_by_now_is_not_cut(tmp_path):
    path, other = tmp_path / "metrics.jsonl", tmp_path / "other"
    path.write_bytes(text(1, 9))
    other.write_bytes(text(1, 20))
    with files.opened(path) as read:
        other.replace(path)
        assert lines.continued(path, read, 50) is None
    assert path.read_bytes() == text(1, 20)
    with files.opened(path) as read:
        assert lines.continued(path, read, 10**6) is None  # nothing is made longer
        lines.continued(path, read, 50).close()
    assert path.read_bytes() == text(1, 20)[:50]


@pytest.mark.parametrize(
    "there",
    [
        text(1, 7).replace(b"0.5", b"0.6", 1) + text(8, 20),
        text(1, 7)[:-1],
        text(1, 3)
        + b"\xff\xfe\n[]\n{}\n"
        + b"[" * 100_000
        + b'\n{"step": "x"}\n'
        + text(4, 7)
        + text(8, 9)
        + b'{"step": 5',
        b"",
    ],
    ids=["changed", "shorter", "rubbish", "emptied"],
)
def test_of_a_log_that_was_changed_the_lines_that_can_be_read_are_kept(tmp_path, there):
    path, said = tmp_path / "metrics.jsonl", []
    path.write_bytes(there)
    log = opened(path, 7, mark_of(text(1, 7)), said)
    log.write({"step": 8, "loss": 0.25})
    mark = log.mark()
    log.close()
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == ([8] if not there else [1, 2, 3, 4, 5, 6, 7, 8])
    assert mark == mark_of(path.read_bytes())
    assert len(said) == 1
    assert "was changed after it was written" in said[0]


def test_a_log_without_a_checkpoint_begins_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(text(1, 7))
    opened(path, 0, None).close()
    assert path.read_bytes() == b""
    path.write_bytes(text(1, 7))
    opened(path, 5, None).close()  # of a checkpoint that has no mark
    assert path.read_bytes() == text(1, 5)
    path.unlink()
    said: list[str] = []
    opened(path, 5, mark_of(text(1, 5)), said).close()
    assert "is gone, with the lines of 5 steps" in said[0]


def test_a_long_log_costs_no_memory(tmp_path):
    path = tmp_path / "metrics.jsonl"
    content = text(1, 10_000).replace(b"loss", b"a long name of a figure, " * 20) * 5
    path.write_bytes(content)
    for mark in (mark_of(content[: len(content) // 2]), {"bytes": len(content), "sha256": "another"}):
        tracemalloc.start()
        opened(path, 5_000, mark).close()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * 2**20 < len(content) / 4
    assert path.read_bytes().count(b"\n") == 15_000


def test_the_newest_line_is_found_from_the_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert newest(path) is None
    path.write_bytes(text(1, 5000) + b'{"step": 5001, "lo')
    assert newest(path) == {"step": 5000, "loss": 0.5}
    path.write_bytes(b"\n" + b"x" * 100_000 + b"\n")
    assert newest(path) is None


def test_curves_follow_a_log_that_was_cut_and_written_on(tmp_path):
    """The same file, longer than what was read of it; what stands before there is another's."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(text(1, 200))
    curves = Curves(tmp_path)
    assert curves.after(0)["last"] == 200
    opened(path, 100, mark_of(text(1, 100))).close()
    with path.open("ab") as file:
        file.write(text(101, 300, 0.75))
    found = curves.after(0)
    assert found["lines"] == 300
    assert found["columns"]["step"] == list(range(1, 301))
    assert found["columns"]["loss"] == [0.5] * 100 + [0.75] * 200


def test_of_a_very_long_log_a_share_of_the_lines_is_read_and_all_rare_ones(tmp_path):
    n = 5 * READ // 2 + 1  # the last line is none that would be taken
    every = (f'{{"step": {i}, "loss": {i / n:.5f}' + (f', "validation": {i}}}\n' if i % 5000 == 7 else "}\n")
             for i in range(1, n + 1))  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(every))
    curves = Curves(tmp_path)
    found = curves.after(0)
    assert (found["lines"], found["last"]) == (n, n)
    assert READ / 2 < len(curves._columns["step"]) < 1.2 * READ
    validation = np.array(curves._columns["validation"])
    assert sorted(validation[~np.isnan(validation)]) == [i for i in range(1, n + 1) if i % 5000 == 7]
    step, loss = (np.array(found["columns"][name]) for name in ("step", "loss"))
    np.testing.assert_allclose(loss, step / n, atol=2e-5)
    np.testing.assert_allclose(np.diff(step), n / len(step), rtol=0.2)  # evenly spread
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(f'{{"step": {n + 1}, "loss": 1}}\n{{"step": {n + 2}, "loss": 2}}\n')
    assert curves.after(n)["columns"] == {"step": [n + 1, n + 2], "loss": [1, 2]}
