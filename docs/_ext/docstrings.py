"""Docstrings as MyST Markdown: sections become lists, and no character of a formula becomes markup."""

import inspect
import re
from collections.abc import Iterator

_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example|Examples|Note):\s*$")
_ENTRY = re.compile(r"^(\*{0,2}[A-Za-z_][\w.]*(?:, \*{0,2}[A-Za-z_][\w.]*)*): (.*)$")
_CODE = re.compile(r"(`[^`]+`)")
_MARKUP = re.compile(r"([\\*_\[\]<>$#|~])")
_TITLES = {"Args": "Parameters"}


def markdown(text: str | None) -> str:
    """A docstring in Google's style as Markdown."""
    lines = inspect.cleandoc(text or "").splitlines()
    return "\n".join(_blocks(lines)).strip() + "\n"


def summary(text: str | None) -> str:
    """Its first sentence or formula, on one line."""
    first = inspect.cleandoc(text or "").split("\n\n")[0]
    return escaped(" ".join(first.split()))


def escaped(text: str) -> str:
    """Text whose every character stands for itself, but for `code`."""
    parts = _CODE.split(text)
    return "".join(part if i % 2 else _MARKUP.sub(r"\\\1", part) for i, part in enumerate(parts))


def _blocks(lines: list[str]) -> Iterator[str]:
    i = 0
    while i < len(lines):
        section = _SECTION.match(lines[i])
        if section is None:
            is_code = lines[i].startswith("    ")
            yield lines[i] if is_code else escaped(lines[i])
            i += 1
            continue
        body, i = [], i + 1
        while i < len(lines) and (not lines[i].strip() or lines[i].startswith("    ")):
            body.append(lines[i][4:])
            i += 1
        yield from ("", f"**{_TITLES.get(section[1], section[1])}**", "")
        yield from _entries(body) if section[1] not in ("Returns", "Yields", "Note") else map(escaped, body)
        yield ""


def _entries(body: list[str]) -> Iterator[str]:
    for line in body:
        found = _ENTRY.match(line)
        if found:
            yield f"- `{found[1]}`: {escaped(found[2])}"
        elif line.startswith("    "):
            yield f"  {escaped(line.strip())}"
        else:
            yield escaped(line)
