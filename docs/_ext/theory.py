"""The theory: the studio's chapters as pages, with figures that move: their frames are computed when the site is built.

A figure keeps a frame for a grid of its controls' values, as JSON; the page draws them with the studio's own chart.
"""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import names
import numpy as np
import torch

from fromnoise.app.studio import theory
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Choice, Control, Figure
from fromnoise.app.studio.theory.identities import belongs, named

_FRAMES = 48
"""Of a figure, at most."""
_DIGITS = 4

_ABOUT = """Every chapter has its equations with the papers they come from, the functions that compute them, a figure to
play with, and the identities of `fromnoise verify` that hold the code to them. `fromnoise studio` has the same
chapters, with figures that are computed as you move a slider."""


def write(folder: Path, frames: Path, measured: dict[str, dict[str, Any]]) -> list[Path]:
    """The pages of all chapters, and the frames of their figures.

    Args:
        folder: of the pages.
        frames: of the frames, as NAME.json.
        measured: the rows of `fromnoise verify`, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames.mkdir(parents=True, exist_ok=True)
    pages = {"index": _index()}
    for name in theory.names():
        chapter = theory.get(name)
        pages[name] = _page(name, chapter, measured)
        kept = frames / f"{name}.json"
        if not kept.exists():
            kept.write_text(json.dumps(_frames(chapter.figure), separators=(",", ":")), encoding="utf-8")
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return [folder / f"{name}.md" for name in pages]


def _index() -> str:
    lines = ["# Theory", "", _ABOUT, ""]
    for i, name in enumerate(theory.names(), start=1):
        chapter = theory.get(name)
        lines.append(f"{i}. [{chapter.title}]({name}.md): {chapter.summary}")
    lines += ["", "```{toctree}", ":hidden:", "", *theory.names(), "```", ""]
    return "\n".join(lines)


def _page(name: str, chapter: Chapter, measured: dict[str, dict[str, Any]]) -> str:
    lines = [f"# {chapter.title}", "", chapter.summary, ""]
    for text in chapter.paragraphs:
        lines += [text, ""]
    lines += ["## A figure to play with", "", chapter.figure.what, "", "```{raw} html",
              f'<div class="fn-figure" data-figure="{name}"></div>', "```", "", "## Equations", ""]  # fmt: skip
    for one in chapter.equations:
        lines += _equation(one)
    rows = [one for one in named() if belongs(one.topic, one.name, chapter.rows)]
    lines += ["## What proves it", "", f"`fromnoise verify --topic {rows[0].topic}`" if rows else "", "",
              "| identity | source | off by | allowed |", "|---|---|---|---|"]  # fmt: skip
    for row in rows:
        found = measured.get(row.name, {})
        lines.append(f"| {_cell(row.name)} | {_cell(row.source)} | {_number(found.get('error'))} | "
                     f"{_number(found.get('tolerance'))} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def _equation(one: Equation) -> list[str]:
    lines = [f"**{one.says}**", "", "$$", one.latex, "$$", "", f"Source: {one.source}.", ""]
    if one.code:
        links = [f"[`{code}`]({_target(code)})" for code in one.code]
        lines += [f"In the code: {', '.join(links)}.", ""]
    if one.printed:
        lines += [f"In print: {one.printed}", ""]
    return lines


def _target(code: str) -> str:
    """The page of "fn.samplers.DDIM", or of "fn.sample"."""
    first = code.removeprefix("fn.").split(".")[0]
    return f"../reference/{first if first in names.modules() else 'fromnoise'}.md"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("$", "\\$").replace("*", "\\*").replace("_", "\\_").replace("<", "\\<")


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.1e}"


def _values(control: Control, most: int) -> list[Any]:
    """Up to so many values of a control, its default among them."""
    if isinstance(control, Choice):
        return list(control.options)
    count = round((control.high - control.low) / control.step) + 1
    chosen = {round(i) for i in np.linspace(0, count - 1, min(most, count))}
    chosen.add(round((control.default - control.low) / control.step))
    values = (round(control.low + i * control.step, 10) for i in sorted(chosen))
    return [round(v) if control.is_whole else v for v in values]


def _frames(figure: Figure) -> dict[str, Any]:
    """{"controls", "charts", "frames": {"i,j": ...}}: a frame for each combination of the chosen values."""
    choices = math.prod(len(one.options) for one in figure.controls if isinstance(one, Choice))
    sliders = sum(not isinstance(one, Choice) for one in figure.controls)
    most = max(3, int((_FRAMES / choices) ** (1 / max(sliders, 1)))) - 1
    grid = [_values(control, most) for control in figure.controls]
    frames = {}
    for at in itertools.product(*(range(len(values)) for values in grid)):
        asked = {one.name: values[i] for one, values, i in zip(figure.controls, grid, at, strict=True)}
        with torch.no_grad():
            drawn = figure.draw(figure.checked(asked))
        frames[",".join(map(str, at))] = {
            "charts": [[_series(one) for one in chart] for chart in drawn.charts],
            "facts": [[_plain(name), _fact(value)] for name, value in drawn.facts.items()],
        }
    controls = [{"label": _plain(one.label), "values": values, "at": values.index(one.default)}
                for one, values in zip(figure.controls, grid, strict=True)]  # fmt: skip
    return {"controls": controls, "charts": [one.about() for one in figure.charts], "frames": frames}


def _series(one: Any) -> dict[str, Any]:
    return {"name": one.name, "style": one.style, "x": _rounded(one.x), "y": _rounded(one.y)}


def _rounded(values: Any) -> list[float | None]:
    flat = np.asarray(values, dtype=np.float64).reshape(-1).tolist()
    return [float(f"{v:.{_DIGITS}g}") if math.isfinite(v) else None for v in flat]


def _fact(value: float) -> float | str:
    return float(f"{value:.6g}") if math.isfinite(value) else "∞" if value > 0 else "–"


def _plain(text: str) -> str:
    """A label without LaTeX's marks: "$\\eta$" is η."""
    greek = {"eta": "η", "alpha": "α", "beta": "β", "sigma": "σ", "lambda": "λ", "varepsilon": "ε", "gamma": "γ",
             "mu": "μ", "rho": "ρ", "kappa": "κ", "bar": "", "hat": "", "mathrm": "", "text": "", "log": "log",
             "times": "×", "cdot": "·", "left": "", "right": "", "sqrt": "√", "tilde": ""}  # fmt: skip
    for word, sign in greek.items():
        text = text.replace(f"\\{word}", sign)
    return text.replace("$", "").replace("{", "").replace("}", "").replace("\\", "")
