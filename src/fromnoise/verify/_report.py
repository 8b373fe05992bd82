"""The report as one self-contained page."""

import base64
import html as escape
import importlib.util
import io
import platform
from collections.abc import Callable
from typing import Any

import torch

import fromnoise
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import step
from fromnoise.verify._check import Row
from fromnoise.verify._truth import LINEAR, SHORT, line
from fromnoise.verify.objectives import path_quadrature

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
h1 { font-size: 1.6rem } h2 { margin-top: 2.2rem; font-size: 1.2rem; text-transform: capitalize }
table { border-collapse: collapse; width: 100% }
td, th { padding: .35rem .6rem; border-bottom: 1px solid #e3e6ea; text-align: left; vertical-align: top }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; text-align: right }
.ok { color: #14713d } .fail { color: #fff; background: #b3261e; font-weight: 600 }
.src { color: #6a737d; font-size: .85em }
figure { margin: 1rem 0 } img { max-width: 100% } figcaption { color: #57606a }
@media (prefers-color-scheme: dark) { body { background: #15181c; color: #e6e8ea } td, th { border-color: #30363d }
.ok { color: #57c785 } img { background: #fff } }
"""


def html(rows: list[Row]) -> str:
    """The page: identities that hold, identities that fail, and figures; it loads nothing from elsewhere."""
    failed = sum(not r.passed for r in rows)
    says = f"all {len(rows)} identities hold" if not failed else f"{failed} of {len(rows)} identities fail"
    versions = f"fromnoise {fromnoise.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    parts = [f"<h1>Theory against practice: {says}</h1><p>{versions}. Errors are relative where theory exceeds 1.</p>"]
    parts += [f"<figure><img alt='{c}' src='{src}'><figcaption>{c}</figcaption></figure>" for src, c in _figures(rows)]
    for topic in dict.fromkeys(r.topic for r in rows):
        body = "".join(_row(r) for r in rows if r.topic == topic)
        head = "<tr><th>identity</th><th>theory</th><th>practice</th><th>as printed</th><th>error</th><th></th></tr>"
        parts.append(f"<h2>{topic}</h2><table>{head}{body}</table>")
    title = "<title>fromnoise verify</title><meta name='viewport' content='width=device-width, initial-scale=1'>"
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'>{title}<style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def check_figures() -> None:
    """Check that figures can be drawn, before anything is computed for the page.

    Raises:
        FromNoiseError: if matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise FromNoiseError('an HTML report needs matplotlib: pip install "fromnoise[figures]"')


def _row(r: Row) -> str:
    mark = "<td class='ok'>holds</td>" if r.passed else f"<td class='fail'>fails {escape.escape(r.why)}</td>"
    printed = "" if r.printed is None else f"{r.printed:.6g}"
    name = f"{escape.escape(r.name)}<div class='src'>{escape.escape(r.source)}</div>"
    numbers = (f"{r.theory:.10g}", f"{r.practice:.10g}", printed, f"{r.error:.1e} &le; {r.tolerance:.0e}")
    return f"<tr><td>{name}</td>" + "".join(f"<td class='n'>{n}</td>" for n in numbers) + mark + "</tr>"


def _figures(rows: list[Row]) -> list[tuple[str, str]]:
    draws = (
        "Friedman's path form of L_t against the posterior form, with the known constant of every t subtracted: "
        "the same mean, more variance."
    )
    limits = (
        "The reverse variance of linear-1000 between its limits beta-tilde and beta, and the best one for a mixture."
    )
    wanted = [
        (_two_draws, draws),
        (_variances, limits),
        (lambda axes: _errors(axes, rows), "The error of every identity against its tolerance."),
    ]
    made = []
    for paint, caption in wanted:
        try:
            made.append((_draw(paint), caption))
        except Exception as error:  # the report of a broken library must still be written
            made.append(("", f"{caption} Could not be drawn: {type(error).__name__}: {error}"))
    return made


def _two_draws(axes: Any) -> None:
    rows = range(2, SHORT.T + 1)
    found = [path_quadrature(row) for row in rows]
    constants = []
    for row in rows:
        k, below = step(SHORT.level(row), SHORT.level(row - 1)), step(SHORT.level(row - 1), SHORT.level(row - 2))
        constants.append((torch.log(k.variance / below.b) / 2).item())
    path = [f[0].item() - c for f, c in zip(found, constants, strict=True)]
    axes.errorbar([r + 0.06 for r in rows], path, [f[1].sqrt().item() for f in found], fmt="o", capsize=4,
                  label="path form minus its constant: mean and standard deviation")  # fmt: skip
    axes.errorbar([r - 0.06 for r in rows], [f[2].item() for f in found], [f[3].sqrt().item() for f in found], fmt="s",
                  capsize=4, label="posterior form (L_vlb)")  # fmt: skip
    axes.set_xlabel("t")
    axes.set_ylabel("L_t in nats")
    axes.legend()


def _variances(axes: Any) -> None:
    rows = torch.unique(torch.logspace(0.31, 3, 60, dtype=torch.float64).round())
    t, s = LINEAR.level(rows), LINEAR.level(rows - 1)
    k = step(t, s)
    truth, grid = line(), torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    spread = []
    for i in range(len(rows)):
        density = torch.exp(truth.log_prob(grid, t[i]))
        spread.append(torch.trapezoid(density * truth.moments(grid, t[i])[1][:, 0, 0], grid[:, 0]))
    best = k.variance + k.from_x0**2 * torch.stack(spread)
    for values, name in (
        (k.b, "beta (fixed large)"),
        (best, "best isotropic"),
        (k.variance, "beta-tilde (fixed small)"),
    ):
        axes.loglog(rows, values / k.b, label=name)
    axes.set_xlabel("t")
    axes.set_ylabel("variance / beta_t")
    axes.legend()


def _errors(axes: Any, rows: list[Row]) -> None:
    ok = [r for r in rows if r.error < float("inf")]
    axes.semilogy([max(r.error, 1e-17) for r in ok], ".", label="error")
    axes.semilogy([max(r.tolerance, 1e-17) for r in ok], "_", label="tolerance")
    axes.set_xlabel("identity")
    axes.legend()


def _draw(paint: Callable[[Any], None]) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    paint(figure.subplots())
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
