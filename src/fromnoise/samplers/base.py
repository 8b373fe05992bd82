"""Base class of samplers, and the loop that runs them all."""

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
"""The default sampler and its default number of steps."""


class Sampler(ABC):
    """A rule for stepping from level t to a cleaner level s.

    Subclasses are frozen dataclasses, one per file, whose docstrings start with the update equation.
    """

    order: ClassVar[int | None]
    """Order of convergence in the number of steps, or None; a test measures every declared order."""

    default_spacing: ClassVar[str] = "uniform"
    """Default spacing of the levels: that of the sampler's papers, or the best one for few steps."""

    needs: ClassVar[str] = ""
    """What the sampler needs beside an ordinary model, shown by `fromnoise list samplers`."""

    student: ClassVar[str] = ""
    """The only kind of distilled model that it can sample; empty for most samplers."""

    def nfe(self, steps: int) -> int | None:
        """Network calls in `steps` steps, the last of them to the clean level; None if a solver decides."""
        return steps

    def check(self, denoiser: Denoiser) -> None:  # noqa: B027 (empty: most need nothing)
        """Check, before the first network call, that the model has what the sampler needs.

        Raises:
            FromNoiseError: it has not; the message says what to do.
        """

    def init(self, x: Tensor) -> Any:
        """The initial state that a multistep method carries from step to step; None for other methods."""
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
            state: from `init` or the previous step.
            noise: each call returns fresh standard normal noise of the shape of x.
            cond: conditions, passed on to the denoiser.
        """


@dataclass(frozen=True)
class Moment:
    """The state of sampling after a step, passed to the callback.

    Attributes:
        index, total: number of steps done in this batch, and their total number.
        t: the current level of x.
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

    Source: Ho et al. 2020, arXiv 2006.11239, Algorithm 2; Sedykh eq. 2.11 and 4.12-4.13; Friedman eq. 4 (t = T..1) and
    13; Weng eq. 14; Notes eq. 7.

    The noise of sample i depends only on the seed and on i: bit for bit the same for every `batch_size` and on every
    device. The samples then agree to the accuracy of the network's kernels (1e-4 in float32).

    Args:
        denoiser: the model; it is in evaluation mode during the call.
        n_or_shape: number of samples of shape `denoiser.shape`, or the whole shape [N, ...].
        sampler: an object such as `samplers.DDIM(eta=0.5)`, or a registered name. Default: UniPC (docs/samplers.md says
            why), or the sampler that a distilled model was made for.
        steps: number of steps, at most the length of a discrete chain. Default: 20 if no sampler is given, else 50, or
            the whole chain if it is shorter; a distilled model takes the steps that it was made for.
        seed: any integer.
        cond: conditions, each [N, ...], or a number for all N. Default for a model with K classes: sample i has class
            i mod K.
        callback: called after every step of every batch.
        spacing: the choice of levels: a Spacing, or a name: "uniform", "trailing", "ddim" or "quadratic" in time,
            "log-snr" or "karras" in noise. Default: that of the sampler.
        batch_size: samples per network call.
        first: number of the first sample: samples `first` to `first + n - 1` of the seed are drawn.
        until: log-SNR of a noisy level to stop at, from which something else continues (a truncated cascade).
        progress: show a progress bar with the time left.

    Returns:
        Samples, [N, ...], float32 (float64 for oracles), in the data's range but not clipped to it. The latents of a
        latent model are decoded.

    Raises:
        FromNoiseError: before any network call, if the sampler or spacing is unknown, `steps` is out of range, an
            argument is of the wrong kind, or the model lacks what the sampler needs; later, if a state is not finite,
            with the step at which it happened.
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
    """The sampler and the chain of levels that `sample` would use for the same arguments.

    Raises:
        FromNoiseError: an argument is refused as in `sample`.
    """
    found, length = _chosen(denoiser, sampler, spacing)
    chain = _levels(denoiser, found, length, steps, spacing)
    found.check(denoiser)
    return found, chain


def _chosen(denoiser: Denoiser, sampler: Sampler | str | None, spacing: str | Spacing | None) -> tuple[Sampler, int]:
    """The sampler and its default number of steps: those of a distilled model, or the general default."""
    own = denoiser.student
    if sampler is None and own is not None:
        return samplers.build(own.sampler), FEW if own.sampler == DEFAULT else own.calls
    found = samplers.build(sampler or DEFAULT) if sampler is None or isinstance(sampler, str) else sampler
    checks.instance("sampler", found, Sampler, "samplers.DDIM(), or one of samplers.names()")
    checks.objects(spacing=spacing)
    return found, 50 if sampler else FEW


def insist_on_match(denoiser: Denoiser, sampler: Sampler) -> None:
    """Check that the sampler and a distilled model fit each other.

    Raises:
        FromNoiseError: the sampler needs another kind of distilled model, or the model needs another sampler.
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
    """x at chain[0] -> x at the end of the chain, for one batch. `sample` calls it with pure noise.

    Args:
        denoiser: the model, in evaluation mode, under `torch.no_grad`.
        x: the states at chain[0], [B, ...].
        chain: levels of the denoiser's schedule.
        sampler: the sampler.
        noise: each call returns standard normal noise of the shape of x.
        cond: conditions, each [B, ...], on x's device.
        each: called after every step with its number, counted from 1, and the state.

    Raises:
        FromNoiseError: a state is not finite; the message names the step at which it happened.
    """
    state, finite = sampler.init(x), []
    for i, (t, s) in enumerate(chain.pairs()):
        x, state = sampler.step(denoiser, x, t, s, state, noise, cond)
        finite.append(torch.isfinite(x).all())
        each(i + 1, x)
    _insist(finite, chain)
    return x


def _insist(finite: list[Tensor], chain: Chain) -> None:
    """Check that every state was finite. Done once per batch: a check at every step would make a GPU wait."""
    good = torch.stack(finite)
    if bool(good.all()):
        return
    i = int(good.long().argmin())
    raise FromNoiseError(
        f"the state is not finite after step {i + 1} of {chain.steps}, from t = {chain[i].time.item():g}: the "
        "network's output there is not a number or too large; try precision fp32, or an earlier checkpoint"
    )
