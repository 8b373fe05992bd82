"""Pieces of work that are shared through a folder, by real processes that are killed, stopped and late."""

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import claims, files
from fromnoise.system.disk.claims import Claim, Claims, shared

FORK = multiprocessing.get_context("fork")


def names(n: int) -> list[str]:
    return [f"piece-{i:02}" for i in range(n)]


def done(folder: Path):
    return lambda name: (folder / name).exists()


def work(folder: Path, who: str, pieces: list[str], seconds: float = 0.01, patience: float = 60.0) -> None:
    """Do pieces, each a file that says who did it; a line for each in a log of one's own."""
    claims.PATIENCE, claims.BEAT, claims._LOOK_AGAIN = patience, 0.05, 0.01
    for name in shared(folder / "claims", pieces, done(folder)):
        with (folder / f"log-{who}").open("a") as log:
            log.write(f"{name}\n")
        time.sleep(seconds)
        files.write_text(folder / name, who)


def started(*arguments, **options):
    process = FORK.Process(target=work, args=arguments, kwargs=options)
    process.start()
    return process


def begun(folder: Path) -> list[str]:
    return [line for log in folder.glob("log-*") for line in log.read_text().splitlines()]


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_alone_everything_is_done_in_order_and_no_claim_is_left(tmp_path):
    (tmp_path / "piece-01").write_text("there already")
    found = []
    for name in shared(tmp_path / "claims", names(4), done(tmp_path)):
        assert (tmp_path / "claims" / f"{name}.claim").exists()
        found.append(name)
        (tmp_path / name).touch()
    assert found == ["piece-00", "piece-02", "piece-03"]
    assert list((tmp_path / "claims").iterdir()) == []
    assert list(shared(tmp_path / "elsewhere", names(4), done(tmp_path))) == []
    assert not (tmp_path / "elsewhere").exists()


def test_workers_that_come_and_go_do_each_piece_once(tmp_path):
    """One is there from the start, two come later, one of which asks for the first half alone and leaves."""
    first = started(tmp_path, "a", names(30))
    until(lambda: len(begun(tmp_path)) > 3)
    others = [started(tmp_path, "b", names(30)), started(tmp_path, "c", names(15))]
    for one in (first, *others):
        one.join(30)
        assert one.exitcode == 0
    assert Counter(begun(tmp_path)) == Counter(names(30))
    assert len({(tmp_path / name).read_text() for name in names(30)}) >= 2
    assert list((tmp_path / "claims").iterdir()) == []


def test_the_piece_of_a_killed_worker_is_taken_over_at_once_on_its_machine(tmp_path):
    killed = started(tmp_path, "a", names(3), seconds=60)
    until(lambda: begun(tmp_path))
    killed.kill()
    until(lambda: claims._started(killed.pid) is None)  # a zombie counts as gone: nobody has waited for it yet
    other = started(tmp_path, "b", names(3), patience=1e9)
    other.join(30)
    other.kill()
    assert Counter(begun(tmp_path)) == Counter([*names(3), "piece-00"])
    assert {(tmp_path / name).read_text() for name in names(3)} == {"b"}


def test_a_claim_of_another_machine_is_waited_for_while_it_shows_signs_of_life(tmp_path, monkeypatch):
    """And taken over once it shows none: the machine is said to be another, so that /proc says nothing of it."""
    monkeypatch.setattr(claims, "_machine", lambda: "another")
    living = started(tmp_path, "a", ["piece-00"], seconds=2.0)
    until(lambda: begun(tmp_path))
    monkeypatch.setattr(claims, "_machine", lambda: "this one")
    work(tmp_path, "b", names(2), patience=1.0)
    living.join(20)
    assert (tmp_path / "piece-00").read_text() == "a"  # it took longer than a dead one is waited for
    assert begun(tmp_path).count("piece-00") == 1
    monkeypatch.setattr(claims, "_machine", lambda: "another")
    stopped = started(tmp_path, "c", ["piece-02"], seconds=0.3)
    try:
        until(lambda: "piece-02" in begun(tmp_path))
        os.kill(stopped.pid, signal.SIGSTOP)
        monkeypatch.setattr(claims, "_machine", lambda: "this one")
        work(tmp_path, "d", names(3), patience=1.0)
        assert (tmp_path / "piece-02").read_text() == "d"
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    stopped.join(20)
    assert stopped.exitcode == 0  # it goes on, and does what was done already once more
    assert list((tmp_path / "claims").iterdir()) == []


