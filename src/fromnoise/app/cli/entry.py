"""Parse a command line, run its command, and turn every expected failure into one line."""

import contextlib
import errno
import importlib
import inspect
import io
import itertools
import os
import re
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

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
"""The module and class of each command; only the one that is called is imported."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 (a run had to stop), 2 (bad input), 128 + a signal."""
    # Before torch is loaded: threads that spin while they wait lose half their speed as soon as another process wants a
    # core, and gain nothing otherwise (docs/performance.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # or a lost process makes C++ print stack traces
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
    except BrokenPipeError:  # the reader of the output went away
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


_SMALLER = "lower --batch-size, or use a smaller network or smaller images"


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; not all of torch's allocators raise an error of a class of its own."""
    said = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in said for word in ("out of memory", "allocate memory"))
    )


def _say(text: str, status: int, of_all: bool = True) -> int:
    """Print one line and return the status; what all processes of a run meet (`of_all`) only the first one prints."""
    if not of_all or os.environ.get("RANK", "0") == "0":
        print(f"fromnoise: {printable(' '.join(text.split()))}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print Python's warnings as our own, each once; not those of decoders about images that they could read."""
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
    if asked is None:
        if not {"-h", "--help"} & set(arguments):
            raise SystemExit(_say(f"name a command: {', '.join(COMMANDS)}", 2))
        print(_page())
        raise SystemExit(0)
    if asked not in COMMANDS:
        raise SystemExit(_say(str(unknown("command", asked, COMMANDS)), 2))
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return _of_one(asked, arguments)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise SystemExit(_say(_unboxed(box.getvalue(), asked), 2)) from None


def _of_one(name: str, arguments: list[str]) -> Any:
    """The command with its options, or its help page."""
    import tyro

    cls, rest = command(name), list(arguments)
    rest.remove(name)
    text = inspect.cleandoc(cls.__doc__ or "")
    if name == "train":
        text += "\n\nrecipes:\n" + _summaries(recipes.registry)
    config = (tyro.conf.DisallowNone,)  # bool | None is a pair of flags; an option without a value is left out
    return tyro.cli(cls, args=_settings(rest), prog=f"fromnoise {name}", description=text, config=config)


def _page() -> str:
    """The help page of all commands, with a line for each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {(command(name).__doc__ or '').splitlines()[0]}" for name in COMMANDS]
    return "\n".join([_ABOUT, *lines, "", "`fromnoise COMMAND --help` shows the options of a command."])


def command(name: str) -> type:
    """The class of a command."""
    module, _, cls = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(f"fromnoise.app.cli.{module}"), cls)


def _summaries(registry: Registry) -> str:
    width = max(map(len, registry.names()))
    return "\n".join(
        textwrap.fill(registry.summary(name), 80, initial_indent=f"  {name:<{width}}  ",
                      subsequent_indent=" " * (width + 4))
        for name in registry.names()
    )  # fmt: skip


_ABOUT = """usage: fromnoise [-h] COMMAND [OPTIONS]

Train, sample, measure and inspect diffusion models.

examples:
  fromnoise train digits
      Train a model of handwritten digits in 4 minutes, into runs/digits.
  fromnoise sample runs/digits
      Draw 64 images from it.
  fromnoise list
      List recipes, samplers, data sets and everything else to choose from.

commands:"""


def _unboxed(text: str, name: str) -> str:
    """tyro's framed message about the arguments of a command as one plain line."""
    rows = [line[1:-1].removeprefix(" ").rstrip() for line in text.splitlines() if line.strip("│ ")]
    heading, rows = "".join(rows[:1]).strip("─ "), rows[1:]
    if rows and not rows[0].strip("-"):  # a terminal without UTF-8 has the heading above a rule
        rows = rows[1:]
    body = list(itertools.takewhile(lambda row: row.strip("─-"), rows))  # what follows is about the help
    if heading == "Required options":
        missing = [line.strip() for line in body if line.startswith("    ") and not line.startswith("     ")]
        return f"missing {', '.join(missing)}; see fromnoise {name} --help"
    said = " ".join(" ".join(body).split()).split(" Got errors:")[0]
    for pattern, plain in _PLAINLY:
        said = re.sub(pattern, plain, said)
    if near := re.search(r"Perhaps you meant:[│\s]+(--[\w-]+)", text):
        said += f" (did you mean {near[1]}?)"
    return said or f"bad arguments; see fromnoise {name} --help"


_PLAINLY = (
    (r"^Error parsing (\S+): ", r"\1: "),
    (r"invalid literal for int\(\) with base 10: ", "expected a whole number, got "),
    (r"could not convert string to float: ", "expected a number, got "),
    (r"no type matching FLOAT could be instantiated from \[(.*)\]\.$", r"expected a number, got \1"),
    (r"no type matching INT could be instantiated from \[(.*)\]\.$", r"expected a whole number, got \1"),
    (r"no type matching \{FLOAT FLOAT\} could be instantiated from \[(.*)\]\.$", r"expected two numbers, got \1"),
    (r"Could not find valid parse for arguments: \[(.*)\]$", r"cannot be read: \1"),
    (r"^Missing value for argument '(\S+)'\. Expected .*$", r"\1 needs a value"),
    (r"^invalid choice (.*) for argument '(\S+)'\. Expected one of \((.*)\)\.$", r"\2: must be one of \3, got \1"),
    (r"(?:, 'None'|'None', )(?=.*, got )", ""),  # it stands for leaving the option out
    (r"^Unrecognized options: ", "unknown option or extra argument: "),
)
"""Messages of tyro, and the same in plain words."""


def _settings(arguments: list[str]) -> list[str]:
    """The same arguments with each setting behind its own --set: `--set a=1 --set b=2` for `--set a=1 b=2`."""
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
