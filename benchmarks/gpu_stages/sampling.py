"""Sampling: network calls per second, whole samplers and their overhead, guidance; compared with diffusers."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

import fromnoise as fn
from fromnoise.system.hardware import compile_network
from gpu_stages import clock, formats, ours, theirs
from gpu_stages.context import Context

WALKS = {"ddim": 50, "unipc": 20}
NAME = "ddpm-cifar10"


def run(context: Context) -> None:
    """Run the measurements in order of importance."""
    sampling = Sampling(context)
    for batch in sampling.batches:
        with context.trying(f"{NAME}, batch {batch}, eager"):
            sampling.eager(batch)
    for batch in sampling.batches:
        with context.trying(f"{NAME}, batch {batch}, as a CUDA graph"):
            sampling.graph(batch)
    for what, go, needs in (
        ("diffusers' pipeline", partial(_beside_pipeline, sampling=sampling, compiled=False), 15),
        ("guidance", _guided, 10),
        ("diffusers' pipeline, both compiled", partial(_beside_pipeline, sampling=sampling, compiled=True), 35),
    ):
        clock.forget(context.device)
        if context.has_time(what, 0 if context.tiny else needs):
            with context.trying(what):
                go(context)
    for batch in sampling.compiled_batches:
        _compiled(context, sampling, batch)
    if not context.tiny and context.has_time(f"{NAME}, compiled without graphs", 25):
        with context.trying(f"{NAME}, compiled without graphs"):
            sampling.compiled_plainly()


def _compiled(context: Context, sampling: "Sampling", batch: int) -> None:
    what = f"{NAME}, batch {batch}, compiled into CUDA graphs"
    if context.has_time(what, 0 if context.tiny else 25):
        with context.trying(what):
            sampling.compiled(batch)


class Sampling:
    """The network of `ddpm-cifar10`, as `fromnoise sample` runs it."""

    def __init__(self, context: Context):
        self.context, self.device, self.numbers = context, context.device, formats.usual(context)
        self.batches = (1, 2) if context.tiny else (1, 64, 512)
        self.compiled_batches = (2,) if context.tiny else (64, 1, 512)
        self.steps = dict.fromkeys(WALKS, 3) if context.tiny else WALKS
        hardware = formats.hardware(self.numbers)
        config, size = ours.recipe(context, NAME), ours.shape(context, NAME)
        self.denoiser = ours.built(context, config, size, self.device).eval()
        hardware.prepare(ours.filled(self.denoiser.network, 0), inference=True)
        self.flop = ours.gigaflop(self.denoiser, self.device, backward=False)

    def eager(self, batch: int) -> None:
        took = self._call(batch)
        self._calls("eager", batch, took)
        self._walks("eager", batch, took)

    def compiled(self, batch: int) -> None:
        """Compile as `--compile on` does, and sample with the compiled network."""
        started = time.perf_counter()
        ours.compile(self.context, self.denoiser.network, inference=True)
        try:
            took = self._call(batch)
            self._calls("compiled into CUDA graphs" if self.context.cuda else "compiled", batch, took,
                        f"compiled and measured in {time.perf_counter() - started:.0f} s")  # fmt: skip
            self._walks("compiled", batch, took)
        finally:
            ours.uncompiled(self.denoiser.network)

    def compiled_plainly(self) -> None:
        """Compiled without CUDA graphs: Python launches every kernel."""
        batch = self.compiled_batches[0]
        self.denoiser.network.compile(dynamic=False, **({"backend": "eager"} if self.context.tiny else {}))
        try:
            self._calls("compiled without graphs", batch, self._call(batch))
        finally:
            ours.uncompiled(self.denoiser.network)

    def graph(self, batch: int) -> None:
        """A CUDA graph as with `--compile auto`: the network's own kernels, recorded once and launched together."""
        if not self.context.cuda:
            self.context.left_out(f"{NAME}, batch {batch}, as a CUDA graph", "a CPU has none")
            return
        compile_network(self.denoiser.network, "auto", inference=True)
        try:
            took = self._call(batch)
            self._calls("as a CUDA graph", batch, took)
            self._walks("as a CUDA graph", batch, took)
        finally:
            ours.uncompiled(self.denoiser.network)

    def walk(self, sampler: str, steps: int, batch: int) -> torch.Tensor:
        return fn.sample(self.denoiser, batch, sampler, steps, batch_size=batch).cpu()

    @torch.no_grad()
    def _call(self, batch: int) -> float:
        """Seconds of a network call."""
        given = ours.inputs(self.denoiser, batch, self.device, one_level=True)
        budget = 0.05 if self.context.tiny else 1.0
        return clock.median(lambda: ours.call(self.denoiser.network, given), self.device, budget)

    def _calls(self, how: str, batch: int, took: float, note: str = "") -> None:
        what, rate = f"{NAME}, batch {batch}, {how}: network calls a second", self.flop * batch / took / 1e3
        self.context.row(
            what, 1 / took, "calls/s", numbers=self.numbers, of=formats.ceiling(self.context), rate=rate, note=note
        )

    def _walks(self, how: str, batch: int, call: float) -> None:
        for name, steps in self.steps.items():
            what = f"{NAME}, batch {batch}, {how}: {name}, {steps} steps"
            if not self.context.has_time(what, 3 * steps * call):
                continue
            took = clock.median(partial(self.walk, name, steps, batch), self.device, 0.05, turns=3, warm=0)
            self.context.row(what, batch / took, "images/s", numbers=self.numbers, of=formats.ceiling(self.context),
                             rate=self.flop * batch * steps / took / 1e3, note=f"{took:.3f} s")  # fmt: skip
            share = 100 * (1 - call * fn.samplers.build(name).nfe(steps) / took)
            self.context.row(f"{what}, the sampler's share", share, "%", numbers=self.numbers)