def test_old_dates_and_clocks_of_others_do_not_matter(tmp_path, monkeypatch):
    """A file that says 1970, or next year: only whether that changes counts."""
    now = [1000.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    for written in (0, 2e9):
        path = tmp_path / f"{written:.0f}.claim"
        path.write_text(json.dumps({"host": "x", "pid": 1, "machine": "x", "started": "1"}))
        os.utime(path, (written, written))
        watching = Claims(patience=90)
        for later, touched, expected in ((0, False, False), (80, False, False), (80, True, False), (80, False, False),
                                         (20, False, True)):  # fmt: skip
            now[0] += later
            if touched:  # it lives
                os.utime(path, (written + 1, written + 1))
            with watching.claimed(path) as own:
                assert own == expected
                assert (json.loads(path.read_text())["pid"] == os.getpid()) == expected
        assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"machine": "x"}', b'{"machine": 1, "pid": "x"}', b"\xff"])
def test_a_claim_that_says_nothing_readable_is_a_claim(tmp_path, content):
    """Its writer may have been killed before it could write: only time tells."""
    (tmp_path / "a.claim").write_bytes(content)
    assert list(shared(tmp_path, ["a"], lambda name: False, wait=False)) == []
    assert (tmp_path / "a.claim").read_bytes() == content


def test_a_folder_in_the_place_of_a_claim_is_named(tmp_path):
    (tmp_path / "a.claim").mkdir()
    with pytest.raises(FromNoiseError, match=r"a\.claim: must be a file"):
        list(shared(tmp_path, ["a"], lambda name: False))


def test_a_claim_that_was_taken_over_stays_with_its_taker(tmp_path):
    path = tmp_path / "a.claim"
    first = Claim.taken(path)
    path.unlink()  # by somebody who saw no sign of life of it for too long
    second = Claim.taken(path)
    with second:
        with first:
            pass
        assert path.exists()
    assert not path.exists()


def test_a_claim_is_waited_for(tmp_path):
    other = started(tmp_path, "a", ["piece-00"], seconds=0.3)
    until(lambda: begun(tmp_path))
    with Claims().waited_for(tmp_path / "claims" / "piece-00.claim", 0.01):
        assert (tmp_path / "piece-00").exists()
    other.join(20)


def test_of_two_that_take_over_one_has_it_and_a_fresh_claim_is_given_back(tmp_path, monkeypatch):
    path = tmp_path / "a.claim"
    path.write_text(json.dumps({"machine": claims._machine(), "pid": os.getpid(), "started": "long ago"}))
    look, fresh = claims._look, []

    def late(place):
        found = look(place)
        if place == path and not fresh:  # another takes it over between the look and the rename
            path.unlink()
            fresh.append(Claim.taken(path))
        return found

    monkeypatch.setattr(claims, "_look", late)
    with Claims().claimed(path) as own:
        assert not own
    assert [p.name for p in tmp_path.iterdir()] == ["a.claim"]
    with fresh[0]:
        assert os.path.samestat(os.fstat(fresh[0]._descriptor), path.stat())
    assert list(tmp_path.iterdir()) == []


def test_without_waiting_what_others_do_is_left_to_them(tmp_path):
    with Claim.taken(tmp_path / "piece-01.claim"):
        found = list(shared(tmp_path, names(3), lambda name: False, wait=False))
    assert found == ["piece-00", "piece-02"]


def test_an_error_lets_go_of_the_claim(tmp_path):
    def failing():
        for _ in shared(tmp_path, ["a"], lambda name: False):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        failing()
    assert Claim.taken(tmp_path / "a.claim") is not None


def test_a_file_system_without_links_has_claims_too(tmp_path, monkeypatch):
    def refuses(*names):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuses)
    with Claim.taken(tmp_path / "a.claim"):
        assert json.loads((tmp_path / "a.claim").read_text())["pid"] == os.getpid()
        assert Claim.taken(tmp_path / "a.claim") is None
        assert [p.name for p in tmp_path.iterdir()] == ["a.claim"]
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        Claim.taken(tmp_path / "a.claim")
    assert list(tmp_path.iterdir()) == []
