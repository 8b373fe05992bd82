"""The parts of a chapter."""

from dataclasses import dataclass
from typing import Any

from fromnoise.app.studio.theory.controls import Figure
from fromnoise.app.studio.theory.identities import belongs, named
from fromnoise.app.studio.theory.mathml import formula, pieces


@dataclass(frozen=True)
class Equation:
    """An equation with its sources and the functions that compute it.

    Attributes:
        latex: the correct formula.
        says: what it says, in words.
        source: the paper, with its arXiv number first, then the tags of the texts.
        code: functions of the library, e.g. "fn.gaussian.diffuse".
        printed: errors of the texts in this equation; may contain formulas.
    """

    latex: str
    says: str
    source: str
    code: tuple[str, ...]
    printed: str = ""

    def about(self) -> dict[str, Any]:
        """JSON values for the page."""
        return {
            "mathml": formula(self.latex),
            "caption": pieces(self.says),
            "source": self.source,
            "code": list(self.code),
            "printed": pieces(self.printed),
        }


@dataclass(frozen=True)
class Chapter:
    """A page of the theory.

    Attributes:
        place: its position among the chapters.
        title: the heading.
        summary: one sentence of plain text.
        paragraphs: text with formulas as $...$ and code as `...`.
        equations: the equations, in order.
        figure: the interactive figure.
        rows: the identities of `verify` that belong to it, each "topic" or "topic: part of the name".
    """

    place: int
    title: str
    summary: str
    paragraphs: tuple[str, ...]
    equations: tuple[Equation, ...]
    figure: Figure
    rows: tuple[str, ...]

    def about(self) -> dict[str, Any]:
        """JSON values for the page."""
        return {
            "title": self.title,
            "summary": self.summary,
            "paragraphs": [pieces(text) for text in self.paragraphs],
            "equations": [one.about() for one in self.equations],
            "figure": {
                "what": pieces(self.figure.what),
                "controls": [one.about() for one in self.figure.controls],
                "charts": [one.about() for one in self.figure.charts],
                "defaults": self.figure.defaults,
            },
            "rows": [
                {"topic": one.topic, "name": one.name, "source": one.source}
                for one in named()
                if belongs(one.topic, one.name, self.rows)
            ],
        }
