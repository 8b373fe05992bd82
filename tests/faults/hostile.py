"""Random command lines, from the fields of each command's own class."""

import contextlib
import dataclasses
import os
import random
import shutil
import stat
import typing
from pathlib import Path
from typing import Any, Literal

from faults.workshop import CODEC, RUN

NUMBERS = ("-1", "0", "1", "2", "3", "-0", "1e20", "-1e20", "nan", "inf", "-inf", "1e-320", "9223372036854775808",
           "-9223372036854775809", "2147483648", "100000000000000000000000000000", "0x10", "1_0", "", " ", "½", "٣",
           "None", "1,2")  # fmt: skip
WORDS = ("", " ", "~nouser/x", "~", "\x1b[31mred", "a" * 3000, "a/" * 300, "é\u202eñ", "日本", "\udcff", "-", "--", "=",
         "..", ".", "/proc/self/status", "device", "device.png", "device.json", "zeros", "no-such", "no-such/file.png", "fifo",
         "fifo.png", "dangling.png", "folder.png", "pics", "zero.png", "None", "nan", "a\nb", "{}", "[", "*", "%s",
         "toy-run", "toy-saved", "toy-codec", "toy-run/config.yaml", "toy-out.npz", "toy-out.png", "toy-new.png",
         "toy-new.npz", "toy-new.json", "toy-new.gif", "toy-new.mp4", "toy-new")  # fmt: skip
KEYS = ("train.lr", "train.steps", "train.batch_size", "train.ema", "network.channels", "network.blocks", "network.mult",
        "network.patch", "schedule", "schedule.T", "eta", "data.size", "data.channels", "data.name", "data.workers",
        "data.memory", "data.hold_out", "sample.steps", "train.keep", "train.checkpoint_every", "seed", "no.such", "",
        "train", "network", "kind", "recipe", "objective", "stages", "stages.x", "times", "low", "latent.autoencoder",
        "train.betas", "train.clip", "train.optimizer", "parameterization", "variance", "evaluate.n", "__class__")  # fmt: skip
VALUES = (*NUMBERS, "true", "null", "[]", "{}", "[1,", "[1,2]", "{name: unet}", "&a [*a]", "!!python/name:os.system x",
          "\x1b[31m", "linear", "cosine", "2020-01-01", "[" * 200, "a" * 3000, "1e3", "-5", "0.5", "*x")  # fmt: skip
LARGE = 1000.0
"""From here on a number asks for more work than a trial waits for."""


def words(name: str, cls: type, rng: random.Random) -> list[str]:
    """A command line of that command: its arguments as they should be, and some of them not."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    # Half of the lines have few wrong words, so that these are met by the command itself and not by the parser.
    few = set(rng.sample(sorted(fields), min(len(fields), rng.choice((1, 1, 2, 3))))) if rng.random() < 0.6 else None
    given, positional = [], []
    for key, field in fields.items():
        hint, marks = plain(hints[key])
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        wrong = key in few if few is not None else rng.random() < 0.3
        if any("Positional" in str(mark) for mark in marks):
            if wrong or required or rng.random() < 0.7:
                positional += [_value(hint, rng)] if wrong else _right(name, key)
        elif wrong:
            given += _option(_flag(key, marks), hint, rng)
    cheap = _CHEAP.get(name, [])
    for start in range(0, len(cheap), 2):
        if cheap[start] not in given:
            given += cheap[start : start + 2]
    line = [*positional, *given]
    if rng.random() < 0.05:
        line.insert(rng.randrange(len(line) + 1), rng.choice(("--no-such", "-x", "--help", "stray", "--", "--set")))
    return [name, *line]


def is_long(line: list[str]) -> bool:
    """Whether it asks for so much work that it may still be at it when its time is up."""
    return "ode" in line or any(_number(part) >= LARGE for word in line for part in word.split("=")[-1:])


def furnish(folder: Path) -> None:
    """What the hostile words name: no device of the system's own, which a wrong program could remove."""
    for name in ("fifo", "fifo.png"):
        os.mkfifo(folder / name)
    for name, minor in (("device", 3), ("device.png", 3), ("device.json", 3), ("zeros", 5)):
        with contextlib.suppress(PermissionError):  # only root may
            os.mknod(folder / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    (folder / "dangling.png").symlink_to("nowhere")
    (folder / "folder.png").mkdir()
    (folder / "zero.png").write_bytes(b"")
    shutil.copy(folder / RUN / "config.yaml", folder / "tiny.yaml")
    shutil.copy(folder / CODEC / "config.yaml", folder / "tiny-codec.yaml")


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return 0.0


_CHEAP = {
    "train": ["--steps", "2"], "train-autoencoder": ["--steps", "2"], "train-classifier": ["--steps", "2"],
    "sample": ["--n", "2"], "eval": ["--n", "4"], "table": ["--n", "2", "--columns", "2"], "nll": ["--n", "2"],
    "show": ["--n", "2"], "verify": ["--topic", "levels"], "edit": [],
}  # fmt: skip


def _right(command: str, name: str) -> list[str]:
    recipe = "tiny-codec.yaml" if command == "train-autoencoder" else "tiny.yaml"
    kind = {"edit": "reconstruct", "table": "samplers"}.get(command, "samplers")
    return {"run": [RUN], "recipe": [recipe], "kind": [kind], "images": ["pic.png"]}.get(name, [])


def plain(hint: Any) -> tuple[Any, list[Any]]:
    """The type without its marks, and the marks."""
    marks: list[Any] = []
    while typing.get_origin(hint) is typing.Annotated:
        hint, *more = typing.get_args(hint)
        marks += more
    return hint, marks


def _flag(name: str, marks: list[Any]) -> str:
    named = next((mark.name for mark in marks if getattr(mark, "name", None)), None)
    return "--" + (named or name).replace("_", "-")


def _option(flag: str, hint: Any, rng: random.Random) -> list[str]:
    if flag == "--set":
        return [flag, *(f"{rng.choice(KEYS)}={rng.choice(VALUES)}" for _ in range(rng.randint(1, 3)))]
    if flag == "--compile":
        return [flag, rng.choice(("off", "auto", *WORDS))]  # on takes a compiler its minutes, whatever is asked for
    if hint in (bool, bool | None):
        return [rng.choice((flag, flag.replace("--", "--no-")))]
    many = rng.choice((1, 1, 2, 3)) if typing.get_origin(hint) is tuple else 1
    return [flag, *(_value(hint, rng) for _ in range(many))]


def _value(hint: Any, rng: random.Random) -> str:
    inner = [arg for arg in typing.get_args(hint) if arg not in (type(None), ...)]
    if typing.get_origin(hint) is Literal:
        return rng.choice((*map(str, inner), *inner, rng.choice(WORDS)))
    if inner:
        return _value(rng.choice(inner), rng)
    if rng.random() < 0.1:
        return rng.choice(NUMBERS + WORDS)
    return rng.choice(NUMBERS if hint in (int, float) else WORDS)
