"""What a sampler is, and the one loop that runs them all."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise import samplers
from fromnoise.denoise import Cond, Denoiser, Given
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.samplers._sizes import insist_on_room, whole_shape
from fromnoise.schedules.base import Chain
from fromnoise.schedules.spacings.base import Spacing
from fromnoise.system import checks, rng
from fromnoise.system.progress import Bar

Noise = Callable[[], Tensor]

DEFAULT, FEW = "unipc", 20
"""What samples are drawn by unless one says otherwise."""


class Sampler(ABC):
    """One way to step from level t to the cleaner level s.

    Subclasses are frozen dataclasses, one in a file, with the update equation in the docstring.
    """

    order: ClassVar[int | None]
    """Of convergence in the number of steps, or None; declared, and therefore measured by a test."""

    default_spacing: ClassVar[str] = "uniform"
    """Which levels it walks unless told: what its papers use, or what serves it best in few steps."""

    needs: ClassVar[str] = ""
    """What it asks for besides a model, for `fromnoise list samplers`."""

    student: ClassVar[str] = ""
    """Which kind of distilled model it draws, and no other; none for most."""

    def nfe(self, steps: int) -> int | None:
        """Network calls of a walk of so many steps, the last of them to the clean level; None if a solver decides."""
        return steps

    def check(self, denoiser: Denoiser) -> None:  # noqa: B027 (empty: most need nothing)
        """Before the first network call: whether this model has what the sampler needs.

        Raises:
            FromNoiseError: it has not; with the way out.
        """

    def init(self, x: Tensor) -> Any:
        """The state that `step` carries from step to step (multistep methods); None where there is none."""
        return None

    @abstractmethod
    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        """x_t -> x_s, and the new state.

        Args:
            denoiser: called once or more as denoiser(x, t, cond).
            x: [B, ...] at level t.
            t, s: scalar levels, s cleaner than t; s may be clean.
            state: from `init` or the step before.
            noise: each call gives fresh standard normal numbers of the shape of x.
            cond: handed to the denoiser.
        """


@dataclass(frozen=True)
class Moment:
    """What a callback sees after each step.

    Attributes:
        index, total: steps done in this batch, and of how many.
        t: the level that x is at now.
        x: the state, [B, ...].
        first: the number of the batch's first sample.
    """

    index: int
    total: int
    t: Level
    x: Tensor
    first: int


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    n_or_shape: int | tuple[int, ...],
    sampler: Sampler | str | None = None,
    steps: int | None = None,
    seed: int = 0,
    cond: Given | None = None,
    callback: Callable[[Moment], None] | None = None,
    *,
    spacing: str | Spacing | None = None,
    batch_size: int = 64,
    first: int = 0,
    until: float | None = None,
    progress: bool = False,
) -> Tensor:
    """Draw samples: x_T from the schedule's prior, then one step of the sampler for each pair of levels.

    Source: Sedykh eq. 2.11 and 4.12-4.13; Friedman eq. 4 (t = T..1) and 13; Weng eq. 14; Notes eq. 7.

    The noise of sample i of seed s is the same bit for bit whatever `batch_size` is, on every device; the
    samples then agree as far as the network's kernels do (1e-4 in float32).

    Args:
        denoiser: the model; put into evaluation mode for the time of the call.
        n_or_shape: how many of `denoiser.shape`, or the whole shape [N, ...].
        sampler: an object such as `samplers.DDIM(eta=0.5)`, or a registered name; by default UniPC (docs/samplers.md
            says why), and a distilled model's own.
        steps: of the sampler, at most the length of a discrete chain; by default 20 of UniPC, and 50 of a sampler that
            was named, or the whole chain where that is shorter; of a distilled model as many as it was made for.
        seed: any integer.
        cond: conditions, each [N, ...], or a number for all N; a model of K classes draws them in turn where
            none are given, i mod K.
        callback: called after every step of every batch.
        spacing: which levels: a Spacing, or the name of one: "uniform", "ddim" or "quadratic" in time, "log-snr" or
            "karras" in noise; default: the sampler's own.
        batch_size: samples that are denoised together.
        first: number of the first sample: samples `first` to `first + n - 1` of the seed.
        until: log-SNR of a level to stop at, noisy, for what comes after (a truncated cascade).
        progress: show a bar with the time left.

    Returns:
        float32 (float64 for oracles), [N, ...], in the data's range though not clipped to it; a latent model's are
        decoded.

    Raises:
        FromNoiseError: unknown sampler or spacing, `steps` out of range, an argument of the wrong kind, or a model that
            lacks what the sampler needs, before any network call; or a state that is not finite, with the step that
            made it so.
    """
    checks.instance("denoiser", denoiser, Denoiser, "fn.Denoiser(network, schedule)")
    sampler, length = _chosen(denoiser, sampler, spacing)
    n, *shape = whole_shape(denoiser, n_or_shape)
    seed, first = checks.whole("seed", seed), checks.whole("first", first, 0)
    batch_size = checks.whole("batch_size", batch_size, 1)
    insist_on_room(n, shape, batch_size)
    cond = denoiser.given(cond, n)
    chain = _levels(denoiser, sampler, length, steps, spacing)
    chain = chain if until is None else chain.until(denoiser.schedule.at(until))
    sampler.check(denoiser)
    if denoiser.low is not None and (cond is None or "image" not in cond):
        raise FromNoiseError("a super-resolution model needs the smaller example: sample its cascade, or pass "
                             "cond=denoiser.low.condition(small, strength, noise)")  # fmt: skip
    prior = denoiser.schedule.prior(chain[0])
    device, dtype = denoiser.device, denoiser.state_dtype
    starts = range(0, n, batch_size)
    bar = Bar("sampling", len(starts) * chain.steps) if progress else None
    done = []
    with denoiser.evaluating(), nullcontext() if bar is None else bar:
        for start in starts:
            indices = range(first + start, first + min(start + batch_size, n))
            calls = iter(range(2**62))

            def noise(indices: range = indices, calls: Any = calls) -> Tensor:
                drawn = rng.normal(seed, indices, next(calls), tuple(shape), dtype=dtype)
                return drawn.to(device, non_blocking=True)

            given = {k: v[start : start + batch_size] for k, v in cond.items()} if cond else None
            usual = denoiser.default_cond(indices)
            part = denoiser.placed((usual or {}) | (given or {}))
            x = noise()
            x = like(prior.mean, x) + like(torch.exp(prior.log_var / 2), x) * x

            def each(i: int, x: Tensor, start: int = start) -> None:
                if callback is not None:
                    callback(Moment(i, chain.steps, chain[i], x, first + start))
                if bar is not None:
                    bar.advance()

            x = walk(denoiser, x, chain, sampler, noise, part, each)
            done.append(x if until is not None else denoiser.decoded(x))
    return torch.cat(done)


def plan(
    denoiser: Denoiser,
    sampler: Sampler | str | None = None,
    steps: int | None = None,
    spacing: str | Spacing | None = None,
) -> tuple[Sampler, Chain]:
    """What `sample` makes of the same arguments: the sampler, and the levels that it walks.

    Raises:
        FromNoiseError: as `sample`.
    """
    found, length = _chosen(denoiser, sampler, spacing)
    chain = _levels(denoiser, found, length, steps, spacing)
    found.check(denoiser)
    return found, chain


def _chosen(denoiser: Denoiser, sampler: Sampler | str | None, spacing: str | Spacing | None) -> tuple[Sampler, int]:
    """The sampler, and its steps unless they are given: a distilled model's own, or the default."""
    own = denoiser.student
    if sampler is None and own is not None:
        return samplers.build(own.sampler), FEW if own.sampler == DEFAULT else own.calls
    found = samplers.build(sampler or DEFAULT) if sampler is None or isinstance(sampler, str) else sampler
    checks.instance("sampler", found, Sampler, "samplers.DDIM(), or one of samplers.names()")
    checks.objects(spacing=spacing)
    return found, 50 if sampler else FEW


