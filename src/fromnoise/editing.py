"""Editing images, and states of any shape: encoding, interpolation, image to image, inpainting and upscaling."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise import samplers
from fromnoise.denoise import Cond, Denoiser, Given
from fromnoise.errors import FromNoiseError
from fromnoise.flow import solve
from fromnoise.gaussian import Level, diffuse, like, step
from fromnoise.guidance import Wrapper
from fromnoise.nn.spatial import averaged, repeated
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.parameterizations.students.base import insist_on_denoiser
from fromnoise.samplers import Sampler
from fromnoise.samplers.base import Noise, insist_on_match
from fromnoise.schedules.base import Chain
from fromnoise.schedules.spacings.base import Spacing
from fromnoise.system import checks, rng


def encode(
    denoiser: Denoiser, x0: Tensor, cond: Given | None = None, *, rtol: float = 1e-5, atol: float = 1e-5
) -> Tensor:
    """x_0 -> x_T along the probability-flow ODE: the latent that `decode` turns back into x_0.

    The path starts with alpha x_0 at the schedule's cleanest row. Source: Song et al. 2021, section 4.3; DDIM, section
    5.4.

    Args:
        denoiser: the model, wrapped in guidance if any is wanted.
        x0: data in [-1, 1], [B, ...].
        cond: conditions, each [B, ...].
        rtol, atol: relative and absolute tolerance of the adaptive solver.

    Raises:
        FromNoiseError: torchdiffeq is not installed.
    """
    low, high = _ends(denoiser)
    checks.state("x0", x0, denoiser.image_shape)
    given = denoiser.placed(denoiser.given(cond, len(x0)))
    x = denoiser.encoded(x0)
    with denoiser.evaluating():
        return solve(denoiser, like(low.alpha, x) * x, low, high, given, rtol=rtol, atol=atol)


def decode(
    denoiser: Denoiser, latent: Tensor, cond: Given | None = None, *, rtol: float = 1e-5, atol: float = 1e-5
) -> Tensor:
    """x_T -> x_0 along the probability-flow ODE, ending with x0hat at the cleanest row: the inverse of `encode`.

    It recovers the image up to the noise of that row, which no denoiser can separate from the data. Source: Song et al.
    2021, section 4.3; DDIM, section 5.4.

    Args:
        denoiser: the model, wrapped in guidance if any is wanted.
        latent: x_T, [B, ...].
        cond: conditions, each [B, ...].
        rtol, atol: relative and absolute tolerance of the adaptive solver.

    Raises:
        FromNoiseError: torchdiffeq is not installed.
    """
    low, high = _ends(denoiser)
    checks.state("latent", latent, denoiser.shape)
    given = denoiser.placed(denoiser.given(cond, len(latent)))
    x = latent.to(denoiser.device, denoiser.state_dtype)
    with denoiser.evaluating(), torch.no_grad():
        x = solve(denoiser, x, high, low, given, rtol=rtol, atol=atol)
        return denoiser.decoded(denoiser(x, low, given).x0)


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """sin((1 - s) w)/sin w a + sin(s w)/sin w b, w the angle between a and b: spherical interpolation, [n, ...].

    A straight line would not do: its midpoint between two independent normal draws is shorter than either by a factor
    sqrt(2), and no latents lie there. Source: DDIM, appendix D.5.

    Args:
        a, b: two latents of the same shape, [...].
        share: s in [0, 1], [n].
    """
    one, two = (x.flatten().cpu().double() for x in (a, b))
    w, share = torch.acos(F.cosine_similarity(one, two, 0).clamp(-1 + 1e-9, 1 - 1e-9)), share.cpu().double()
    left, right = torch.sin((1 - share) * w) / torch.sin(w), torch.sin(share * w) / torch.sin(w)
    shape = (-1, *[1] * a.dim())
    return left.to(a).view(shape) * a + right.to(a).view(shape) * b


def interpolate(denoiser: Denoiser, a: Tensor, b: Tensor, n: int = 8, cond: Given | None = None) -> Tensor:
    """x_0 = decode(slerp(encode(a), encode(b), s)) for n evenly spaced s from 0 to 1: from a to b, [n, ...].

    Source: DDIM, section 5.3 and appendix D.5.

    Args:
        denoiser: the model, wrapped in guidance if any is wanted.
        a, b: examples in [-1, 1] of the same shape, [...].
        n: number of results, including both ends.
        cond: conditions of the two ends, each [2, ...]; each result uses those of the nearer end.

    Raises:
        FromNoiseError: n is below 2, the shapes differ, or torchdiffeq is not installed.
    """
    n = checks.whole("n", n, 2)
    checks.floats(a=a, b=b)
    if a.shape != b.shape:
        raise FromNoiseError(f"interpolation: a and b must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    cond = denoiser.given(cond, 2)
    latents = encode(denoiser, torch.stack([a, b]), cond)
    share = torch.linspace(0, 1, n, dtype=torch.float64)
    nearer = {k: v[(share > 0.5).long().to(v.device)] for k, v in cond.items()} if cond else None
    return decode(denoiser, slerp(latents[0], latents[1], share), nearer)


@torch.no_grad()
def image_to_image(
    denoiser: Denoiser,
    x0: Tensor,
    strength: float = 0.5,
    sampler: Sampler | str = "ancestral",
    steps: int | None = None,
    seed: int = 0,
    cond: Given | None = None,
    *,
    spacing: str | Spacing | None = None,
    batch_size: int = 64,
) -> Tensor:
    """x_t = alpha_t x_0 + sigma_t eps of the given x_0, then the sampler from t down to 0: [B, ...].

    Features of x_0 larger than the noise survive; smaller ones are drawn anew. Source: SDEdit (Meng et al. 2022),
    algorithm 1.

    Args:
        denoiser: the model, wrapped in guidance if any is wanted.
        x0: data in [-1, 1], [B, ...].
        strength: fraction of the steps to take, in (0, 1], rounded down to whole steps; 1 keeps almost nothing of x_0.
        sampler, steps, seed, spacing, batch_size: see `sample`; default: 50 steps, or the whole chain if it is shorter.
            Example i uses the noise of sample i.
        cond: conditions, each [B, ...]; default: none, even for a class-conditional model.

    Raises:
        FromNoiseError: the strength is out of range or amounts to less than one step, or an argument is refused as in
            `sample`.
    """
    if not 0 < strength <= 1:
        raise FromNoiseError(f"strength must lie in (0, 1], got {strength}")
    sampler = samplers.build(sampler) if isinstance(sampler, str) else sampler
    checks.instance("sampler", sampler, Sampler, "samplers.DDIM(), or one of samplers.names()")
    checks.objects(spacing=spacing)
    checks.state("x0", x0, denoiser.image_shape)
    insist_on_denoiser(denoiser, "editing an image")
    insist_on_match(denoiser, sampler)
    sampler.check(denoiser)
    seed, batch_size = checks.whole("seed", seed), checks.whole("batch_size", batch_size, 1)
    steps = min(50, denoiser.schedule.chain.steps) if steps is None else checks.whole("steps", steps)
    cond = denoiser.given(cond, len(x0))
    whole = denoiser.schedule.steps(steps, spacing or sampler.default_spacing)
    walked = math.floor(strength * whole.steps + 1e-9)
    if not walked:
        least = math.ceil(1 / strength - 1e-9)
        raise FromNoiseError(
            f"strength {strength:g} of {whole.steps} steps is less than one step: give at least {least}"
        )
    chain = Chain(whole.levels[whole.steps - walked :])
    done = []
    with denoiser.evaluating():
        for start in range(0, len(x0), batch_size):
            x = denoiser.encoded(x0[start : start + batch_size])
            indices, calls = range(start, start + len(x)), iter(range(2**62))

            def noise(indices: range = indices, calls: Iterator[int] = calls, x: Tensor = x) -> Tensor:
                return rng.normal(seed, indices, next(calls), tuple(x.shape[1:]), dtype=x.dtype).to(x.device)

            told = {k: v[start : start + batch_size] for k, v in cond.items()} if cond else None
            start_from = diffuse(x, noise(), chain[0])
            done.append(
                denoiser.decoded(samplers.walk(denoiser, start_from, chain, sampler, noise, denoiser.placed(told)))
            )
    return torch.cat(done)


@dataclass(frozen=True)
class Inpaint(Sampler):
    """x_s = m (alpha_s x_0 + sigma_s z) + (1 - m) x_s', x_s' from the inner sampler: inpainting of the unknown part.

    The known part is put in at every level s. After one step the known and the drawn part do not yet match, so every
    step is taken `repeats` times, with a forward step back to t in between. The inner sampler restarts each time: a
    multistep sampler is only of first order here, and the paper's ancestral sampler is the natural choice. Source:
    RePaint (Lugmayr et al. 2022), algorithm 1.

    Args:
        x0: the image, or an example of any shape, in [-1, 1].
        known: the mask m, 1 where x0 is kept and 0 where it is drawn; of the shape of x0 or broadcastable to it
            ([1, H, W]).
        inner: the sampler that draws the unknown part.
        repeats: how many times each step is taken; the paper uses 10.

    Raises:
        FromNoiseError: repeats is below 1.
    """

    order: ClassVar[int | None] = None
    x0: Tensor
    known: Tensor
    inner: Sampler
    repeats: int = 5

    def nfe(self, steps: int) -> int | None:
        once, last = self.inner.nfe(steps), self.inner.nfe(1)
        return None if once is None or last is None else self.repeats * (once - last) + last

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise FromNoiseError(f"inpainting needs at least 1 repeat, got {self.repeats}")

    def check(self, denoiser: Denoiser) -> None:
        if denoiser.codec is not None:
            raise FromNoiseError("a mask keeps values of x_0, but this is a latent model")
        self.inner.check(denoiser)

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        k, x0, known = step(t, s), self.x0.to(x), self.known.to(x)
        for left in range(0 if s.is_clean else self.repeats - 1, -1, -1):
            drawn, _ = self.inner.step(denoiser, x, t, s, self.inner.init(x), noise, cond)
            kept = x0 if s.is_clean else diffuse(x0, noise(), s)
            y = known * kept + (1 - known) * drawn
            x = like(k.a, y) * y + like(k.b.sqrt(), y) * noise() if left else y
        return x, state


class Upscale(Wrapper):
    """x0hat + U (y - A x0hat): the prediction, corrected so that its block averages equal a given small image.

    A averages blocks of pixels, U repeats a pixel over its block, and A U = 1: the small image fixes the averages, and
    the model draws the detail. Signals and volumes work the same way. Source: DDNM (Wang et al. 2023), eq. 13 and 17.

    Args:
        denoiser: the model, already clipped if clipping is wanted.
        small: y, [C, *size] in [-1, 1]; each side of the model's shape is the same multiple of the small side.

    Raises:
        FromNoiseError: the sides do not fit, the model has no shape or draws points, or it is a latent model.
    """

    def __init__(self, denoiser: Denoiser, small: Tensor):
        super().__init__(denoiser)
        checks.floats(small=small)
        shape = denoiser.shape
        if denoiser.codec is not None:
            raise FromNoiseError("a small image constrains pixels, but this is a latent model")
        if shape is None:
            raise FromNoiseError("this denoiser has no shape of its own: give fn.Denoiser(..., shape=(...))")
        if len(shape) < 2:
            raise FromNoiseError(f"the model draws points of {shape[0]} numbers, which have no sides to enlarge")
        self.factor = shape[-1] // small.shape[-1]
        if self.factor < 1 or shape != (small.shape[0], *(self.factor * side for side in small.shape[1:])):
            one, other = ("x".join(map(str, s)) for s in (shape, small.shape))
            raise FromNoiseError(f"the model draws {one}, which is no whole multiple of {other}")
        self.small = small

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        """The wrapped prediction, with x_0 corrected to agree with the small image."""
        p = self.inner(x_t, t, cond)
        missing = self.small.to(p.x0) - averaged(p.x0, self.factor)
        return p.with_x0(p.x0 + repeated(missing, self.factor))


def _ends(denoiser: Denoiser) -> tuple[Level, Level]:
    """The schedule's cleanest noisy row and its noisiest row."""
    chain = denoiser.schedule.chain
    return chain[-2], chain[0]
