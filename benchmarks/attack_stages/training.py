"""Kills and errors at every file operation of commands that write."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import workshop
from faults.judge import leftovers, unnamed, wrong_ending
from faults.plant import Fault
from faults.worker import Body, Outcome, trial
from faults.workshop import ENCODED, LATENT, RUN, SAVED, Workshop

from attack_stages.stage import Stage, Trial

Result = Callable[[Path], Any]
"""Maps a folder to what a command left in it, for comparison."""
FRESH = "toy-fresh"
KINDS = ("enospc", "enospc", "enospc", "eio", "eio", "short", "eintr", "slow", "clock")


def kills(shop: Workshop, seed: int) -> Trial:
    """A trial kills a new or resumed run at an operation, maybe twice; after resuming, the result must be the same."""
    ways = {FRESH: workshop.train(shop.pics, FRESH), RUN: workshop.train(shop.pics, RUN, 9)}
    right, counts = {}, {}
    for out, body in ways.items():
        right[out], counts[out] = _undisturbed(shop, body, lambda place, out=out: workshop.last_state(place / out))

    def one(number: int, rng: random.Random) -> str | None:
        out = rng.choice((FRESH, RUN))
        place = shop.copy()
        try:
            at = number * len(counts[out]) // KILLS.full
            for _ in range(rng.choice((1, 1, 2))):
                done = trial(ways[out], place, Fault("kill", at))
                if done.status not in (-9, 0):
                    return f"before the kill at operation {at}: {wrong_ending(done)}"
                at = rng.randrange(len(counts[out]))
            done = trial(ways[out], place)
            if wrong := wrong_ending(done, (0,)):
                return f"resumed after a kill at operation {at}: {wrong}"
            return _difference(workshop.last_state, place / out, right[out])
        finally:
            shop.drop(place)

    return one


def points(name: str) -> Callable[[Workshop, int], Trial]:
    """A trial raises an error at one operation of a command."""

    def prepare(shop: Workshop, seed: int) -> Trial:
        body, without, result = _COMMANDS[name](shop)
        old = result(shop.pristine)
        right, operations = _undisturbed(shop, body, result, without)

        def one(number: int, rng: random.Random) -> str | None:
            kind = rng.choice(KINDS)
            at = number * len(operations) // 150
            if kind in ("short", "eintr"):
                at = min((k for k, (what, _) in enumerate(operations) if what == "write"), key=lambda k: abs(k - at))
            fault = Fault(kind, at, lasting=kind in ("enospc", "eio") and rng.random() < 0.6)
            place = shop.copy(*without)
            try:
                done = trial(body, place, fault)
                where = f"{kind}{' for good' if fault.lasting else ''} at {' '.join(operations[at])}"
                wrong = _after(done, fault, place, operations[at], result, old, right)
                if wrong is None and done.status and name in ("train", "encode", "encode-data"):
                    again = trial(body, place)
                    wrong = wrong_ending(again, (0,)) or _difference(result, place, right)
                    wrong = wrong and f"then resumed: {wrong}"
                return wrong and f"{where}: {wrong}"
            finally:
                shop.drop(place)

        return one

    return prepare


def _after(
    done: Outcome, fault: Fault, place: Path, operation: tuple[str, str], result: Result, old: Any, right: Any
) -> str | None:
    if wrong := wrong_ending(done, (0,) if fault.kind in ("slow", "clock") else (0, 1, 2)):
        return wrong
    if done.status == 0:
        return _difference(result, place, right)
    failed = done.operations[fault.at :] if fault.lasting else [operation]
    if wrong := unnamed(done, (path for _, path in failed)):
        return wrong
    if operation[0] != "unlink" and (left := leftovers(place)):
        return f"left behind: {left[0]}"
    try:
        found = result(place)
    except Exception as error:
        return f"what stands there is broken: {type(error).__name__}: {str(error)[:150]}"
    if isinstance(found, _Parts):
        return None if found.items() <= right.items() else "a part of it is not what it should be"
    if _is_run(found):  # a run may have made progress without finishing
        return None
    return None if found in (old, right) else "what stands there is neither the old nor the new"


def _is_run(value: Any) -> bool:
    return isinstance(value, dict) and "state" in value and "log" in value


def _difference(result: Result, place: Path, right: Any) -> str | None:
    """What differs from the result without the fault; None if nothing does."""
    try:
        found = result(place)
    except Exception as error:
        return f"no result: {type(error).__name__}: {str(error)[:150]}"
    if found == right:
        return None
    parts = [k for k in right if found.get(k) != right[k]] if _is_run(right) and _is_run(found) else []
    return f"another result{': ' if parts else ''}{', '.join(parts)}"


def _undisturbed(
    shop: Workshop, body: Body, result: Result, without: tuple[str, ...] = ()
) -> tuple[Any, list[tuple[str, str]]]:
    place = shop.copy(*without)
    done = trial(body, place, Fault())
    if done.status:
        raise RuntimeError(f"without a fault: {done.err}")
    found = result(place)
    shop.drop(place)
    return found, done.operations


def _bytes(name: str) -> Result:
    return lambda place: (place / name).read_bytes()


def _report(name: str) -> Result:
    return lambda place: workshop.without_times(json.loads((place / name).read_text()))


def _folder(name: str) -> Result:
    return lambda place: {path.name: path.read_bytes() for path in sorted((place / name).iterdir())}


class _Parts(dict[str, bytes]):
    """Files by name of a result that is made in parts: a subset is a valid beginning."""


def _parts(name: str) -> Result:
    return lambda place: _Parts({str(p.relative_to(place)): p.read_bytes() for p in (place / name).rglob("*.*")
                                 if p.is_file() and p.suffix != ".claim"})  # fmt: skip


_COMMANDS: dict[str, Callable[[Workshop], tuple[Body, tuple[str, ...], Result]]] = {
    "train": lambda shop: (workshop.train(shop.pics, RUN, 9), (), lambda place: workshop.last_state(place / RUN)),
    "sample": lambda shop: (workshop.sample("toy-out.png"), (), _bytes("toy-out.png")),
    "sample-npz": lambda shop: (workshop.sample("toy-out.npz"), (), _bytes("toy-out.npz")),
    "eval": lambda shop: (workshop.evaluate(), ("reference",), _report("toy-eval.json")),
    "nll": lambda shop: (workshop.nll(), (), _report("toy-nll.json")),
    "edit": lambda shop: (workshop.edit(shop.pics), (), _bytes("toy-edit.png")),
    "encode": lambda shop: (workshop.latent(shop.pics, 6), ("latents",), lambda at: workshop.last_state(at / LATENT)),
    "encode-data": lambda shop: (workshop.encode(shop.pics), (ENCODED,), _parts(ENCODED)),
    "convert": lambda shop: (workshop.convert(RUN, SAVED, ema=False), (), _folder(SAVED)),
}
"""(the command, the caches that must not exist before, its result)"""

KILLS = Stage("kills", 200, kills)
POINTS = tuple(Stage(f"points-{name}", 150, points(name)) for name in _COMMANDS)
