"""Types of command-line options that several commands have."""

from pathlib import Path
from typing import Annotated, Literal

import tyro


def option(metavar: str) -> object:
    """How an option's value is called in the help."""
    return tyro.conf.arg(metavar=metavar)


Run = Annotated[Path, tyro.conf.Positional, option("RUN")]
Name = Annotated[str | None, option("NAME")]
Number = Annotated[int | None, option("N")]
File = Annotated[Path | None, option("FILE")]
Folder = Annotated[Path | None, option("FOLDER")]
Settings = Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], option("KEY=VALUE")]
Precision = Literal["auto", "fp32", "bf16"]
Compile = Literal["auto", "on", "off"]
