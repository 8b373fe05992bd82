"""Converts text with LaTeX formulas to MathML on the server, so the browser needs no library."""

import re
from functools import cache

from fromnoise.errors import FromNoiseError

Piece = tuple[str, str]
"""("text" | "math" | "code", content); the content of "math" is MathML."""

_BARS = re.compile(r"(?<![a-z])\|([^|]+)\|")
_PIECES = re.compile(r"(\$[^$]+\$|`[^`]+`)")


@cache
def formula(latex: str, display: str = "block") -> str:
    """Convert a formula to MathML.

    Args:
        latex: the formula; must come from this package, never from user input.
        display: "block" for a separate line, "inline" within a line.

    Raises:
        FromNoiseError: if latex2mathml is not installed.
    """
    try:
        from latex2mathml.converter import convert
    except ImportError:
        raise FromNoiseError('formulas need latex2mathml: pip install "fromnoise[studio]"') from None
    return convert(_BARS.sub(r"\\left|\1\\right|", latex), display=display)


@cache
def pieces(text: str) -> tuple[Piece, ...]:
    """Split text into plain text, formulas ($...$) and code (`...`)."""
    parts = (part for part in _PIECES.split(text) if part)
    return tuple(_piece(part) for part in parts)


def _piece(part: str) -> Piece:
    if part.startswith("$"):
        return "math", formula(part[1:-1], "inline")
    return ("code", part[1:-1]) if part.startswith("`") else ("text", part)
