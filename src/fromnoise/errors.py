"""Errors that a person can act on: one line each, with the way out."""

import difflib
from collections.abc import Iterable


class FromNoiseError(ValueError):
    """What was asked for cannot be done; the message is one line for the person who asked. Exit status 2."""

    exit_code = 2


class TrainingError(FromNoiseError):
    """A run had to stop (not a number, disk full); what was saved is intact. Exit status 1."""

    exit_code = 1


_LONGEST = 1000


def printable(text: str) -> str:
    """Text of strangers for a terminal: what would steer it is spelled out, and the middle of what is endless left out.

    Names of files and classes may hold escape sequences that colour, move or answer.
    """
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 200]} [...] {text[-200:]}"
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """' (did you mean X?)' for the closest allowed name, or nothing."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def unknown(kind: str, name: object, allowed: Iterable[str]) -> FromNoiseError:
    """The error for a name outside a closed set."""
    allowed = list(allowed)
    hint = nearest(str(name), allowed)
    return FromNoiseError(f"unknown {kind} {str(name)!r}{hint}; choose from {', '.join(allowed)}")
