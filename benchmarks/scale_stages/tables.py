"""Markdown tables, readable numbers, and replacing a section of a document."""

from pathlib import Path

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def gigabytes(size: float) -> str:
    """Format bytes in decimal units with three digits."""
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}" if size / unit < 1000 else f"{size / unit:,.0f} {name}"
    return f"{size / 1e3:.3g} kB"


def seconds(value: float) -> str:
    if value >= 2 * 86400:
        return f"{value / 86400:,.3g} days" if value < 1000 * 86400 else f"{value / 86400:,.0f} days"
    if value >= 2 * 3600:
        return f"{value / 3600:.3g} h"
    if value >= 120:
        return f"{value / 60:.3g} min"
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def count(value: float) -> str:
    """Format a count with three digits, such as 675 M or 8.2 B."""
    for unit, name in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def ratio(predicted: float, known: float) -> str:
    return f"**{predicted / known:.3g}**" if predicted != known else "**1**, exactly"


def write(path: Path, section: str, text: str) -> None:
    """Replace the text between <!-- section --> and <!-- /section --> in a document.

    Raises:
        FromNoiseError: if there is no such document or section.
    """
    first, last = f"<!-- {section} -->", f"<!-- /{section} -->"
    before, found, rest = files.read_text(path).partition(first)
    _, ended, after = rest.partition(last)
    if not found or not ended:
        raise FromNoiseError(f"{path}: holds no section between {first} and {last}")
    files.write_text(path, f"{before}{first}\n{text.strip()}\n{last}{after}")
