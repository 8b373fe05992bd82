"""Parsing, and turning every expected failure into one line."""

import contextlib
import errno
import inspect
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

from fromnoise import recipes
from fromnoise.app.cli.edit import Edit
from fromnoise.app.cli.eval import Eval
from fromnoise.app.cli.info import Info
from fromnoise.app.cli.list import List
from fromnoise.app.cli.nll import Nll
from fromnoise.app.cli.sample import Sample
from fromnoise.app.cli.show import Show
from fromnoise.app.cli.table import Table
from fromnoise.app.cli.train import Train
from fromnoise.app.cli.train_autoencoder import TrainAutoencoder
from fromnoise.app.cli.train_classifier import TrainClassifier
from fromnoise.app.cli.verify import Verify
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.registry import Registry

COMMANDS: dict[str, type] = {
    "train": Train,
    "train-autoencoder": TrainAutoencoder,
    "train-classifier": TrainClassifier,
    "sample": Sample,
    "show": Show,
    "edit": Edit,
    "eval": Eval,
    "table": Table,
    "nll": Nll,
    "verify": Verify,
    "list": List,
    "info": Info,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 (a run had to stop), 2 (bad input), 128 + a signal."""
    try:
        return _parse(list(sys.argv[1:] if arguments is None else arguments))()
    except FromNoiseError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        where = f": {error.filename}" if error.filename else ""
        return _say(f"{error.strerror or error}{where}", 1 if full else 2)


def _say(text: str, status: int) -> int:
    if os.environ.get("RANK", "0") == "0":
        print(f"fromnoise: {' '.join(text.split())}", file=sys.stderr)
    return status


def _parse(arguments: list[str]) -> Any:
    import tyro

    asked = next((a for a in arguments if not a.startswith("-")), None)
    if asked is not None and asked not in COMMANDS:
        raise SystemExit(_say(str(unknown("command", asked, COMMANDS)), 2))
    union: Any = None
    for name, cls in COMMANDS.items():
        text = inspect.cleandoc(cls.__doc__ or "")
        # The page of a command teaches; the page of all of them has a line for each.
        text = text if asked == name else text.split("\n", 1)[0]
        if asked == name == "train":
            text += "\n\nRecipes:\n" + _summaries(recipes.registry)
        if asked == name == "train-autoencoder":
            text += "\n\nRecipes:\n" + _summaries(recipes.registry)
        member = Annotated[cls, tyro.conf.subcommand(name, description=text)]
        union = member if union is None else union | member
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(union, args=_settings(arguments), prog="fromnoise", description=_ABOUT)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise SystemExit(_say(_unboxed(box.getvalue()) or "bad arguments; see fromnoise --help", 2)) from None


def _summaries(registry: Registry) -> str:
    width = max(map(len, registry.names()))
    return "\n".join(f"  {name:<{width}}  {registry.summary(name)}" for name in registry.names())


_ABOUT = """Diffusion models: train, sample, look inside.

  fromnoise train digits                 train a model of handwritten digits, 4 minutes
  fromnoise sample runs/digits --n 64    draw from it
  fromnoise eval runs/digits             measure it: FID or its like, precision, recall
  fromnoise verify                       every equation of the theory, on this machine
  fromnoise list                         recipes, samplers, data sets
  fromnoise COMMAND --help               all options of a command"""


def _unboxed(text: str) -> str:
    """tyro's framed message as words: its heading, and what stands above the first rule."""
    lines = [line.strip("│╭╮╰╯ ") for line in text.splitlines()]
    heading, body = "", []
    for line in lines:
        if line.startswith("─") and not line.strip("─ "):
            break
        if line.startswith("─"):
            heading = line.strip("─ ")
        elif line:
            body.append(line)
    said = " ".join(body).split(" Got errors:")[0]
    said = said.replace("no type matching {None}|", "not a value of type ").replace(" could be instantiated from", ":")
    return said if said.lower().startswith(heading.lower()) or not heading else f"{heading.lower()}: {said}"


def _settings(arguments: list[str]) -> list[str]:
    """`--set a=1 b=2` as well as `--set a=1 --set b=2`: each word gets its own flag."""
    words: list[str] = []
    inside = first = False
    for word in arguments:
        if word == "--set":
            inside, first = True, True
        elif inside and (first or "=" in word) and not word.startswith("-"):
            words += ["--set", word]
            first = False
        else:
            inside = False
            words.append(word)
    return words