def _guided(context: Context) -> None:
    """Classifier-free guidance, which calls the network with twice the batch."""
    name, batch, steps = "dit-xl-2", 2 if context.tiny else 16, 3 if context.tiny else 50
    numbers, size = formats.usual(context), ours.shape(context, "dit-xl-2")
    denoiser = ours.built(context, ours.recipe(context, name), size, context.device).eval()
    formats.hardware(numbers).prepare(ours.filled(denoiser.network, 0), inference=True)
    flop = ours.gigaflop(denoiser, context.device, backward=False)
    for scale in (1.0, 1.5):
        steered = fn.guidance.steer(denoiser, scale=scale, channels=3) if scale != 1 else denoiser
        took = clock.median(lambda: fn.sample(steered, batch, "ddim", steps, batch_size=batch).cpu(), context.device,
                            0.05, turns=2, warm=0)  # fmt: skip
        calls = 2 if scale != 1 else 1
        context.row(f"{name}, batch {batch}, guidance {scale:g}: ddim, {steps} steps", batch / took, "images/s",
                    numbers=numbers, of=formats.ceiling(context), rate=flop * calls * batch * steps / took / 1e3,
                    note=f"{took:.2f} s; without an autoencoder")  # fmt: skip


def _pipeline(context: Context, way: theirs.Way) -> Callable[[int, int], object]:
    """A function of (batch, steps) that draws with diffusers' DDIMPipeline and its own network of the same size.

    Raises:
        ImportError: if diffusers is not installed.
    """
    from diffusers import DDIMPipeline, DDIMScheduler

    network = theirs.unet(context).eval().to(context.device, torch.float16 if way.half else torch.float32)
    if way.tuned:
        network.to(memory_format=torch.channels_last)
    pipeline = DDIMPipeline(network, DDIMScheduler(num_train_timesteps=1000))
    pipeline.set_progress_bar_config(disable=True)
    if way.compiled:
        options = {"backend": "eager"} if context.tiny else {"mode": "reduce-overhead"}
        pipeline.unet.compile(dynamic=False, **options)

    def drawn(batch: int, steps: int) -> object:
        if way.half:
            return pipeline(batch_size=batch, num_inference_steps=steps, output_type="np")
        with theirs.untouched():
            return pipeline(batch_size=batch, num_inference_steps=steps, output_type="np")

    return drawn


def _beside_pipeline(context: Context, sampling: Sampling, compiled: bool) -> None:
    """Complete DDIM sampling in alternation; diffusers in fp16, since its pipeline cannot return bf16."""
    batch, steps = (2, 3) if context.tiny else (64, WALKS["ddim"])
    if compiled:
        ours.compile(context, sampling.denoiser.network, inference=True)
    else:
        compile_network(sampling.denoiser.network, "auto", inference=True)
    try:
        for way in theirs.ways(context).values():
            if way.compiled != compiled:
                continue
            what = f"{NAME}, batch {batch}: diffusers' DDIMPipeline {way.name}, {steps} steps"
            try:
                pipeline = _pipeline(context, way)
            except ImportError as error:
                context.left_out(what, str(error))
                continue
            own, other = [], []
            for turn in range(4):  # the first turn of each does not count
                mine = clock.timed(lambda: sampling.walk("ddim", steps, batch), context.device)
                took = clock.timed(lambda: pipeline(batch, steps), context.device)
                if turn:
                    own.append(mine)
                    other.append(took)
            mine, took = statistics.median(own), statistics.median(other)
            numbers = "fp16" if way.half else "fp32"
            context.row(what, batch / took, "images/s", numbers=numbers)
            context.row(f"{what}, ours against it", took / mine, "times as fast", numbers=sampling.numbers,
                        note="in turns" + (", both compiled" if compiled else ", ours as a CUDA graph"))  # fmt: skip
    finally:
        ours.uncompiled(sampling.denoiser.network)
