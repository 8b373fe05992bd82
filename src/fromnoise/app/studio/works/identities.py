"""Checks the identities of `verify` that belong to a chapter of the theory, one after the other."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fromnoise.app.studio import theory
from fromnoise.app.studio.theory.identities import belongs
from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench
    from fromnoise.verify import Row


@register("identities")
@dataclass(frozen=True)
class Identities(Work):
    """Theory against practice for every row of a chapter; one frame per row."""

    chapter: str

    quick: ClassVar[bool] = False

    def __post_init__(self) -> None:
        theory.get(self.chapter)

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        from fromnoise import verify

        wanted = theory.get(self.chapter).rows
        chosen = [one for one in verify.checks() if belongs(one.topic, one.name, wanted)]
        send({"kind": "start", "total": len(chosen)})
        for i, row in enumerate(verify.rows(chosen)):
            send({"kind": "row", "index": i, **_about(row)})


def _about(row: "Row") -> dict[str, Any]:
    numbers = {key: getattr(row, key) for key in ("theory", "practice", "error", "tolerance", "printed")}
    return {
        "topic": row.topic,
        "name": row.name,
        "passed": bool(row.passed),
        "why": row.why,
        **{key: value if value is None or math.isfinite(value) else str(value) for key, value in numbers.items()},
    }
