"""Command lines of hostile arguments, two commands at once, and links or devices where files are to be written."""

import functools
import json
import os
import random
import re
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import hostile, worker, workshop
from faults.judge import tree, wrong_ending
from faults.plant import Fault
from faults.worker import Body, Outcome
from faults.workshop import RUN, Workshop

from attack_stages.stage import Stage, Trial

LIMIT, MEGABYTES = 8.0, 2200
"""Seconds after which a long command is interrupted, and the most memory a command may use, including torch."""


def lines(shop: Workshop, seed: int) -> Trial:
    """A trial is one command line with mostly wrong arguments."""
    from fromnoise.app.cli import parsing

    def one(number: int, rng: random.Random) -> str | None:
        name = rng.choice(sorted(parsing.COMMANDS))
        line = hostile.words(name, parsing.command(name), rng)
        wrong = _tried(shop, line, LIMIT)
        if wrong and wrong.startswith("not at its end"):  # a busy machine is not a hang
            wrong = _tried(shop, line, 4 * LIMIT)
        said = " ".join(word if len(word) < 60 else f"{word[:20]}...({len(word)})" for word in line)
        return f"{wrong} | {said!r}" if wrong else None

    return one


def _tried(shop: Workshop, line: list[str], seconds: float) -> str | None:
    place = shop.copy()
    hostile.furnish(place)
    shutil.copy(shop.pics / "0" / "0.png", place / "pic.png")
    (place / "pics").symlink_to(shop.pics)
    devices = [path for path in place.iterdir() if stat.S_ISCHR(path.lstat().st_mode)]
    try:
        done = worker.trial(worker.command(*line), place, seconds=seconds)
        wrong = _ending(done, hostile.is_long(line))
        return wrong or (None if all(_is_device(path) for path in devices) else "a device was removed")
    finally:
        shop.drop(place)


def _ending(done: Outcome, long: bool) -> str | None:
    if done.interrupted and not done.stuck and long and "Traceback" not in done.err:
        return (
            None if done.status == 130 and done.err.count("stopped after") == 1 else wrong_ending(done, (130, 0, 1, 2))
        )
    if done.interrupted:
        return f"not at its end after {done.seconds:.0f} s{', nor after SIGINT' if done.stuck else ''}"
    if done.megabytes > MEGABYTES:
        return f"{done.megabytes:.0f} MB of memory"
    return wrong_ending(done)


def _is_device(path: Path) -> bool:
    return os.path.lexists(path) and stat.S_ISCHR(path.lstat().st_mode)


def pairs(shop: Workshop, seed: int) -> Trial:
    """A trial is two commands: the second starts while the first is paused at one of its writes."""
    ways: dict[str, tuple[Body, Body]] = {
        "train+train": (workshop.train(shop.pics, RUN, 9), workshop.train(shop.pics, RUN, 9)),
        "train+fresh": (workshop.train(shop.pics, "toy-two"), workshop.train(shop.pics, "toy-two")),
        "train+sample": (workshop.train(shop.pics, RUN, 9), workshop.sample("toy-out.png")),
        "train+info": (workshop.train(shop.pics, RUN, 9), worker.command("info", RUN)),
        "eval+eval": (workshop.evaluate(), workshop.evaluate(out="toy-other.json")),
        "eval+same": (workshop.evaluate(), workshop.evaluate()),
        "sample+sample": (workshop.sample("toy-out.png"), workshop.sample("toy-out.png", 5)),
    }

    @functools.cache
    def right(name: str) -> tuple[Outcome, dict[str, Any]]:
        place = shop.copy()
        done = worker.trial(ways[name][0], place, Fault())
        outputs: dict[str, Any] = {"sample": (place / "toy-out.png").read_bytes()}
        if name.startswith("eval"):
            outputs["report"] = _report(place / "toy-eval.json")
        if name.startswith("sample"):
            worker.trial(ways[name][1], place)
            outputs["other"] = (place / "toy-out.png").read_bytes()
        if name.startswith("train"):
            outputs["state"] = workshop.last_state(place / ("toy-two" if name == "train+fresh" else RUN))
        shop.drop(place)
        return done, outputs

    def one(number: int, rng: random.Random) -> str | None:
        name = rng.choice(sorted(ways))
        alone, outputs = right(name)
        at = rng.randrange(len(alone.operations))
        place = shop.copy()
        gate = place.with_name(f"{place.name}-gate")
        try:
            first = worker.start(ways[name][0], place, Fault("pause", at, until=str(gate)))
            _wait_for(Path(f"{gate}.waiting"), first)
            second = worker.start(ways[name][1], place)
            limit = time.monotonic() + 3
            while second.is_there() and time.monotonic() < limit:
                time.sleep(0.01)
            gate.touch()
            ends = [second.finish(30), first.finish(30)]
            where = f"{name}, first at {' '.join(alone.operations[at])}"
            locks = [i for i, (what, path) in enumerate(alone.operations) if what == "open" and path.endswith("lock")]
            if at <= max(locks, default=-1) and {done.status for done in ends} == {0}:
                name = name.replace("train", "turns")  # paused before it took the lock, it had nothing left to do
            wrong = _both(name, ends, (second.pid, first.pid), place, outputs)
            return f"{where}: {wrong}" if wrong else None
        finally:
            shop.drop(place)
            for path in (gate, Path(f"{gate}.waiting")):
                path.unlink(missing_ok=True)

    return one


