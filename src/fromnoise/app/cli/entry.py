"""Parsing, and turning every expected failure into one line."""

import contextlib
import errno
import importlib
import inspect
import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from fromnoise import recipes
from fromnoise.errors import FromNoiseError, printable, unknown
from fromnoise.registry import Registry, insist_on_numbers

COMMANDS = {
    "train": "train:Train",
    "train-autoencoder": "train_autoencoder:TrainAutoencoder",
    "train-classifier": "train_classifier:TrainClassifier",
    "sample": "sample:Sample",
    "show": "show:Show",
    "edit": "edit:Edit",
    "eval": "eval:Eval",
    "table": "table:Table",
    "nll": "nll:Nll",
    "verify": "verify:Verify",
    "list": "list:List",
    "info": "info:Info",
    "encode": "encode:Encode",
    "index": "index:Index",
    "convert": "convert:Convert",
    "export": "export:Export",
    "studio": "studio:Studio",
    "doctor": "doctor:Doctor",
}
"""Where each command's class is; only the one that was asked for is imported."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 (a run had to stop), 2 (bad input), 128 + a signal."""
    # Before torch is loaded: threads that wait by spinning lose half their speed once another process wants a core, and
    # gain nothing alone (docs/performance.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else stack traces of C++ where another process is gone
    try:
        command = _parse(list(sys.argv[1:] if arguments is None else arguments))
        for name, value in vars(command).items():
            insist_on_numbers(value, f"--{name.replace('_', '-')}")
        with _warnings_as_lines():
            return command()
    except FromNoiseError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{(error.strerror or str(error)).lower()}", 1 if full else 2)
    except Exception as error:
        if _out_of_memory(error):
            return _say(f"not enough memory ({str(error) or 'MemoryError'}): {_SMALLER}", 1, of_all=False)
        traceback.print_exc()
        return _say(
            "this is a bug in fromnoise, not in your input: please report it with the lines above", 70, of_all=False
        )


_SMALLER = "lower --batch-size, or take a smaller network or smaller images"


def _out_of_memory(error: Exception) -> bool:
    """torch's allocators raise a RuntimeError, of which only some have a class of their own."""
    said = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in said for word in ("out of memory", "allocate memory"))
    )


def _say(text: str, status: int, of_all: bool = True) -> int:
    """A line; of what all processes of a run meet alike, the first one's alone."""
    if not of_all or os.environ.get("RANK", "0") == "0":
        print(f"fromnoise: {printable(' '.join(text.split()))}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Python's warnings as lines of ours, each once; not what decoders say of images that they read all the same."""
    said: set[str] = set()

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        from fromnoise.data.feed import is_grumble  # here, since few commands need it
        from fromnoise.system.progress import warn

        text = " ".join(str(message).split())
        if text not in said and not is_grumble(filename) and os.environ.get("RANK", "0") == "0":
            said.add(text)
            warn(text)

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before


def _parse(arguments: list[str]) -> Any:
    asked = next((a for a in arguments if not a.startswith("-")), None)
    if asked is not None and asked not in COMMANDS:
        raise SystemExit(_say(str(unknown("command", asked, COMMANDS)), 2))
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return _of_all(arguments) if asked is None else _of_one(asked, arguments)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise SystemExit(_say(_unboxed(box.getvalue()) or "bad arguments; see fromnoise --help", 2)) from None


def _of_one(name: str, arguments: list[str]) -> Any:
    """The command with its options; its page teaches."""
    import tyro

    cls, rest = command(name), list(arguments)
    rest.remove(name)
    text = inspect.cleandoc(cls.__doc__ or "")
    if name in ("train", "train-autoencoder"):
        text += "\n\nRecipes:\n" + _summaries(recipes.registry)
    return tyro.cli(cls, args=_settings(rest), prog=f"fromnoise {name}", description=text)


def _of_all(arguments: list[str]) -> Any:
    """The page of all commands, a line for each."""
    import tyro

    union: Any = None
    for name in COMMANDS:
        cls = command(name)
        text = inspect.cleandoc(cls.__doc__ or "").split("\n", 1)[0]
        member = Annotated[cls, tyro.conf.subcommand(name, description=text)]
        union = member if union is None else union | member
    return tyro.cli(union, args=arguments, prog="fromnoise", description=_ABOUT)


def command(name: str) -> type:
    """The class of a command."""
    module, _, cls = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(f"fromnoise.app.cli.{module}"), cls)


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
