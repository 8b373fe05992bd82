"""Images, and states of any shape, changed by a model: there and back, between two, in part, from rough to fine."""

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
    """x_0 -> x_T along the probability-flow ODE: the latent from which `decode` leads back.

    It starts at the schedule's cleanest row, at alpha x_0. Source: Song et al. 2021, section 4.3; DDIM, section 5.4.

    Args:
        denoiser: the model, with its guidance if any.
        x0: data in [-1, 1], [B, ...].
        cond: conditions, each [B, ...].
        rtol, atol: of the adaptive solver.

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
    """x_T -> x_0 along the probability-flow ODE, ending on x0hat at the cleanest row: the way back from `encode`.

    Back to the image but for the noise of that row, which no denoiser can tell from it. Source: as `encode`.

    Args:
        denoiser: the model, with its guidance if any.
        latent: x_T, [B, ...].
        cond: conditions, each [B, ...].
        rtol, atol: of the adaptive solver.

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
    """sin((1 - s) w)/sin w a + sin(s w)/sin w b, w the angle between them: between two latents, [n, ...].

    The straight line between two independent normal draws is shorter by sqrt(2) in the middle, where no latent lies.
    Source: DDIM, appendix D.5.

    Args:
        a, b: of one shape, [...].
        share: s in [0, 1], [n].
    """
    one, two = (x.flatten().cpu().double() for x in (a, b))
    w, share = torch.acos(F.cosine_similarity(one, two, 0).clamp(-1 + 1e-9, 1 - 1e-9)), share.cpu().double()
    left, right = torch.sin((1 - share) * w) / torch.sin(w), torch.sin(share * w) / torch.sin(w)
    shape = (-1, *[1] * a.dim())
    return left.to(a).view(shape) * a + right.to(a).view(shape) * b


def interpolate(denoiser: Denoiser, a: Tensor, b: Tensor, n: int = 8, cond: Given | None = None) -> Tensor:
    """x_0 = decode(slerp(encode(a), encode(b), s)) for n even s from 0 to 1: from one example to another, [n, ...].

    Source: DDIM, section 5.3 and appendix D.5.

    Args:
        denoiser: the model, with its guidance if any.
        a, b: examples in [-1, 1] of one shape, [...].
        n: how many, the two ends included.
        cond: conditions of both ends, each [2, ...]; every one in between has those of the nearer end.

    Raises:
        FromNoiseError: n below 2, shapes that differ, or torchdiffeq is not installed.
    """
    n = checks.whole("n", n, 2)
    checks.floats(a=a, b=b)
    if a.shape != b.shape:
        raise FromNoiseError(f"an interpolation needs two of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
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
    """x_t = alpha_t x_0 + sigma_t eps of the given x_0, then the sampler from t down: [B, ...].

    What is larger than the noise stays; what is smaller is drawn anew. Source: SDEdit (Meng et al. 2022), algorithm 1.

    Args:
        denoiser: the model, with its guidance if any.
        x0: [B, ...] in [-1, 1].
        strength: share of the steps that are walked, rounded down, in (0, 1]; 1 keeps hardly anything.
        sampler, steps, seed, spacing, batch_size: as in `sample`, 50 steps or the whole shorter chain unless given; the
            noise of example i is that of sample i.
        cond: conditions, each [B, ...]; a model of classes is told none unless given.

    Raises:
        FromNoiseError: a strength out of range or of less than a step, or what `sample` raises.
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
    """x_s = m (alpha_s x_0 + sigma_s z) + (1 - m) x_s', x_s' the inner sampler's: what is known is put in at every s.

    The two parts do not know of each other yet; so the step is walked `repeats` times, with the forward step back to t
    in between, until they agree. The inner sampler starts anew each time: a multistep one is of first order here, and
    the ancestral one, which is the paper's, the natural choice. Source: RePaint (Lugmayr et al. 2022), algorithm 1.

    Args:
        x0: the image, or an example of any shape, in [-1, 1].
        known: m, 1 where it is kept and 0 where it is drawn, of the shape of x0 or broadcast to it ([1, H, W]).
        inner: which sampler draws.
        repeats: of every step, 10 in the paper.

    Raises:
        FromNoiseError: no repeats.
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
            raise FromNoiseError("a mask keeps numbers of x_0, and this is a model of latents")
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
    """x0hat + U (y - A x0hat): the prediction whose means over squares are the given small image's.

    A averages squares of pixels, U repeats a pixel over one, A U = 1: what the small image says is fixed, and the model
    draws what it does not say; signals and volumes alike. Source: DDNM (Wang et al. 2023), eq. 13 and 17.

    Args:
        denoiser: the model, already clipped if it is to be.
        small: y, [C, *size] in [-1, 1]; the model's sides are multiples of its sides by one factor.

    Raises:
        FromNoiseError: the sides do not fit, or the model draws points, which have none.
    """

    def __init__(self, denoiser: Denoiser, small: Tensor):
        super().__init__(denoiser)
        checks.floats(small=small)
        shape = denoiser.shape
        if denoiser.codec is not None:
            raise FromNoiseError("a small image says something of pixels, and this is a model of latents")
        if shape is None:
            raise FromNoiseError("this denoiser has no shape of its own, to which an image could be enlarged")
        if len(shape) < 2:
            raise FromNoiseError(f"the model draws points of {shape[0]} numbers, which have no sides to enlarge")
        self.factor = shape[-1] // small.shape[-1]
        if self.factor < 1 or shape != (small.shape[0], *(self.factor * side for side in small.shape[1:])):
            one, other = ("x".join(map(str, s)) for s in (shape, small.shape))
            raise FromNoiseError(f"the model draws {one}, which is no whole multiple of {other}")
        self.small = small

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        """The wrapped prediction with its x_0 made to agree with the small image."""
        p = self.inner(x_t, t, cond)
        missing = self.small.to(p.x0) - averaged(p.x0, self.factor)
        return p.with_x0(p.x0 + repeated(missing, self.factor))


def _ends(denoiser: Denoiser) -> tuple[Level, Level]:
    """The schedule's cleanest row and its noisiest."""
    chain = denoiser.schedule.chain
    return chain[-2], chain[0]
