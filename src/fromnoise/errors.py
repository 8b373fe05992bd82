"""Errors that a user can act on: one line each, with the way out."""

import difflib
from collections.abc import Iterable


class FromNoiseError(ValueError):
    """The request cannot be carried out; the message is one line that tells the user why. Exit status 2."""

    exit_code = 2


class TrainingError(FromNoiseError):
    """A run had to stop, e.g. at a loss of NaN or a full disk; what it saved is intact. Exit status 1."""

    exit_code = 1


_LONGEST = 1000


def printable(text: str) -> str:
    """Untrusted text made safe to print: control characters are escaped, and the middle of a long text is left out.

    Names of files and classes may hold escape sequences that colour the terminal, move its cursor or make it reply.
    """
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 200]} [...] {text[-200:]}"
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ' (did you mean X?)' for the closest allowed name, or an empty string."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def unknown(kind: str, name: object, allowed: Iterable[str]) -> FromNoiseError:
    """The error for a name outside a closed set."""
    allowed = list(allowed)
    hint = nearest(str(name), allowed)
    return FromNoiseError(f"unknown {kind} {str(name)!r}{hint}; choose from {', '.join(allowed)}")
