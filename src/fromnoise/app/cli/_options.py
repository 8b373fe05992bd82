"""Types of command-line options that several commands share, and how the help shows an option."""

from pathlib import Path
from typing import Annotated, Literal

import tyro


def option(metavar: str | None = None, default: str | None = None, name: str | None = None) -> object:
    """How the help shows an option; what is None is left to tyro.

    Args:
        metavar: what stands for the option's value.
        default: what applies when the option is not given. Every field whose own default is None, empty or a boolean
            needs it.
        name: the option's name, where it cannot be the field's.
    """
    hint = None if default is None else f"(default: {default})"
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=hint, name=name)


Run = Annotated[Path, tyro.conf.Positional, option("RUN")]
Name = Annotated[str | None, option("NAME")]
Number = Annotated[int | None, option("N")]
File = Annotated[Path | None, option("FILE")]
Folder = Annotated[Path | None, option("FOLDER")]
On = Annotated[bool, option(default="on")]
Off = Annotated[bool, option(default="off")]
Settings = Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], option("KEY=VALUE ...")]
Precision = Literal["auto", "fp32", "bf16"]
Compile = Literal["auto", "on", "off"]
