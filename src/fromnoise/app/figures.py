"""Matplotlib figures of what happens inside a diffusion model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromnoise.data.images import to_uint8
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import diffuse
from fromnoise.schedules.base import Schedule
from fromnoise.system import rng
from fromnoise.system.disk import files
from fromnoise.system.disk.pictures import grid

__all__ = ["accuracy", "bound_terms", "default_times", "forward_process", "grid", "guidance_curves", "straightness",
           "table_curves", "to_uint8"]  # fmt: skip


def forward_process(
    x0: Tensor,
    schedule: Schedule,
    path: Path,
    times: Sequence[float] = (0, 50, 100, 200, 400, 600, 800, 1000),
    seed: int = 0,
) -> None:
    """x_t = alpha_t x_0 + sigma_t eps of a few images: one row per image, one column per time t (Sedykh fig 6.1).

    Args:
        x0: images, [N, C, H, W] in [-1, 1].
        schedule: the schedule that gives alpha_t and sigma_t.
        path: where to save the figure, in any format that matplotlib supports.
        times: times of the schedule.
        seed: seed of eps; the same eps is used at every t, so a row shows one image vanishing.

    Raises:
        FromNoiseError: if matplotlib is not installed.
    """
    figure = _figure(1.3 * len(times), 1.3 * len(x0) + 0.7)
    eps = rng.normal(seed, range(len(x0)), 0, tuple(x0.shape[1:]))
    axes = figure.subplots(len(x0), len(times), squeeze=False)
    for column, time in enumerate(times):
        level = schedule.level(time)
        pictures = to_uint8(diffuse(x0, eps, level))
        for row, axis in enumerate(axes[:, column]):
            axis.imshow(grid(pictures[row : row + 1], gap=0), cmap="gray", vmin=0, vmax=255)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0, column].set_title(f"t = {time:g}\nlog-SNR {level.log_snr:.1f}" if time else "t = 0\nclean", fontsize=9)
    _save(figure, path)


def bound_terms(report: Mapping[str, Any], path: Path) -> None:
    """The terms of the bound over t, in bits/dim: every L_t, the decoder L_0 at t = 1, and L_T (Sedykh eq. 2.38-2.41).

    Both axes are logarithmic: most of the bound lies in the few cleanest steps. This is why a learned variance and
    importance sampling pay off.

    Args:
        report: the result of `likelihood.summary`.
        path: where to save the figure.

    Raises:
        FromNoiseError: if matplotlib is not installed.
    """
    figure = _figure(8, 4)
    axes = figure.subplots()
    steps = [max(value, 1e-9) for value in report["steps"]]
    axes.loglog(
        report["times"], steps, ".-", markersize=3, linewidth=0.8, label=f"L_t, together {sum(report['steps']):.3f}"
    )
    axes.plot([1], [max(report["decoder"], 1e-9)], "s", label=f"L_0, the decoder, {report['decoder']:.3f}")
    last = max(report["times"], default=1)
    axes.plot([last], [max(report["prior"], 1e-9)], "^", label=f"L_T, the prior, {report['prior']:.5f}")
    axes.set_xlabel("t")
    axes.set_ylabel("bits/dim")
    error = f" +- {report['standard_error']:.3f}" if report["standard_error"] is not None else ""
    axes.set_title(f"{report['bits_per_dim']:.3f}{error} bits/dim, {report['n']} images")
    axes.legend()
    _save(figure, path)


def table_curves(cells: Sequence[Any], effort: str, name: str, path: Path) -> None:
    """Quality against effort: one panel per spacing, one curve per row (Sedykh fig 4.2).

    Args:
        cells: the entries of an `evaluation.Table`.
        effort: what the columns count: "steps" or "network calls"; network calls are plotted as counted.
        name: name of the quality measure, e.g. FD-digits-1k.
        path: where to save the figure.

    Raises:
        FromNoiseError: if matplotlib is not installed.
    """
    spacings = list(dict.fromkeys(c.spacing for c in cells))
    rows = list(dict.fromkeys(c.row for c in cells))
    sizes = sorted({c.n for c in cells}, reverse=True)
    columns = sorted({c.column for c in cells})
    figure = _figure(4.5 * len(spacings) + (2 if len(rows) > 6 else 0), 3.8)
    panels = figure.subplots(1, len(spacings), squeeze=False, sharey=True)[0]
    for axes, spacing in zip(panels, spacings, strict=True):
        for color, row in enumerate(rows):
            own = sorted((c for c in cells if (c.spacing, c.row) == (spacing, row)), key=lambda c: c.column)
            for n in sizes:  # values from different numbers of samples are not comparable, so they are not joined
                points = [c for c in own if c.n == n]
                style = {"label": row} if n == sizes[0] else {"markerfacecolor": "none"}
                x = [c.column if effort == "steps" else c.nfe for c in points]
                mark = "os^Dv"[color // 10]
                axes.loglog(x, [c.value for c in points], f"{mark}-", color=f"C{color % 10}", markersize=4, **style)
        axes.set_title(spacing)
        axes.set_xlabel(effort)
        axes.set_xticks(columns, [str(column) for column in columns])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3, which="both")
    panels[0].set_ylabel(name if len(sizes) == 1 else f"{name} (hollow: fewer samples)")
    handles, labels = panels[0].get_legend_handles_labels()
    if len(rows) > 6:
        figure.legend(handles, labels, fontsize=8, loc="outside right center")
    else:
        panels[0].legend(fontsize=8)
    _save(figure, path)


def accuracy(found: Any, chance: float, path: Path) -> None:
    """The accuracy of a noisy classifier over t.

    Args:
        found: the result of `evaluation.accuracy_over_levels`.
        chance: the accuracy of guessing.
        path: where to save the figure.

    Raises:
        FromNoiseError: if matplotlib is not installed.
    """
    figure = _figure(6, 3.6)
    axes = figure.subplots()
    axes.plot(found.times, found.shares, "o-", markersize=3)
    axes.axhline(chance, linestyle=":", color="gray", label="chance")
    axes.set_xlabel("t")
    axes.set_ylabel("accuracy of argmax p(y | x_t)")
    axes.set_ylim(0, 1.02)
    axes.set_title(f"{found.n} images of {found.data}")
    axes.legend()
    _save(figure, path)


def guidance_curves(cells: Sequence[Any], agreement: str, name: str, path: Path) -> None:
    """Agreement, recall and Frechet distance against the guidance scale, one curve per kind of guidance.

    Args:
        cells: the entries of an `evaluation.GuidanceTable`.
        agreement: the key of the figure that measures agreement with the requested class or caption.
        name: name of the Frechet distance.
        path: where to save the figure.

    Raises:
        FromNoiseError: if matplotlib is not installed.
    """
    figure = _figure(11, 3.4)
    parts = {agreement: agreement, "recall": "recall (variety)", "FD": name}
    for axes, (key, label) in zip(figure.subplots(1, len(parts)), parts.items(), strict=True):
        for row in dict.fromkeys(c.row for c in cells):
            own = sorted((c for c in cells if c.row == row), key=lambda c: c.column)
            axes.plot(
                [c.column for c in own], [c.value if key == "FD" else c.more.get(key) for c in own], "o-", label=row
            )
        axes.set_xlabel("scale")
        axes.set_title(label)
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _save(figure, path)


def straightness(found: Sequence[Any], path: Path) -> None:
    """How far the flow's velocity is from the chord, one curve per grid; beside it a few paths with their chords.

    Two-dimensional paths are drawn in their plane. For others, the element with the largest variance among the
    samples is plotted over tau.

    Args:
        found: results of `paths.measure`, the finest grid last.
        path: where to save the figure.

    Raises:
        FromNoiseError: if matplotlib is not installed.
    """
    figure = _figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    for one in found:
        label = f"{len(one.taus)} levels: S = {one.straightness:.4f}, curvature {one.curvature:.4f}"
        left.plot(one.taus, one.deviation, ".-", markersize=3, linewidth=0.8, label=label)
    left.set_xlabel("tau = sigma / (alpha + sigma)")
    left.set_ylabel("E|chord - velocity|^2 / D")
    left.set_ylim(bottom=0)
    left.legend(fontsize=8)
    taus, paths = torch.cat([found[-1].taus, torch.zeros(1)]), found[-1].paths.flatten(2)
    plane = paths.shape[2] == 2
    x, y = (paths[..., 0], paths[..., 1]) if plane else (taus[:, None].expand(paths.shape[:2]), _most_varied(paths))
    for i in range(paths.shape[1]):
        right.plot(x[:, i], y[:, i], ".-", markersize=2, linewidth=0.8, color=f"C{i}")
        right.plot(x[[0, -1], i], y[[0, -1], i], ":", linewidth=0.8, color=f"C{i}")
    right.set_xlabel("y_1" if plane else "tau")
    right.set_ylabel("y_2" if plane else "one element of y")
    right.set_title("paths, and their chords (dotted)", fontsize=9)
    _save(figure, path)


def _most_varied(paths: Tensor) -> Tensor:
    """Select, from [levels, N, D], the element with the largest variance among the last states: [levels, N]."""
    spread = paths[-1].var(0, unbiased=False)
    return paths[..., int(spread.argmax())]


def _save(figure: Any, path: Path) -> None:
    with files.replacing(path) as file:
        figure.savefig(file, dpi=110, format=path.suffix.lstrip(".").lower() or "png")


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise FromNoiseError('figures need matplotlib: pip install "fromnoise[figures]"') from None
    return Figure(figsize=(width, height), layout="constrained")


def default_times(schedule: Schedule, columns: int = 8) -> list[float]:
    """Return times for `forward_process`, starting at 0 and closer together where the noise grows faster."""
    last = getattr(schedule, "T", None)
    if last is None:
        raise FromNoiseError("this schedule has no discrete steps: give the times")
    share = torch.linspace(0, 1, columns, dtype=torch.float64) ** 1.3
    return [float(round(last * s)) for s in share.tolist()]
