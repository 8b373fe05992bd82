"""unCLIP: a prior draws the embedding of an image from a text, and a decoder draws the image from the embedding.

Both are denoisers, and together they form a cascade. The states of the prior are embeddings: unit vectors of an
image-text model times sqrt(D), so that each element has variance 1, as every schedule assumes. A drawn embedding is
rescaled to that length before it goes to the decoder. Source: Ramesh et al. 2022 (arXiv 2204.06125).
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
    """sqrt(D) z / |z|: [N, D], embeddings rescaled to the length that they have in training."""
    return z.shape[1] ** 0.5 * F.normalize(z, dim=1)


@torch.no_grad()
def embed(image_text: ImageText, x: Tensor) -> Tensor:
    """z = sqrt(D) u(x) at the cleanest level that the model was trained on: [N, D], float32.

    Args:
        image_text: the image-text model.
        x: images in [-1, 1], [N, ...].

    Raises:
        FromNoiseError: `image_text` is not an ImageText, or the images have another shape or are not floating-point.
    """
    checks.instance("image_text", image_text, ImageText)
    checks.state("x", x, image_text.shape)
    if tuple(x.shape[1:]) != image_text.shape:
        raise FromNoiseError(f"x must be {['N', *image_text.shape]}, the shape of the image-text model, got "
                             f"{list(x.shape)}".replace("'", ""))  # fmt: skip
    t = image_text.schedule.chain[-2]
    device = next(image_text.parameters()).device
    return on_sphere(image_text.of_states(t.alpha.item() * x.to(device), t))


def embedding_size(denoiser: Denoiser) -> int | None:
    """D of an unCLIP decoder, None for other models.

    It is read from the attribute `image_embedding` of the network, which may also be a network of your own.
    """
    found = getattr(denoiser.network, CONDITION, None)
    return getattr(found, "in_features", found)


@torch.no_grad()
def variations(
    decoder: Denoiser, image_text: ImageText, x: Tensor, n: int = 8, eta: float = 1.0, steps: int = 50, seed: int = 0
) -> Tensor:
    """DDIM with noise eta from (z, x_T) of an image: keeps what the embedding z holds and varies the rest, [n, ...].

    x_T is the end of the probability-flow ODE that starts at the image. eta = 0 returns the image itself, up to the
    error of the steps. Source: Ramesh et al. 2022, section 3.1.

    Args:
        decoder: the decoder, wrapped in guidance if any is wanted.
        image_text: the image-text model that the decoder was trained with.
        x: an image in [-1, 1], without a batch axis.
        n: number of variations.
        eta: eta of DDIM, in [0, 1].
        steps: number of DDIM steps.
        seed: seed of the noise.

    Raises:
        FromNoiseError: the model is not a decoder of these embeddings, or torchdiffeq is not installed.
    """
    n, steps = checks.whole("n", n, 1), checks.whole("steps", steps, 1)
    if not isinstance(eta, int | float) or not 0 <= eta <= 1:
        raise FromNoiseError(f"eta, the share of DDIM's noise, must lie in [0, 1], got {checks.shown(eta)}")
    sampler = DDIM(eta=eta)  # refuses a wrong eta before the expensive part
    z, latent = _read(decoder, image_text, x[None])
    chain = decoder.schedule.steps(min(steps, decoder.schedule.chain.steps), "uniform")
    calls: Iterator[int] = iter(range(2**62))

    def noise() -> Tensor:
        return rng.normal(seed, range(n), next(calls), tuple(latent.shape[1:]), dtype=latent.dtype).to(latent.device)

    with decoder.evaluating():
        start = latent.expand(n, *latent.shape[1:])
        return decoder.decoded(walk(decoder, start, chain, sampler, noise, _shown(decoder, z.expand(n, -1))))


def interpolate(decoder: Denoiser, image_text: ImageText, a: Tensor, b: Tensor, n: int = 8) -> Tensor:
    """decode(slerp(z_a, z_b, s), slerp(x_Ta, x_Tb, s)) for n evenly spaced s from 0 to 1: from image a to b, [n, ...].

    Source: Ramesh et al. 2022, section 3.2.

    Args:
        decoder, image_text: see `variations`.
        a, b: images in [-1, 1], without a batch axis.
        n: number of results, including both ends.

    Raises:
        FromNoiseError: n is below 2, the shapes differ, the model is not a decoder of these embeddings, or torchdiffeq
            is not installed.
    """
    n = checks.whole("n", n, 2)
    checks.floats(a=a, b=b)
    if a.shape != b.shape:
        raise FromNoiseError(f"interpolation: a and b must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    share = torch.linspace(0, 1, n, dtype=torch.float64)
    z, latents = _read(decoder, image_text, torch.stack([a, b]))
    return decode(decoder, slerp(latents[0], latents[1], share), _shown(decoder, slerp(z[0], z[1], share)))


def text_difference(
    decoder: Denoiser, image_text: ImageText, x: Tensor, new: str, old: str, n: int = 8, most: float = 0.5
) -> Tensor:
    """decode(slerp(z, d, s), x_T), d the direction of w(new) - w(old), for n even s from 0 to `most`, [n, ...].

    The first result is the image itself; the others move towards the new text and away from the old one. Source: Ramesh
    et al. 2022, section 3.3, where `most` is between 0.25 and 0.5.

    Args:
        decoder, image_text: see `variations`.
        x: an image in [-1, 1], without a batch axis.
        new, old: texts, such as "blue heart" and "red heart".
        n: number of results.
        most: the largest s, in (0, 1].

    Raises:
        FromNoiseError: `most` is out of range, the model encodes both texts alike, the model is not a decoder of these
            embeddings, or torchdiffeq is not installed.
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
        FromNoiseError: the model is not a decoder of these embeddings.
    """
    checks.instance("decoder", decoder, Denoiser, "fn.load(folder)")
    size = embedding_size(decoder)
    if size is None:
        raise FromNoiseError("decoder: takes no embedding of an image: train one with recipe emoji-unclip, or make "
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
