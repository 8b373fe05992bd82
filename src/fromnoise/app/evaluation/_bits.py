"""Bits per dimension of a model on a data set: the variational bound, and optionally the density of the ODE."""

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
    """Return {bits_per_dim, prior, steps, decoder, standard_error, n}, means over n images; see `likelihood.vlb`.

    With `method` "ode" the report also has the density of the probability-flow ODE under "ode": the images are
    dequantised, and the divergence is Hutchinson's estimate; see `likelihood.ode`.

    Args:
        denoiser: a denoiser of images.
        images: the data set; the first n of a fixed shuffle are used.
        chain: the levels of the bound; default: the model's own chain.
        callback: called after every network call of the bound.

    Raises:
        FromNoiseError: if the model is a latent or super-resolution model, or the images are not 8-bit.
    """
    check_bits(denoiser)
    chain = chain or denoiser.schedule.chain
    chosen = rng.permutation(seed, 0, len(images))[:n]
    bounds, flows = [], []
    for start in range(0, len(chosen), batch_size):
        pixels, conditions = images.examples(chosen[start : start + batch_size].tolist())
        common: dict[str, Any] = {"cond": known(denoiser, images, conditions), "seed": seed, "first": start}
        if pixels.dtype != torch.uint8:
            raise FromNoiseError(f"bits per dimension need 8-bit images, since the bound's decoder has 256 values, "
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
    """Estimate Analytic-DPM's variance from n images, e.g. training images; see `bound.optimal_variance`.

    Args:
        callback: called after every network call.
    """
    chosen = rng.permutation(seed + 1, 0, len(images))[:n].tolist()
    pixels, conditions = images.examples(chosen)
    cond = known(denoiser, images, conditions)
    return optimal_variance(denoiser, to_unit(pixels), chain, seed, batch_size, callback, cond)


def check_bits(denoiser: Denoiser) -> None:
    """Raise FromNoiseError for latent and super-resolution models, whose bits are not those of images."""
    if denoiser.codec is not None or denoiser.low is not None:
        what = "a latent model, whose bits are not those of images" if denoiser.codec else "a super-resolution model"
        raise FromNoiseError(f"bits per dimension are defined for images, and this is {what}")
