"""Write docs/evidence.md: what is proved and measured, by which command, in one place.

    make evidence

The identities are those of `fromnoise verify`, in verify.json beside this file. The tables are those of the other
pages, each with the commands of its section: a table of figures without a command is an error.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parent
PAGES = ("metrics", "samplers", "few_steps", "steering", "text", "control", "straight", "likelihood", "weights",
         "performance", "scale", "scale_plan", "data", "export", "studio")  # fmt: skip
_COMMANDS = ("(?:train|train-autoencoder|train-classifier|sample|show|edit|eval|table|nll|info|encode|index|convert|"
             "export) \\S|verify|list|doctor")  # fmt: skip
_COMMAND = re.compile(rf"(?:fromnoise (?:{_COMMANDS})|python (?:benchmarks|notebooks)/|make [a-z]|tests/)[^`\n]*")
_FIGURES = 0.4
"""Share of cells with a number from which on a table is one of figures."""


@dataclass
class Section:
    """A part of a page under one heading."""

    page: str
    title: str
    level: int
    text: str = ""
    commands: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)


def sections(page: str) -> Iterator[Section]:
    """Those of a page, with their commands and their tables of figures."""
    now, fenced, rows = Section(page, page, 1), False, []
    found = []
    for line in [*(DOCS / f"{page}.md").read_text(encoding="utf-8").splitlines(), ""]:
        fenced ^= line.lstrip().startswith("```")
        heading = re.match(r"(#+) (.+)", line) if not fenced else None
        if line.startswith("|") and not fenced:
            rows.append(line)
        elif rows:
            if _is_of_figures(rows):
                now.tables.append("\n".join(rows))
            rows = []
        if heading:
            found.append(now)
            now = Section(page, heading[2], len(heading[1]))
        spans = [line] if fenced else re.findall(r"`([^`]+)`", line)  # prose is no command
        now.commands += [
            one.split("  #")[0].strip().rstrip(".,;:)") for span in spans for one in _COMMAND.findall(span)
        ]
    yield from [*found, now]


def _is_of_figures(rows: list[str]) -> bool:
    cells = [cell.strip() for row in rows[2:] for cell in row.strip("|").split("|")[1:]]
    return bool(cells) and sum(bool(re.match(r"\W?\d", cell)) for cell in cells) >= _FIGURES * len(cells)


def anchor(title: str) -> str:
    """Of a heading, as the site and GitHub make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def page() -> tuple[str, list[str]]:
    """The whole page, and the tables of figures that have no command."""
    lines, missing = [(HERE / "head.md").read_text(encoding="utf-8").rstrip(), ""], []
    lines += ["## The identities", "", *_identities(), "", "## What was measured", ""]
    for name in PAGES:
        every = list(sections(name))
        first = [one for part in every if part.level == 1 for one in part.commands]
        above: list[str] = []
        for section in every:
            above = section.commands or (above if section.level > 2 else first)
            for table in section.tables:
                if not above:
                    missing.append(f"docs/{name}.md, {section.title}")
                where = f"[{name}]({name}.md#{anchor(section.title)})"
                commands = "; ".join(f"`{one}`" for one in dict.fromkeys(above[:3]))
                lines += [f"### {section.title} ({where})", "", f"By: {commands}", "", table, ""]
    return "\n".join(lines), missing


def main() -> int:
    text, missing = page()
    (DOCS / "evidence.md").write_text(text, encoding="utf-8")
    for one in missing:
        print(f"a table of figures without a command: {one}", file=sys.stderr)
    return 1 if missing else 0


def _identities() -> list[str]:
    rows = json.loads((HERE / "verify.json").read_text(encoding="utf-8"))
    passed = sum(row["passed"] for row in rows)
    worst = max((row["error"] or 0) / row["tolerance"] for row in rows if row["tolerance"])
    return [f"`fromnoise verify` computed {len(rows)} identities with the shipped code; {passed} hold. The largest "
            f"difference was {worst:.2f} of that identity's tolerance. Each of them stands in its chapter of the "
            "[theory](theory/index.md), with the equation, the source and the difference."]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
