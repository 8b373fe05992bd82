"""The step of `fromnoise train`: images per second, memory, overhead; in alternation with diffusers."""

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from gpu_stages import clock, formats, ours, theirs
from gpu_stages.context import Context


@dataclass(frozen=True)
class Case:
    """A recipe's training, and the peer to compare it with.

    Attributes:
        recipe: name of the recipe.
        batches: batch sizes to try; the first that fits is used.
        needs: rough number of seconds; with less time left, the case is left out.
        compiled: whether to compile as `--compile on` does.
        peer, ways: diffusers' network, and how it is run.
        together: whether both fit into memory at once, so that they can take turns.
        changes: changes of the recipe's `train`.
        said: description of the changes, for the row.
    """

    recipe: str
    batches: tuple[int, ...]
    needs: float
    compiled: bool = False
    peer: str = ""
    ways: tuple[str, ...] = ()
    together: bool = True
    changes: dict = field(default_factory=dict)
    said: str = ""

    @property
    def latents(self) -> bool:
        return self.recipe == "dit-xl-2"


UNET, DIT = "UNet2DModel", "DiTTransformer2DModel"
PARTS = {"accumulate": 4}
AGAIN = {"gradient_checkpointing": True}
CASES = (
    Case("ddpm-cifar10", (128,), 12, peer=UNET, ways=("default", "tuned")),
    Case("ddpm-cifar10", (128,), 60, compiled=True, peer=UNET, ways=("compiled",)),
    Case("dit-xl-2", (64, 32), 10, peer=DIT, ways=("default", "tuned"), together=False),
    Case("adm-imagenet-64", (256, 128, 64, 32), 10),
    Case("dit-xl-2", (256,), 12, changes=PARTS, said=", in 4 parts"),
    Case("dit-xl-2", (256, 128), 12, changes=AGAIN, said=", gradient checkpointing"),
    Case("dit-xl-2", (64, 32), 60, compiled=True, peer=DIT, ways=("compiled",), together=False),
    Case("adm-imagenet-64", (256, 128, 64, 32), 90, compiled=True),
)  # fmt: skip
"""In order of importance."""


def run(context: Context) -> None:
    for case in CASES[:-2] if context.tiny else CASES:  # in miniature only one network is compiled
        label = f"{case.recipe}, {'compiled' if case.compiled else 'eager'}{case.said}"
        needs = 0 if context.tiny else case.needs
        batches = (8 if case.changes else 4,) if context.tiny else case.batches
        if context.has_time(label, needs):
            with context.trying(label):
                fitting(context, batches, partial(_ours, context, case, label))
            clock.forget(context.device)
        if case.peer and not case.together and context.has_time(f"{label}, diffusers", needs):
            _apart(context, case, label, batches)


def fitting(context: Context, batches: Sequence[int], go: Callable[[int], None]) -> None:
    """Call go(batch) with the first batch size that fits into memory."""
    for batch in batches:
        try:
            go(batch)
            return
        except torch.OutOfMemoryError:
            if batch == batches[-1]:
                raise
            print(f"batch {batch} does not fit", flush=True)
        clock.forget(context.device)  # outside `except`, where the traceback still holds the tensors


