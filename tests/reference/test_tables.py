"""The tables of the schedules against the reference code's arithmetic and against 50 digits."""

import math

import mpmath
import numpy as np
import pytest
import torch

import fromnoise as fn
from fromnoise.gaussian import step

CASES = {
    "linear-1000": (fn.schedules.Linear(T=1000), "linear", 1000),
    "cosine-1000": (fn.schedules.Cosine(T=1000), "cosine", 1000),
    "cosine-4000": (fn.schedules.Cosine(T=4000), "cosine", 4000),
}


def reference_betas(kind: str, total: int) -> np.ndarray:
    """beta_t in numpy float64, the way DDPM's and improved DDPM's code make them."""
    if kind == "linear":
        return np.linspace(1e-4, 0.02, total, dtype=np.float64)

    def bar(x: float) -> float:
        return math.cos((x + 0.008) / 1.008 * math.pi / 2) ** 2

    return np.array([min(1 - bar((i + 1) / total) / bar(i / total), 0.999) for i in range(total)])


def reference_tables(kind: str, total: int) -> dict[str, np.ndarray]:
    """The arrays of the reference code, float64, index 0 holding t = 1."""
    beta = reference_betas(kind, total)
    bar = np.cumprod(1 - beta)
    before = np.append(1.0, bar[:-1])
    return {
        "sqrt_alpha_bar": np.sqrt(bar),
        "sqrt_one_minus_alpha_bar": np.sqrt(1 - bar),
        "mean_from_x0": beta * np.sqrt(before) / (1 - bar),
        "mean_from_x_t": (1 - before) * np.sqrt(1 - beta) / (1 - bar),
    }


def our_tables(schedule) -> dict[str, torch.Tensor]:
    t = torch.arange(1, schedule.T + 1, dtype=torch.float64)
    level, below = schedule.level(t), schedule.level(t - 1)
    k = step(level, below)
    return {
        "sqrt_alpha_bar": level.alpha,
        "sqrt_one_minus_alpha_bar": level.sigma,
        "mean_from_x0": k.from_x0,
        "mean_from_x_t": k.from_x_t,
        "beta": k.b,
        "variance": k.variance,
    }


@pytest.mark.parametrize("name", CASES)
def test_float32_tables_equal_the_references(name):
    schedule, kind, total = CASES[name]
    ours, theirs = our_tables(schedule), reference_tables(kind, total)
    for key, expected in theirs.items():
        wrong = int((ours[key].float().numpy() != expected.astype(np.float32)).sum())
        assert wrong == 0, f"{key}: {wrong} of {total} entries differ"


@pytest.mark.parametrize("name", CASES)
def test_float64_tables_are_right_to_5e_11(name):
    """Against an independent computation with 50 digits, from the formulas of the papers."""
    schedule, kind, total = CASES[name]
    ours = our_tables(schedule)
    with mpmath.workdps(50):
        bar = mpmath.mpf(1)
        worst = dict.fromkeys(ours, 0.0)

        def f(t: int) -> mpmath.mpf:
            # 0.008 and 1.008 are the float64 numbers that every implementation uses.
            return mpmath.cos((mpmath.mpf(t) / total + mpmath.mpf("0.008")) / mpmath.mpf("1.008") * mpmath.pi / 2) ** 2

        for t in range(1, total + 1):
            if kind == "linear":
                low, high = mpmath.mpf("1e-4"), mpmath.mpf("0.02")
                beta = low + (high - low) * (t - 1) / (total - 1)
            else:
                beta = min(1 - f(t) / f(t - 1), mpmath.mpf("0.999"))
            before, bar = bar, bar * (1 - beta)
            exact = {
                "sqrt_alpha_bar": mpmath.sqrt(bar),
                "sqrt_one_minus_alpha_bar": mpmath.sqrt(1 - bar),
                "mean_from_x0": beta * mpmath.sqrt(before) / (1 - bar),
                "mean_from_x_t": (1 - before) * mpmath.sqrt(1 - beta) / (1 - bar),
                "beta": beta,
                "variance": beta * (1 - before) / (1 - bar),
            }
            for key, value in exact.items():
                got = mpmath.mpf(ours[key][t - 1].item())
                error = abs(got - value) / value if value else abs(got)
                worst[key] = max(worst[key], float(error))
    assert max(worst.values()) < 5e-11, worst


@pytest.mark.parametrize("name", CASES)
def test_log_variance_at_the_first_step_is_that_of_the_second(name):
    """The reference's posterior_log_variance_clipped and fixed-large log-variance, both at t = 1."""
    schedule, kind, total = CASES[name]
    beta = reference_betas(kind, total)
    bar = np.cumprod(1 - beta)
    second = beta[1] * (1 - bar[0]) / (1 - bar[1])
    assert schedule.steps(total).first_log_var.item() == pytest.approx(math.log(second), rel=1e-12)
