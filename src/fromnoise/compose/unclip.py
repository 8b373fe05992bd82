"""unCLIP: a prior draws the embedding of an image from a text, and a decoder the image from its embedding.

Both are denoisers, and together a cascade: the prior's states are embeddings, sqrt(D) times unit vectors of an
image-text model, so that each number has variance 1 as every schedule assumes; what it draws is brought back to that
length before the decoder is shown it. Source: Ramesh et al. 2022 (arXiv 2204.06125).
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.editing import decode, encode, slerp
from fromnoise.errors import FromNoiseError
from fromnoise.guidance.image_text import ImageText
from fromnoise.samplers import DDIM, walk
from fromnoise.system import checks, rng
from fromnoise.system.disk import storage

CONDITION = "image_embedding"


def on_sphere(z: Tensor) -> Tensor:
    """sqrt(D) z / |z|: [N, D], the length that embeddings are learned and shown at."""
    return z.shape[1] ** 0.5 * F.normalize(z, dim=1)


@torch.no_grad()
def embed(image_text: ImageText, x: Tensor) -> Tensor:
    """z = sqrt(D) u(x) at the cleanest level that the model was trained on: [N, D], float32.

    Args:
        image_text: whose vectors of images these are.
        x: images in [-1, 1], [N, ...].

    Raises:
        FromNoiseError: no such model, or images of another shape or not in floating point.
    """
    checks.instance("image_text", image_text, ImageText)
    checks.state("x", x, image_text.shape)
    if tuple(x.shape[1:]) != image_text.shape:
        raise FromNoiseError(f"x must be {['N', *image_text.shape]}, as the image-text model learned, got "
                             f"{list(x.shape)}".replace("'", ""))  # fmt: skip
    t = image_text.schedule.chain[-2]
    device = next(image_text.parameters()).device
    return on_sphere(image_text.of_states(t.alpha.item() * x.to(device), t))


def embedding_size(denoiser: Denoiser) -> int | None:
    """D of a decoder, None of a model that is shown no embedding; a network of your own says D in `image_embedding`."""
    found = getattr(denoiser.network, CONDITION, None)
    return getattr(found, "in_features", found)


@torch.no_grad()
def variations(
    decoder: Denoiser, image_text: ImageText, x: Tensor, n: int = 8, eta: float = 1.0, steps: int = 50, seed: int = 0
) -> Tensor:
    """DDIM from (z, x_T) of an image, with noise eta: what its embedding says stays, everything else varies, [n, ...].

    x_T is where the probability-flow ODE leads the image; eta 0 walks back to it, as far as the steps go. Source:
    Ramesh et al. 2022, section 3.1.

    Args:
        decoder: with its guidance if any.
        image_text: that the decoder was trained with.
        x: an image in [-1, 1], without a batch.
        n: how many.
        eta: DDIM's, in [0, 1].
        steps: of DDIM.
        seed: of the noise.

    Raises:
        FromNoiseError: the model is no decoder of such embeddings, or torchdiffeq is not installed.
    """
    n, steps = checks.whole("n", n, 1), checks.whole("steps", steps, 1)
    if not isinstance(eta, int | float) or not 0 <= eta <= 1:
        raise FromNoiseError(f"eta, the share of DDIM's noise, must lie in [0, 1], got {checks.shown(eta)}")
    sampler = DDIM(eta=eta)  # a wrong eta is known before anything is walked
    z, latent = _read(decoder, image_text, x[None])
    chain = decoder.schedule.steps(min(steps, decoder.schedule.chain.steps), "uniform")
    calls: Iterator[int] = iter(range(2**62))

    def noise() -> Tensor:
        return rng.normal(seed, range(n), next(calls), tuple(latent.shape[1:]), dtype=latent.dtype).to(latent.device)

    with decoder.evaluating():
        start = latent.expand(n, *latent.shape[1:])
        return decoder.decoded(walk(decoder, start, chain, sampler, noise, _shown(decoder, z.expand(n, -1))))


def interpolate(decoder: Denoiser, image_text: ImageText, a: Tensor, b: Tensor, n: int = 8) -> Tensor:
    """decode(slerp(z_a, z_b, s), slerp(x_Ta, x_Tb, s)) for n even s from 0 to 1, [n, ...]: content and rest together.

    Source: Ramesh et al. 2022, section 3.2.

    Args:
        decoder, image_text: as in `variations`.
        a, b: images in [-1, 1], without a batch.
        n: how many, the two ends included.

    Raises:
        FromNoiseError: as `variations`; n below 2, or shapes that differ.
    """
    n = checks.whole("n", n, 2)
    checks.floats(a=a, b=b)
    if a.shape != b.shape:
        raise FromNoiseError(f"an interpolation needs two of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    share = torch.linspace(0, 1, n, dtype=torch.float64)
    z, latents = _read(decoder, image_text, torch.stack([a, b]))
    return decode(decoder, slerp(latents[0], latents[1], share), _shown(decoder, slerp(z[0], z[1], share)))


def text_difference(
    decoder: Denoiser, image_text: ImageText, x: Tensor, new: str, old: str, n: int = 8, most: float = 0.5
) -> Tensor:
    """decode(slerp(z, d, s), x_T), d = the direction of w(new) - w(old), for n even s from 0 to `most`: [n, ...].

    The first is the image itself; then it moves towards the new text and away from the old one. Source: Ramesh et al.
    2022, section 3.3, where `most` is between 0.25 and 0.5.

    Args:
        decoder, image_text: as in `variations`.
        x: an image in [-1, 1], without a batch.
        new, old: texts, such as "blue heart" and "red heart".
        n: how many.
        most: in (0, 1].

    Raises:
        FromNoiseError: as `variations`; texts that the model takes for the same, or `most` out of range.
    """
    n = checks.whole("n", n, 1)
    if not isinstance(most, int | float) or not 0 < most <= 1:
        raise FromNoiseError(f"most must lie in (0, 1], got {checks.shown(most)}")
    z, latent = _read(decoder, image_text, x[None])
    with torch.no_grad():
        ends = image_text.of_texts([new, old])
    if not bool((ends[0] - ends[1]).norm() > 1e-6):
        raise FromNoiseError(f"{new!r} and {old!r} are the same to the image-text model: nothing to move along")
    share = torch.linspace(0, most, n, dtype=torch.float64)
    along = slerp(z[0], on_sphere((ends[0] - ends[1])[None])[0].to(z), share)
    return decode(decoder, latent.expand(n, *latent.shape[1:]), _shown(decoder, along))


def _read(decoder: Denoiser, image_text: ImageText, x: Tensor) -> tuple[Tensor, Tensor]:
    """(z, x_T) of images.

    Raises:
        FromNoiseError: the model is no decoder of such embeddings.
    """
    checks.instance("decoder", decoder, Denoiser, "fn.load(folder)")
    size = embedding_size(decoder)
    if size is None:
        raise FromNoiseError("decoder: is shown no embedding of an image: train one with recipe emoji-unclip, or make "
                             "its network with image_embedding=SIZE")  # fmt: skip
    z = embed(image_text, x)
    if z.shape[1] != size:
        raise FromNoiseError(f"decoder: takes embeddings of {size} numbers, and the image-text model's have "
                             f"{z.shape[1]}: take the one that it was trained with")  # fmt: skip
    if decoder.embeddings not in (None, found := storage.fingerprint(image_text.network.state_dict())):
        raise FromNoiseError("image_text: is not the one whose embeddings the decoder learned: its hash begins with "
                             f"{found[:12]}, not {str(decoder.embeddings)[:12]}")  # fmt: skip
    return z, encode(decoder, x, _shown(decoder, z))


def _shown(decoder: Denoiser, z: Tensor) -> Cond:
    return {CONDITION: z.to(decoder.device, decoder.state_dtype)}