def _ours(context: Context, case: Case, label: str, batch: int) -> None:
    device, numbers = context.device, formats.usual(context)
    config, size = ours.recipe(context, case.recipe), ours.shape(context, case.recipe)
    hardware = formats.hardware(numbers)
    denoiser = ours.built(context, config, size, device)
    flop = ours.gigaflop(denoiser, device, backward=True)
    clock.forget(device)
    images = ours.random_images(denoiser, 4 * batch, case.latents)
    with ours.trainer(config, denoiser, images, hardware, batch_size=batch, **case.changes) as made:
        if case.compiled:
            ours.compile(context, made.trained.network, inference=False)
        started = time.perf_counter()
        turns = Turns(context, (), rounds=2)
        ours.run(made, turns)
        first = turns.began - started
        say = partial(_say, context, f"{label}, batch {batch}", numbers)
        seconds = statistics.median(turns.own)
        say("images a second", batch / seconds, "images/s", of=formats.ceiling(context),
            rate=flop * batch / seconds / 1e3,
            note=f"its first two steps took {first:.0f} s" if case.compiled else "")  # fmt: skip
        if context.cuda:
            say("peak memory", clock.peak(device), "GB")
        parts = made.config.accumulate
        alone = parts * _network_alone(context, denoiser, hardware, batch // parts)
        say("outside the network", 100 * (1 - alone / seconds), "%", note=f"of {1e3 * seconds:.1f} ms a step")
        waits = _host_waits(context, made)
        if waits is not None:
            say("host waits", waits, "a step", note="times that Python waited for the device, as PyTorch warns of them")
        if case.together and case.peer:
            _in_turns(context, case, f"{label}, batch {batch}", made, (batch, *size))


def _in_turns(context: Context, case: Case, label: str, made, size: tuple) -> None:
    """Measure peers and fromnoise in alternation, so that other work on the machine affects both alike."""
    if not context.has_time(f"{label}: diffusers' {case.peer}", 0 if context.tiny else case.needs / 2):
        return
    others = _beside(context, case, label, size)
    if not others:
        return
    turns = Turns(context, [other.step for _, other in others], rounds=2 if context.tiny else 5)
    ours.run(made, turns)
    seconds = statistics.median(turns.own)
    for (way, _), found in zip(others, turns.others, strict=True):
        took = statistics.median(found)
        what = f"{label}: diffusers' {case.peer} {way.name}"
        context.row(f"{what}, images a second", size[0] / took, "images/s", numbers=way.numbers)
        context.row(f"{what}, ours against it", took / seconds, "times as fast", numbers=formats.usual(context),
                    note="in turns")  # fmt: skip


def _say(context: Context, label: str, numbers: str, what: str, value: float, unit: str, **more) -> None:
    context.row(f"{label}: {what}", value, unit, numbers=numbers, **more)


class Turns:
    """A trainer callback that ends the trainer's turn after about half a second, and runs the other contenders.

    The first two steps, which compile networks and choose kernels, do not count; nor do the next two, which decide how
    long a turn is.

    Args:
        context: the context of the stage.
        others: the steps of the other contenders.
        rounds: number of turns of each that count.
    """

    def __init__(self, context: Context, others: Sequence[Callable[[], None]], rounds: int):
        self.context, self.steps_of_others, self.rounds = context, others, rounds
        self.own: list[float] = []
        self.others: list[list[float]] = [[] for _ in others]
        self.done, self.until, self.each = 0, 2, 0
        self.started = self.began = 0.0

    def __call__(self, line: dict) -> None:
        self.done += 1
        if self.done < self.until:
            return
        clock.wait(self.context.device)
        self.began = self.began or time.perf_counter()
        if self.done > 2:
            seconds = (time.perf_counter() - self.started) / (self.each or 2)
            if self.each:
                self.own.append(seconds)
                self._others()
            self.each = self.each or (1 if self.context.tiny else max(2, min(50, round(0.5 / seconds))))
        late = self.own and self.context.left() < 0
        if len(self.own) == self.rounds or late:
            raise ours.Enough
        self.until = self.done + (self.each or 2)
        self.started = time.perf_counter()

    def _others(self) -> None:
        for step, found in zip(self.steps_of_others, self.others, strict=True):
            if len(self.own) == 1:
                clock.timed(step, self.context.device, 2)  # does not count
            found.append(clock.timed(step, self.context.device, self.each))


def _network_alone(context: Context, denoiser, hardware, batch: int) -> float:
    """Seconds of the network's forward and backward pass alone."""
    network, given = denoiser.network.train(), ours.inputs(denoiser, batch, context.device, one_level=False)

    def once() -> None:
        with hardware.autocast():
            out = ours.call(network, given)
        out.float().square().mean().backward()
        network.zero_grad(set_to_none=True)

    return clock.median(once, context.device, 0.05 if context.tiny else 1.0, turns=2 if context.tiny else 4)


def _host_waits(context: Context, made) -> float | None:
    """How often a step waits for the device, according to PyTorch's warnings; None on a CPU."""
    if not context.cuda:
        return None
    steps, seen = [], []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")

        def each(line: dict) -> None:
            steps.append(line["step"])
            if len(steps) == 1:
                warned.clear()
            elif len(steps) == 5:
                seen.extend(str(w.message) for w in warned)
                raise ours.Enough

        torch.cuda.set_sync_debug_mode("warn")
        try:
            ours.run(made, each)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in message for message in seen) / 4


def _beside(context: Context, case: Case, label: str, size: tuple) -> list[tuple]:
    """(way, Training) of the peers; without diffusers, an empty list and a row that says so."""
    found = []
    for way, make in theirs.trainings(context, case.peer, size, case.ways) if case.peer else ():
        try:
            found.append((way, make()))
        except ImportError as error:
            context.left_out(f"{label}: diffusers' {case.peer} {way.name}", str(error))
    return found


def _apart(context: Context, case: Case, label: str, batches: Sequence[int]) -> None:
    """Measure peers alone on the device, if both do not fit at once."""
    size = ours.shape(context, case.recipe)

    def measured(name: str, batch: int) -> None:
        ((way, make),) = theirs.trainings(context, case.peer, (batch, *size), (name,))
        what = f"{label}, batch {batch}: diffusers' {case.peer} {way.name}, images a second"
        try:
            other = make()
        except ImportError as error:
            context.left_out(what, str(error))
            return
        clock.timed(other.step, context.device, 2)
        seconds = clock.median(other.step, context.device, 0.05 if context.tiny else 2)
        context.row(what, batch / seconds, "images/s", numbers=way.numbers, note="after ours, since both do not fit")

    for name in case.ways:
        with context.trying(f"{label}, diffusers {name}"):
            fitting(context, batches, partial(measured, name))
        clock.forget(context.device)
