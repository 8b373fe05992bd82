"""Figures of what happens inside: matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fromnoise import noise
from fromnoise.data._images import to_uint8
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import diffuse
from fromnoise.pictures import grid
from fromnoise.schedules._base import Schedule


def forward_process(
    x0: Tensor,
    schedule: Schedule,
    path: Path,
    times: Sequence[float] = (0, 50, 100, 200, 400, 600, 800, 1000),
    seed: int = 0,
) -> None:
    """x_t = alpha_t x_0 + sigma_t eps of a few images at chosen t: a row an image, a column a time (Sedykh fig 6.1).

    Args:
        x0: [N, C, H, W] in [-1, 1].
        schedule: which x_t.
        path: of the picture, in any format of matplotlib's.
        times: of the schedule.
        seed: of eps, the same at every t, so that one sees one image vanish.

    Raises:
        FromNoiseError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise FromNoiseError('figures need matplotlib: pip install "fromnoise[figures]"') from None
    eps = noise.normal(seed, range(len(x0)), 0, tuple(x0.shape[1:]))
    figure = Figure(figsize=(1.3 * len(times), 1.3 * len(x0) + 0.7), layout="constrained")
    axes = figure.subplots(len(x0), len(times), squeeze=False)
    for column, time in enumerate(times):
        level = schedule.level(time)
        pictures = to_uint8(diffuse(x0, eps, level))
        for row, axis in enumerate(axes[:, column]):
            axis.imshow(grid(pictures[row : row + 1], gap=0), cmap="gray", vmin=0, vmax=255)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0, column].set_title(f"t = {time:g}\nlog-SNR {level.log_snr:.1f}" if time else "t = 0\nclean", fontsize=9)
    figure.savefig(path, dpi=110)


def default_times(schedule: Schedule, columns: int = 8) -> list[float]:
    """Times for `forward_process`, 0 first, at which the noise visibly grows: closer together where it is fast."""
    last = getattr(schedule, "T", None)
    if last is None:
        raise FromNoiseError("this schedule has no steps: give the times")
    share = torch.linspace(0, 1, columns, dtype=torch.float64) ** 1.3
    return [float(round(last * s)) for s in share.tolist()]
