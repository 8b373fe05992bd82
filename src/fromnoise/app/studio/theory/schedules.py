"""Schedules: how fast the noise grows."""

from collections.abc import Mapping
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Choice, Drawn, Figure, Series, Slider

_NAMES = ("linear", "cosine", "sigmoid", "scaled-linear", "vp", "sub-vp", "rectified", "edm")
_SHOWN = ("log-SNR", "signal", "noise")


def _made(name: str, shift: float) -> "fn.schedules.Schedule":
    """Build a schedule, with a shift of the log-SNR if it supports one."""
    import math

    options = {"cosine": {"shift": shift}, "rectified": {"shift": math.exp(-shift / 2)}}.get(name, {})
    return fn.schedules.build({"name": name, "T": 1000, **options})


def _draw(values: Mapping[str, Any]) -> Drawn:
    import torch

    times = torch.linspace(5, 1000, 200, dtype=torch.float64)
    kept = {"log-SNR": lambda t: t.log_snr.clamp(-14, 14), "signal": lambda t: t.alpha,
            "noise": lambda t: t.sigma.clamp_max(1.2)}[values["shown"]]  # fmt: skip
    curves = []
    for name in _NAMES:
        level = _made(name, values["shift"]).level(times)
        curves.append(Series(name, times, kept(level)))
    path, n = _made(values["schedule"], values["shift"]), values["steps"]
    walks = []
    for spacing in ("uniform", "quadratic", "log-snr", "karras"):
        log_snr = path.steps(n, spacing).levels.log_snr[:-1].clamp(-14, 14)
        walks.append(Series(spacing, torch.arange(len(log_snr)), log_snr, "points"))
    ends = path.chain
    facts = {"log-SNR of the first row": ends[-2].log_snr.item(), "of the last": ends[0].log_snr.item(),
             "signal left at T": ends[0].alpha.item()}  # fmt: skip
    return Drawn([curves, walks], facts)


chapter = Chapter(
    place=2,
    title="Schedules and log-SNR",
    summary="A schedule says how much signal and noise there is at each time; only their ratio matters.",
    paragraphs=(
        "A schedule maps a time to a pair $\\alpha_t, \\sigma_t$. The useful coordinate is the logarithm of the "
        "signal-to-noise ratio. At the same log-SNR, two schedules pose the same problem to the network, up to the "
        "scale of its input.",
        "So a schedule decides two things: where the path ends, and how much time is spent at each ratio. DDPM's "
        "linear schedule passes quickly through the middle, and its last steps change almost nothing. The cosine "
        "schedule falls evenly. In EDM the noise grows and the signal stays.",
        "A sampler visits only a few of the levels. Which ones is a separate choice, the spacing. The second chart "
        "shows the levels that $n$ sampling steps visit.",
    ),
    equations=(
        Equation(
            r"\lambda_t = \log \mathrm{SNR}_t = \log \frac{\alpha_t^2}{\sigma_t^2}",
            "The log-SNR, which is infinite for clean data and falls with $t$.",
            "arXiv 2107.00630, eq. 2; Notes eq. 20; Weng eq. 12",
            ("fn.Level.log_snr", "fn.schedules.Schedule.at"),
        ),
        Equation(
            r"\beta_t = \beta_1 + (\beta_T - \beta_1)\,\frac{t-1}{T-1}",
            "The linear schedule, from $10^{-4}$ to 0.02 in a thousand steps.",
            "arXiv 2006.11239, section 4; Weng eq. 3; Notes eq. 21",
            ("fn.schedules.Linear",),
            "Weng says that $T \\to \\infty$ makes $x_T$ forget $x_0$. What has to diverge is $\\sum_t \\beta_t$: with "
            "$\\beta_t = 1/(t+1)^2$, $\\bar\\alpha$ never falls below one half.",
        ),
        Equation(
            r"\bar\alpha_t = \frac{f(t)}{f(0)}, \qquad f(t) = \cos^2\left(\frac{t/T+s}{1+s}\,\frac{\pi}{2}\right), "
            r"\qquad \beta_t = \min\left(1-\frac{\bar\alpha_t}{\bar\alpha_{t-1}},\ 0.999\right)",
            "The cosine schedule.",
            "arXiv 2102.09672, eq. 17; Sedykh eq. 4.4-4.6",
            ("fn.schedules.Cosine",),
            "Sedykh's eq. 4.6 leaves out the clip at 0.999. Without it $\\beta_T = 1$, and the last step divides by 0.",
        ),
        Equation(
            r"\alpha(u) = \exp\left(-\frac{1}{2}\int_0^u \beta(v)\,dv\right), \qquad \sigma^2 = 1-\alpha^2",
            "Continuous time: the variance-preserving process, which DDPM's chain approaches.",
            "arXiv 2011.13456, eq. 32-33; Weng eq. 5",
            ("fn.schedules.VP",),
        ),
        Equation(
            r"\alpha_t = 1, \qquad \sigma_t = \left(\sigma_{\min}^{1/\rho} + \frac{t-1}{T-1}"
            r"\left(\sigma_{\max}^{1/\rho} - \sigma_{\min}^{1/\rho}\right)\right)^{\rho}",
            "EDM: the signal stays and the noise grows; $\\rho = 7$.",
            "arXiv 2206.00364, eq. 5; Sedykh eq. 3.16-3.19 for NCSN's geometric ladder",
            ("fn.schedules.EDM", "fn.schedules.VE"),
        ),
    ),
    figure=Figure(
        "Above: every schedule over time. Choose the quantity to show, and click a name to hide its line. The shift "
        "applies to cosine and rectified: larger images need more time at high noise. Below: the levels that a sampler "
        "visits, for each spacing.",
        (
            Choice("shown", "Show", _SHOWN),
            Slider("shift", "Shift of the log-SNR", -4, 2, 0.5, 0),
            Choice("schedule", "Schedule of the sampler", _NAMES),
            Slider("steps", "Sampling steps $n$", 2, 50, 1, 12),
        ),
        (Chart("Schedules", "t", "value"), Chart("Levels that the sampler visits", "step", "log-SNR")),
        _draw,
    ),
    rows=("schedules", "levels: log SNR_t = log"),
)
