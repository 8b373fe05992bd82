"""Text with formulas, as a page can show it: LaTeX becomes MathML here, so that the browser needs no library."""

import re
from functools import cache

from fromnoise.errors import FromNoiseError

Piece = tuple[str, str]
"""("text" | "math" | "code", content); the content of "math" is MathML."""

_BARS = re.compile(r"(?<![a-z])\|([^|]+)\|")
_PIECES = re.compile(r"(\$[^$]+\$|`[^`]+`)")


@cache
def formula(latex: str, display: str = "block") -> str:
    """A formula as MathML.

    Args:
        latex: of our own text alone.
        display: "block" for a line of its own, "inline" within one.

    Raises:
        FromNoiseError: the converter is not installed.
    """
    try:
        from latex2mathml.converter import convert
    except ImportError:
        raise FromNoiseError('formulas need latex2mathml: pip install "fromnoise[studio]"') from None
    return convert(_BARS.sub(r"\\left|\1\\right|", latex), display=display)


@cache
def pieces(text: str) -> tuple[Piece, ...]:
    """Text in which $...$ is a formula and `...` is code, in its parts."""
    parts = (part for part in _PIECES.split(text) if part)
    return tuple(_piece(part) for part in parts)


def _piece(part: str) -> Piece:
    if part.startswith("$"):
        return "math", formula(part[1:-1], "inline")
    return ("code", part[1:-1]) if part.startswith("`") else ("text", part)