def insist_on_match(denoiser: Denoiser, sampler: Sampler) -> None:
    """That a distilled model meets its own sampler.

    Raises:
        FromNoiseError: the sampler is for a kind of distilled model that this is not, or the model for another sampler.
    """
    student = denoiser.student
    if sampler.student and (student is None or student.sampler != sampler.student):
        raise FromNoiseError(f"sampler {sampler.student} needs {sampler.needs}: distil one, or take another sampler")
    if student is not None:
        student.check(sampler)


def _levels(
    denoiser: Denoiser, sampler: Sampler, length: int, steps: int | None, spacing: str | Spacing | None
) -> Chain:
    student, spacing = denoiser.student, spacing or sampler.default_spacing
    insist_on_match(denoiser, sampler)
    if student is not None:
        length = length if student.is_denoiser else student.calls
    steps = min(length, denoiser.schedule.chain.steps) if steps is None else checks.whole("steps", steps)
    return (
        denoiser.schedule.steps(steps, spacing) if student is None else student.chain(denoiser.schedule, steps, spacing)
    )


def walk(
    denoiser: Denoiser,
    x: Tensor,
    chain: Chain,
    sampler: Sampler,
    noise: Noise,
    cond: Cond | None = None,
    each: Callable[[int, Tensor], None] = lambda i, x: None,
) -> Tensor:
    """x at chain[0] -> x at the chain's clean end, one batch: what `sample` does from pure noise.

    Args:
        denoiser: in evaluation mode, under no_grad.
        x: [B, ...].
        chain: of the denoiser's schedule.
        sampler: the steps.
        noise: each call gives standard normal numbers of the shape of x.
        cond: conditions, each [B, ...], on x's device.
        each: called after every step with its number, from 1, and the state.

    Raises:
        FromNoiseError: a state that is not finite, with the step that made it so.
    """
    state, finite = sampler.init(x), []
    for i, (t, s) in enumerate(chain.pairs()):
        x, state = sampler.step(denoiser, x, t, s, state, noise, cond)
        finite.append(torch.isfinite(x).all())
        each(i + 1, x)
    _insist(finite, chain)
    return x


def _insist(finite: list[Tensor], chain: Chain) -> None:
    """That every state was finite. SampleOptions once a batch: a question at every step would make a GPU wait."""
    good = torch.stack(finite)
    if bool(good.all()):
        return
    i = int(good.long().argmin())
    raise FromNoiseError(
        f"the state is not finite after step {i + 1} of {chain.steps}, from t = {chain[i].time.item():g}: the "
        "network's output there is not a number or too large; try precision fp32, or an earlier checkpoint"
    )
