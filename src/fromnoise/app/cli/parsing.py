"""Parse a command line into a command with its options."""

import contextlib
import importlib
import inspect
import io
import itertools
import re
import textwrap
from typing import Any

from fromnoise import recipes
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.registry import Registry

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


def parse(arguments: list[str]) -> Any:
    """The command with its options; prints help pages, which end with SystemExit.

    Raises:
        FromNoiseError: there is no such command, or its arguments are wrong.
    """
    asked = next((a for a in arguments if not a.startswith("-")), None)
    if asked is None:
        if not {"-h", "--help"} & set(arguments):
            raise FromNoiseError(f"name a command: {', '.join(COMMANDS)}")
        print(_page())
        raise SystemExit(0)
    if asked not in COMMANDS:
        raise unknown("command", asked, COMMANDS)
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return _of_one(asked, arguments)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise FromNoiseError(_unboxed(box.getvalue(), asked)) from None


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
