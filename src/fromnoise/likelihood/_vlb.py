"""The variational bound, term by term, in bits per dimension.

-log p(x_0) <= L_T + sum_t L_t + L_0 with

    L_T = KL(q(x_T | x_0) | p(x_T)),   L_t = KL(q(x_s | x_t, x_0) | p(x_s | x_t)),   L_0 = -log p(x_0 | x_1)

The sum is over the steps t -> s of a chain. The last step, to the clean level, is the discretised decoder, L_0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fromnoise.bound import prior_kl, step_terms
from fromnoise.denoise import Denoiser, Given
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.gaussian import Gaussian, diffuse
from fromnoise.parameterizations.students.base import insist_on_denoiser
from fromnoise.schedules.base import Chain
from fromnoise.system import checks, rng

DECODERS = {"exact": Gaussian.log_bin, "tanh": Gaussian.log_bin_tanh}


@dataclass(frozen=True)
class Bound:
    """The terms of the bound for each example, in bits per dimension.

    Attributes:
        prior: L_T, [B].
        steps: L_t of all steps except the last, noisiest first, [B, steps - 1].
        decoder: L_0, [B].
        times: times t of the terms in `steps`, [steps - 1].
    """

    prior: Tensor
    steps: Tensor
    decoder: Tensor
    times: Tensor

    @property
    def total(self) -> Tensor:
        """The bound on -log2 p(x_0) per dimension, [B]."""
        return self.prior + self.steps.sum(1) + self.decoder


@torch.no_grad()
def vlb(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    chain: Chain | None = None,
    cond: Given | None = None,
    seed: int = 0,
    first: int = 0,
    decoder: Literal["exact", "tanh"] = "exact",
    callback: Callable[[], None] | None = None,
) -> Bound:
    """The variational bound for each example, with one draw of x_t for each term.

    Source: Ho et al. 2020, arXiv 2006.11239, eq. 3 and 5; Sedykh eq. 2.13-2.41 (the bound, its gap, its factors and its
    terms) and 2.95-2.97; Friedman eq. 5-6, 13-14, 19-21 and 36-37; Weng eq. 22-26; Notes eq. 5.

    The noise of example i is a function of (seed, first + i, step), so it does not depend on the batch.

    Args:
        denoiser: the model; it is in evaluation mode during the call.
        x0: 8-bit data as x / 127.5 - 1, [B, ...].
        chain: the steps to sum over; default: all steps of the schedule.
        cond: conditions, each [B, ...], or a number for all.
        seed: seed of the noise.
        first: number of the first example.
        decoder: "exact" for the normal distribution, "tanh" for the approximation of the reference code.
        callback: called after every step.

    Raises:
        FromNoiseError: x0 does not fit the model's shape or is not 8-bit data, which the bins of the decoder need, or
            the model is a student whose output is not E[x_0 | x_t].
    """
    if decoder not in DECODERS:
        raise unknown("decoder", decoder, DECODERS)
    checks.instance("denoiser", denoiser, Denoiser)
    insist_on_denoiser(denoiser, "the bound")
    checks.state("x0", x0, denoiser.shape)
    seed, first = checks.whole("seed", seed), checks.whole("first", first, 0)
    _check_8_bit(x0)
    chain = chain or denoiser.schedule.chain
    x0 = x0.to(denoiser.device, denoiser.state_dtype)
    bits = 1 / (x0[0].numel() * math.log(2))
    terms = []
    placed = denoiser.placed(denoiser.given(cond, len(x0)))
    with denoiser.evaluating():
        for i, (t, s) in enumerate(chain.pairs()):
            indices = range(first, first + len(x0))
            eps = rng.normal(seed, indices, i, tuple(x0.shape[1:]), rng.Stream.LIKELIHOOD, x0.dtype).to(x0.device)
            p = denoiser(diffuse(x0, eps, t), t, placed)
            terms.append(
                bits * step_terms(denoiser, p, x0, t.expand(len(x0)), s.expand(len(x0)), chain, DECODERS[decoder])
            )
            if callback is not None:
                callback()
    prior = bits * prior_kl(denoiser, x0, chain[0])
    return Bound(
        prior, torch.stack(terms[:-1], 1) if terms[:-1] else x0.new_zeros(len(x0), 0), terms[-1], chain.levels.time[:-2]
    )


def _check_8_bit(x0: Tensor) -> None:
    level = (x0.double() + 1) * 127.5
    if not bool(((level - level.round()).abs() < 1e-3).all()) or x0.abs().max() > 1 + 1e-6:
        raise FromNoiseError(
            "the bound counts 8-bit values: data must be uint8 / 127.5 - 1, not resampled "
            "floats; for the density of other data there is likelihood.ode"
        )


def summary(bounds: list[Bound]) -> dict[str, Any]:
    """Means over all examples, as JSON values: the whole bound, its terms, and its standard error.

    "steps" lists the term of every step, noisiest first. The standard error is that of the mean over examples, and
    includes the noise of the draws of x_t; it is None for a single example.
    """
    total = torch.cat([b.total for b in bounds]).double().cpu()
    n = len(total)
    return {
        "bits_per_dim": total.mean().item(),
        "prior": torch.cat([b.prior for b in bounds]).double().mean().item(),
        "steps": torch.cat([b.steps for b in bounds]).double().mean(0).tolist(),
        "decoder": torch.cat([b.decoder for b in bounds]).double().mean().item(),
        "standard_error": (total.std() / n**0.5).item() if n > 1 else None,
        "n": n,
        "times": bounds[0].times.tolist(),
    }
