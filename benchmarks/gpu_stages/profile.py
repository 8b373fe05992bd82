"""Where the device's time goes in a training step and a network call, and what would save it."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from gpu_stages import clock, formats, ours, trace
from gpu_stages.context import Context

STEPS, TOP, MUCH = 3, 8, 0.10


def run(context: Context) -> None:
    _traced(context, lambda: torch.randn(2**10, device=context.device).add_(1))  # starts the profiler
    cases = (("ddpm-cifar10", False), ("ddpm-cifar10", True), ("dit-xl-2", False))
    for name, compiled in cases[:1] if context.tiny else cases:
        how = f"{name}, {'compiled' if compiled else 'eager'}"
        needs = 0 if context.tiny else 40 if compiled else 8
        if context.has_time(f"{how}, training step", needs):
            with context.trying(f"{how}, training step"):
                _training(context, name, how, compiled)
            clock.forget(context.device)
    with context.trying("ddpm-cifar10, network call"):
        _call(context, "ddpm-cifar10")


def _training(context: Context, name: str, how: str, compiled: bool) -> None:
    config, size = ours.recipe(context, name), ours.shape(context, name)
    batch = 4 if context.tiny else {"ddpm-cifar10": 128}.get(name, 32)
    denoiser = ours.built(context, config, size, context.device)
    images = ours.random_images(denoiser, 4 * batch, name == "dit-xl-2")
    hardware = formats.hardware(formats.usual(context))
    with ours.trainer(config, denoiser, images, hardware, batch_size=batch) as made:
        if compiled:
            ours.compile(context, made.trained.network, inference=False)

        def steps(n: int) -> None:
            done = []

            def each(line: dict) -> None:
                done.append(line)
                if len(done) == n:
                    raise ours.Enough

            ours.run(made, each)

        steps(4)
        _tell(context, f"{how}, training step, batch {batch}", lambda: steps(STEPS), STEPS)


@torch.no_grad()
def _call(context: Context, name: str) -> None:
    config, size, batch = ours.recipe(context, name), ours.shape(context, name), 2 if context.tiny else 64
    hardware = formats.hardware(formats.usual(context))
    denoiser = ours.built(context, config, size, context.device).eval()
    network = hardware.prepare(ours.filled(denoiser.network, 0), inference=True)
    given = ours.inputs(denoiser, batch, context.device, one_level=True)
    clock.timed(lambda: ours.call(network, given), context.device, 3)

    def calls() -> None:
        for _ in range(STEPS):
            ours.call(network, given)

    _tell(context, f"{name}, network call, batch {batch}", calls, STEPS)


def _tell(context: Context, what: str, work: Callable[[], None], times: int) -> None:
    """Write rows on kernels, gaps and copies from one trace of `times` steps."""
    numbers = formats.usual(context)
    events = _traced(context, work)
    whole, worked = trace.span(events), trace.busy(events)
    kinds = {kind: seconds / whole for kind, seconds, _ in trace.by(events, "kind")}
    if context.cuda:
        kinds["gaps"] = 1 - worked / whole
    for kind, share in sorted(kinds.items(), key=lambda item: -item[1]):
        if share < 0.005 and kind != "gaps":
            continue
        much = share > MUCH and kind not in trace.EXPECTED
        note = f"would be less by: {trace.REMEDIES[kind]}" if much and context.cuda else ""
        context.row(f"{what}: {kind}", 100 * share, "% of the time", numbers=numbers, note=note)
    for name, seconds, count in trace.by(events, "name")[:TOP]:
        context.row(f"{what}: kernel {_short(name)}", 100 * seconds / whole, "% of the time", numbers=numbers,
                    note=f"{count / times:.0f} a step, {1e6 * seconds / count:.1f} us each")  # fmt: skip
    context.row(f"{what}: kernels", len(events) / times, "a step", numbers=numbers,
                note=f"{1e3 * whole / times:.2f} ms a step while it is watched")  # fmt: skip
    if context.cuda:
        for direction in ("HtoD", "DtoH"):
            found = [e for e in events if direction.lower() in e.name.lower()]
            context.row(f"{what}: copies {direction}", len(found) / times, "a step", numbers=numbers,
                        note=f"{sum(e.size for e in found) / times / 1e3:.1f} kB a step")  # fmt: skip


def _traced(context: Context, work: Callable[[], None]) -> list[trace.Event]:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if context.cuda else [])]
    with profile(activities=activities) as found:
        work()
        clock.wait(context.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        found.export_chrome_trace(str(path))
        return trace.read(path, context.cuda)


def _short(name: str) -> str:
    """A kernel's name without its template arguments."""
    return name.removeprefix("void ").split("(")[0].replace("|", "/")[:90]