def _wait_for(path: Path, process: worker.Started) -> None:
    while not path.exists() and process.is_there():
        time.sleep(0.005)


def _both(name: str, ends: list[Outcome], pids: tuple[int, int], place: Path, outputs: dict[str, Any]) -> str | None:
    """What is wrong with how the second and the first command ended (in this order), or with their files."""
    trains = name in ("train+train", "train+fresh")
    for which, done in zip(("the second", "the first"), ends, strict=True):
        if wrong := wrong_ending(done, (0, 2) if trains else (0,)):
            return f"{which}: {wrong}"
    if trains:
        refused = [i for i, done in enumerate(ends) if done.status == 2]
        if len(refused) != 1:
            return f"{len(refused)} of two trainings of one run were refused"
        line = ends[refused[0]].err.strip().splitlines()[-1]
        if not re.search(rf"\b{pids[1 - refused[0]]}\b", line):
            return f"the line does not say who holds the run: {line[-200:]}"
    try:
        if "state" in outputs:
            found = workshop.last_state(place / ("toy-two" if name.endswith("fresh") else RUN))
            if found != outputs["state"]:
                return f"another run: {', '.join(k for k in found if found[k] != outputs['state'].get(k))}"
        if "report" in outputs and _report(place / "toy-eval.json") != outputs["report"]:
            return "another report"
    except Exception as error:
        return f"what is left is broken: {type(error).__name__}: {str(error)[:150]}"
    if "other" in outputs and (place / "toy-out.png").read_bytes() not in (outputs["sample"], outputs["other"]):
        return "the picture is neither's"
    return None


def _report(path: Path) -> Any:
    return workshop.without_times(json.loads(path.read_text()))


_WRITERS: dict[str, Callable[[Workshop], Body]] = {
    "train": lambda shop: workshop.train(shop.pics, RUN, 9),
    "fresh": lambda shop: workshop.train(shop.pics, "toy-two"),
    "sample": lambda shop: workshop.sample("toy-out.png"),
    "npz": lambda shop: workshop.sample("toy-out.npz"),
    "gif": lambda shop: workshop.sample("toy-out.gif"),
    "eval": lambda shop: workshop.evaluate(),
    "nll": lambda shop: workshop.nll(),
    "edit": lambda shop: workshop.edit(shop.pics),
}
_THINGS = ("link to a file", "link to a folder", "link to nothing", "hard link", "pipe", "device", "link to a device")


def planted(shop: Workshop, seed: int) -> Trial:
    """A trial puts a link out of the folder, a pipe or a device at a name that a command writes."""
    names = sorted(_WRITERS)

    @functools.cache
    def cases(name: str) -> list[tuple[str, str]]:
        place = shop.copy()
        done = worker.trial(_WRITERS[name](shop), place, Fault())
        shop.drop(place)
        written = {Path(path) for _, path in done.operations if path.startswith("toy-")}
        found = {str(p) for path in written for p in (path, *path.parents) if len(p.parts) > 1 or p.suffix}
        return [(path, thing) for path in sorted(found) for thing in _THINGS]

    def one(number: int, rng: random.Random) -> str | None:
        name = rng.choice(names)
        path, thing = cases(name)[number * len(cases(name)) // PLANTED.full]
        place = shop.copy()
        outside = place.with_name(f"{place.name}-outside")
        try:
            (outside / "folder" / "below").mkdir(parents=True)
            for file in (outside / "file", outside / "folder" / "precious", outside / "folder" / "below" / "too"):
                file.write_text("precious")
            os.mknod(outside / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            _plant(place / path, thing, outside)
            before = tree(outside)
            done = worker.trial(_WRITERS[name](shop), place, seconds=15)
            wrong = "it waits" if done.interrupted else wrong_ending(done)
            if tree(outside) != before:
                changed = {k for k in before | tree(outside) if before.get(k) != tree(outside).get(k)}
                wrong = f"outside, {', '.join(sorted(changed))} changed"
            # A run may remove its temporary files and old checkpoints, whatever was put there.
            own = any(part.startswith((".", "step-")) and "checkpoints" in path for part in Path(path).parts)
            if thing == "device" and not own and not _is_device(place / path):
                wrong = "the device is gone"
            return f"{name}, {thing} at {path}: {wrong}" if wrong else None
        finally:
            shop.drop(place)
            shop.drop(outside)

    return one


def _plant(path: Path, thing: str, outside: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if thing == "pipe":
        os.mkfifo(path)
    elif thing == "device":
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    elif thing == "hard link":
        os.link(outside / "file", path)
    else:
        target = {"file": "file", "folder": "folder", "nothing": "nowhere", "device": "device"}[thing.split()[-1]]
        path.symlink_to(outside / target)


LINES = Stage("command-lines", 3000, lines, quick=6)
PAIRS = Stage("pairs", 100, pairs)
PLANTED = Stage("planted", 280, planted)
