"""How straight a model's paths from noise to data are."""

from collections.abc import Callable, Sequence
from typing import Any

from fromnoise.app.runs import Model
from fromnoise.data.images import Progress
from fromnoise.errors import FromNoiseError
from fromnoise.paths import Straightness, measure
from fromnoise.system.disk.hub import shown

GRIDS = (10, 50)
"""Levels of the grid where none are asked for."""


def straightness(
    model: Model,
    n: int,
    grids: Sequence[int] = (),
    batch_size: int = 64,
    advance: Callable[[int], Any] = lambda n: None,
    progress: Progress | None = None,
) -> list[Straightness]:
    """Of the model alone, without guidance or clipping, by Heun's method; its classes in turn.

    Args:
        model: no cascade.
        n: samples of each grid.
        grids: numbers of levels, even in sigma / (alpha + sigma); 10 and 50 where none are given.
        batch_size: samples that are followed together.
        advance: called with how many more are done.
        progress: of loading the images that a model is shown beside x.

    Raises:
        FromNoiseError: it is a cascade; or what `paths.measure` raises.
    """
    if model.before is not None:
        raise FromNoiseError(f"a table is of one model, and {shown(model.path)} is a cascade: measure it with "
                             "fromnoise eval")  # fmt: skip
    told = model.with_images(None, progress).told(range(n)) if model.needs_images else None
    return [
        measure(model.denoiser, n, "heun", steps, cond=told, batch_size=batch_size, advance=advance)
        for steps in sorted(set(grids or GRIDS))
    ]


def paths_as_csv(found: Sequence[Straightness]) -> str:
    """A line for each level of each grid."""
    lines = ["steps,tau,deviation"]
    for one in found:
        lines += [f"{len(one.taus)},{t:.6f},{d:.6g}" for t, d in zip(one.taus, one.deviation, strict=True)]
    return "\n".join(lines) + "\n"


def paths_as_markdown(found: Sequence[Straightness]) -> str:
    """Straightness and curvature, a line for each grid."""
    lines = [f"n = {found[0].n} samples, Heun's method, no guidance; straight paths have 0 and 0.", ""]
    lines += ["| steps | network calls | straightness | curvature |", "|--:|--:|--:|--:|"]
    for one in found:
        lines.append(f"| {len(one.taus)} | {one.calls} | {one.straightness:.4f} | {one.curvature:.4f} |")
    return "\n".join(lines) + "\n"
