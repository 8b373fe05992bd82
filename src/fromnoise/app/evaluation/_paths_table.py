"""How straight a model's paths from noise to data are."""

from collections.abc import Callable, Sequence
from typing import Any

from fromnoise.app.runs import Model
from fromnoise.data.images import Progress
from fromnoise.errors import FromNoiseError
from fromnoise.paths import Straightness, measure
from fromnoise.system.disk.hub import shown

GRIDS = (10, 50)
"""Default numbers of levels."""


def straightness(
    model: Model,
    n: int,
    grids: Sequence[int] = (),
    batch_size: int = 64,
    advance: Callable[[int], Any] = lambda n: None,
    progress: Progress | None = None,
) -> list[Straightness]:
    """Measure the straightness of a model's paths with Heun's method, without guidance or clipping.

    A class-conditional model cycles through its classes.

    Args:
        model: a model that is not a cascade.
        n: number of samples for each grid.
        grids: numbers of levels, evenly spaced in sigma / (alpha + sigma); default: 10 and 50.
        batch_size: number of samples followed together.
        advance: called with the number of samples just finished.
        progress: progress of loading the conditioning images, for a model that takes some.

    Raises:
        FromNoiseError: if the model is a cascade, or `paths.measure` fails.
    """
    if model.before is not None:
        raise FromNoiseError(f"a table needs a single model, and {shown(model.path)} is a cascade: measure it with "
                             "fromnoise eval")  # fmt: skip
    told = model.with_images(None, progress).told(range(n)) if model.needs_images else None
    return [
        measure(model.denoiser, n, "heun", steps, cond=told, batch_size=batch_size, advance=advance)
        for steps in sorted(set(grids or GRIDS))
    ]


def paths_as_csv(found: Sequence[Straightness]) -> str:
    """CSV with one line per level of each grid."""
    lines = ["steps,tau,deviation"]
    for one in found:
        lines += [f"{len(one.taus)},{t:.6f},{d:.6g}" for t, d in zip(one.taus, one.deviation, strict=True)]
    return "\n".join(lines) + "\n"


def paths_as_markdown(found: Sequence[Straightness]) -> str:
    """A Markdown table of straightness and curvature, one line per grid."""
    lines = [f"n = {found[0].n} samples, Heun's method, no guidance; straight paths have 0 and 0.", ""]
    lines += ["| steps | network calls | straightness | curvature |", "|--:|--:|--:|--:|"]
    for one in found:
        lines.append(f"| {len(one.taus)} | {one.calls} | {one.straightness:.4f} | {one.curvature:.4f} |")
    return "\n".join(lines) + "\n"
