"""What a chapter is."""

from dataclasses import dataclass
from typing import Any

from fromnoise.app.studio.theory.controls import Figure
from fromnoise.app.studio.theory.identities import belongs, named
from fromnoise.app.studio.theory.mathml import formula, pieces


@dataclass(frozen=True)
class Equation:
    """A formula, where it stands, and what computes it.

    Attributes:
        latex: the formula, as it is right.
        says: its name.
        source: the paper, with its arXiv number first, and the texts' tags.
        code: functions of the library, e.g. "fn.gaussian.diffuse".
        printed: what a text has in its place, where it errs; with formulas.
    """

    latex: str
    says: str
    source: str
    code: tuple[str, ...]
    printed: str = ""

    def about(self) -> dict[str, Any]:
        """For the page."""
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
        place: where it stands among the others.
        title: its name for people.
        summary: a sentence, plain text.
        paragraphs: with formulas as $...$ and code as `...`.
        equations: in the order of the argument.
        figure: which the reader can change.
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
        """For the page."""
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
