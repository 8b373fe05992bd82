"""The report: a JSON file for each stage, one table, one plot, and a last line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("what", "", "number format", "share of the ceiling", "note")


@dataclass(frozen=True)
class Found:
    """The result of one stage: how it ended, and its rows."""

    name: str
    status: str
    seconds: float
    rows: list[dict]

    @property
    def failed(self) -> list[dict]:
        return [row for row in self.rows if row.get("ok") is False]


def write(folder: Path, name: str, status: str, seconds: float, lines: Path) -> Found:
    """Write NAME.json from the rows that the stage appended before it ended."""
    read = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    rows = [line for line in read if "what" in line]
    if status != "done" and read and "began" in read[-1]:
        status += f", at {read[-1]['began']}"
    found = Found(name, status, seconds, rows)
    text = json.dumps({"stage": name, "status": status, "seconds": round(seconds, 1), "rows": rows}, indent=1)
    (folder / f"{name}.json").write_text(text + "\n")
    print(f"== {name}: {status}, {seconds:.0f} s", flush=True)
    return found


def conclude(found: Sequence[Found], folder: Path) -> int:
    """Write gpu.md and gpu.png, print the last line, and return the exit status."""
    (folder / "gpu.md").write_text(table(found))
    missing = _plot(found, folder / "gpu.png")
    rows = [row for stage in found for row in stage.rows]
    measured = [row for row in rows if row.get("value") is not None]
    left_out = [f"{row['stage']}: {row['what']} ({row['left_out']})" for row in rows if "left_out" in row]
    left_out += [f"the plot ({missing})"] if missing else []
    failed = [f"{row['stage']}: {row['what']}" for row in rows if row.get("ok") is False]
    broken = [f"{stage.name} ({stage.status})" for stage in found if stage.status != "done"]
    parts = [f"{len(measured)} rows", f"{len(failed)} failed" + (f": {'; '.join(failed)}" if failed else "")]
    parts += [f"stages that did not end: {'; '.join(broken)}"] if broken else []
    parts += [f"left out: {'; '.join(left_out)}" if left_out else "nothing left out"]
    print(f"{folder / 'gpu.md'}: " + " | ".join(parts), flush=True)
    return 1 if failed or broken else 0


def table(found: Sequence[Found]) -> str:
    """All rows as Markdown, with a heading per stage."""
    devices = dict.fromkeys(row["device"] for stage in found for row in stage.rows if row.get("device"))
    lines = [f"# {', '.join(devices) or 'no device'}", ""]
    for stage in found:
        lines += [f"## {stage.name}: {stage.status}, {stage.seconds:.0f} s", ""]
        lines += ["| " + " | ".join(COLUMNS) + " |", "|---|---:|---|---:|---|"] if stage.rows else []
        lines += [_line(row) for row in stage.rows]
        lines.append("")
    return "\n".join(lines)


def _line(row: dict) -> str:
    figure = f"{row['value']:.4g} {row['unit']}" if row.get("value") is not None else "-"
    share = f"{row['share']:.1%} of {row['of']}" if row.get("share") is not None else ""
    said = {True: "holds", False: "**FAILS**"}.get(row.get("ok"), "")
    left_out = f"left out: {row['left_out']}" if "left_out" in row else ""
    note = "; ".join(part for part in (said, left_out, row.get("note", "")) if part).replace("|", "/")
    return f"| {row['what']} | {figure} | {row.get('numbers', '')} | {share} | {note} |"


def _plot(found: Sequence[Found], path: Path) -> str:
    """Draw rates as shares of their ceiling; returns why it could not be drawn, or ""."""
    try:
        import matplotlib
    except ImportError:
        return "matplotlib is not installed"
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for stage in found for row in stage.rows if row.get("share") is not None]
    if not rows:
        return "no row has a ceiling"
    figure, axis = plt.subplots(figsize=(9, 1.2 + 0.26 * len(rows)), layout="constrained")
    colours = {stage.name: f"C{i}" for i, stage in enumerate(found)}
    bars = axis.barh([f"{row['what']} ({row['numbers']})" for row in rows], [100 * row["share"] for row in rows],
                     color=[colours[row["stage"]] for row in rows])  # fmt: skip
    axis.bar_label(bars, [f"{100 * row['share']:.0f} %: {row['value']:.3g} {row['unit']}" for row in rows],
                   fontsize=7, padding=2)  # fmt: skip
    axis.invert_yaxis()
    axis.margins(x=0.25)
    axis.tick_params(labelsize=7)
    axis.set_xlabel(f"% of what {rows[0]['device']} reaches in one large operation")
    figure.savefig(path, dpi=110)
    return ""
