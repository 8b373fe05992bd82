"""Bits per dimension of a model on a data set: the variational bound, and the density of the ODE beside it."""

from collections.abc import Callable
from typing import Any, Literal

import torch

from fromnoise import likelihood
from fromnoise.bound import optimal_variance
from fromnoise.data.images import Images, to_unit
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.schedules.base import Chain
from fromnoise.system import rng
from fromnoise.train.conditions import known
from fromnoise.variances.optimal import Optimal


def bits_per_dim(
    denoiser: Denoiser,
    images: Images,
    n: int = 256,
    *,
    chain: Chain | None = None,
    method: Literal["vlb", "ode"] = "vlb",
    decoder: Literal["exact", "tanh"] = "exact",
    dequantise: Literal["uniform", "variational"] = "uniform",
    seed: int = 0,
    batch_size: int = 64,
    callback: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """{bits_per_dim, prior, steps, decoder, standard_error, n}, the means over n images; see `likelihood.vlb`.

    With `method` "ode" the density of the probability-flow ODE stands beside it, as "ode": of images with noise in the
    bins, the divergence by Hutchinson's estimate; see `likelihood.ode`.

    Args:
        denoiser: of images.
        images: n of them are taken, the first of a fixed shuffle.
        chain: the levels of the bound; None is the model's own.
        callback: called after every network call of the bound.

    Raises:
        FromNoiseError: a latent or a super-resolution model, whose bits are not those of images.
    """
    check_bits(denoiser)
    chain = chain or denoiser.schedule.chain
    chosen = rng.permutation(seed, 0, len(images))[:n]
    bounds, flows = [], []
    for start in range(0, len(chosen), batch_size):
        pixels, conditions = images.examples(chosen[start : start + batch_size].tolist())
        common: dict[str, Any] = {"cond": known(denoiser, images, conditions), "seed": seed, "first": start}
        if pixels.dtype != torch.uint8:
            raise FromNoiseError(f"bits per dimension are of 8-bit images, whose 256 values the bound's decoder knows, "
                                 f"and {images.name} is {str(pixels.dtype).removeprefix('torch.')}")  # fmt: skip
        x = to_unit(pixels)
        bounds.append(likelihood.vlb(denoiser, x, chain=chain, decoder=decoder, callback=callback, **common))
        if method == "ode":
            flows.append(likelihood.ode(denoiser, x, dequantise=dequantise, **common))
    report = likelihood.summary(bounds)
    if flows:
        report["ode"] = likelihood.flow_summary(flows) | {"dequantisation": dequantise}
    return report


def variance_from(
    denoiser: Denoiser,
    images: Images,
    n: int,
    chain: Chain,
    seed: int = 0,
    batch_size: int = 64,
    callback: Callable[[], None] = lambda: None,
) -> Optimal:
    """Analytic-DPM's variance from n images, such as those that the model was trained on; see `bound.optimal_variance`.

    Args:
        callback: called after every network call.
    """
    chosen = rng.permutation(seed + 1, 0, len(images))[:n].tolist()
    pixels, conditions = images.examples(chosen)
    cond = known(denoiser, images, conditions)
    return optimal_variance(denoiser, to_unit(pixels), chain, seed, batch_size, callback, cond)


def check_bits(denoiser: Denoiser) -> None:
    """Raises FromNoiseError for a model whose bits are not those of images."""
    if denoiser.codec is not None or denoiser.low is not None:
        what = "a latent model, whose bits are not those of images" if denoiser.codec else "a super-resolution model"
        raise FromNoiseError(f"bits per dimension are of images, and this is {what}")
