"""The plan for 10^9 images: memory, time, cost, checkpoints, failures and data, on 1 to 1,024 GPUs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from scale_stages import engine, failures, machines, published, tables, workloads
from scale_stages.engine import Layout
from scale_stages.machines import UTILISATION, Device, Utilised
from scale_stages.timeline import Timeline, simulate
from scale_stages.tracing import Trace

IMAGES = 1e9
SIZES = (1, 8, 64, 1024)
LARGE = {"network.size": None, "network.depth": 48, "network.width": 3072, "network.heads": 24}
MODELS: dict[str, dict[str, Any]] = {"dit-xl-2": {}, "dit-8b": LARGE}
"""Both models take latents [4, 32, 32] of 256 px images; the second has 48 DiT blocks of width 3,072."""
BATCH = {"dit-xl-2": 32, "dit-8b": 16}
"""Batch size per device."""

GLOBAL, FIXED = 4096, (64, 256, 1024)
"""A realistic global batch size, and the numbers of devices that share it."""

OF_DEVICE = 54 * 86400 * 16384 / 419
"""Seconds between unexpected interruptions of a GPU: 419 in 54 days on 16,384 H100s (Llama 3, arXiv 2407.21783,
section 3.3.4), 5.8 years."""
RESTART = 600.0
"""Seconds from a failure to the first step after it; assumed."""
A_NODE, AT_MOST = 2e9, 100e9
"""Bytes per second that a machine writes to storage, and that storage accepts in total; assumed. (Llama 3: 2,000e9.)"""
OF_PARAMETER = 16
"""Bytes per parameter in a checkpoint: the parameter, its average and AdamW's two moments, all float32."""
TO_HOST = 25e9
"""Bytes per second from a GPU to its host's memory. A step waits only for this copy if checkpoints are written
asynchronously. Assumed: half of PCIe 5."""
JPEG = 100e3
"""Bytes of a 256 px image as JPEG; assumed."""


@dataclass
class Traces:
    """A cache of traces, so that equivalent layouts are traced only once."""

    load: Callable[[str], workloads.Workload]
    found: dict[tuple, Trace]

    def of(self, model: str, layout: Layout) -> Trace:
        alike = layout
        if layout.parts == 1 and layout.devices > 1:
            alike = replace(layout, devices=layout.per_node)
        if layout.shard == "hybrid" and layout.nodes > 1:
            alike = replace(layout, devices=2 * layout.per_node)
        if (model, alike) not in self.found:
            self.found[model, alike] = engine.traced(self.load(model), alike)
        return self.found[model, alike]


def plain() -> Traces:
    return Traces(lambda model: workloads.load("dit-xl-2", MODELS[model]), {})


def layouts(model: str, devices: Iterable[int] | None = None) -> list[Layout]:
    """The layouts of a table: none, full and hybrid, without those that equal an earlier one."""
    found = []
    for n in devices or SIZES:
        for shard in ("none", "full", "hybrid"):
            if (n == 1 and shard != "none") or (n <= 8 and shard == "hybrid"):
                continue
            found.append(Layout(devices=n, shard=shard, batch=BATCH[model]))
    return found


def memory_table(traces: Traces, device: Device) -> str:
    """A table of the peak memory on each device."""
    rows = []
    for model in MODELS:
        for layout in layouts(model):
            cells = [model, f"{layout.devices:,}", layout.shard, str(layout.batch)]
            for again in (False, True):
                trace = traces.of(model, replace(layout, recompute=again))
                fits = "" if trace.peak <= 0.94 * device.memory else " (does not fit)"
                cells += [tables.gigabytes(trace.at_rest), tables.gigabytes(trace.peak) + fits]
            del cells[6]
            rows.append(cells)
    return tables.table(["network", "GPUs", "shard", "batch on each", "held between steps", "at most",
                         "at most, with gradient checkpointing"], rows)  # fmt: skip


def step(traces: Traces, model: str, layout: Layout, device: Device) -> Timeline:
    return simulate(traces.of(model, layout), layout, Utilised(device), device.network)


def chosen(traces: Traces, model: str, devices: int, device: Device) -> tuple[Layout, Timeline] | None:
    """The fastest layout that fits into memory, with or without gradient checkpointing; None if none fits."""
    found = []
    for layout in layouts(model, [devices]):
        for again in (False, True):
            one = replace(layout, recompute=again)
            if traces.of(model, one).peak <= 0.94 * device.memory:
                found.append((step(traces, model, one, device).step, len(found), one))
    if not found:
        return None
    layout = min(found)[2]
    return layout, step(traces, model, layout, device)


def time_table(traces: Traces, device: Device) -> str:
    """A table of all layouts: the time of a step, and the part that collectives cost."""
    rows = []
    for model in MODELS:
        for layout in layouts(model):
            fits = traces.of(model, layout).peak <= 0.94 * device.memory
            one = layout if fits else replace(layout, recompute=True)
            if traces.of(model, one).peak > 0.94 * device.memory:
                rows.append([model, f"{layout.devices:,}", layout.shard, "does not fit", *["-"] * 5])
                continue
            line = step(traces, model, one, device)
            batch = one.batch * one.devices
            rows.append([model, f"{one.devices:,}", one.shard, "yes" if one.recompute else "no", f"{batch:,}",
                         tables.seconds(line.step), tables.seconds(line.moving), f"{line.exposed / line.step:.0%}",
                         f"{batch / line.step:,.0f}"])  # fmt: skip
    return tables.table(["network", "GPUs", "shard", "checkpointing", "global batch", "step", "collectives",
                         "of the step not computing", "images/s"], rows)  # fmt: skip


def plan_table(traces: Traces, device: Device) -> str:
    """A table of the fastest layouts that fit: days and dollars, including failures."""
    rows = []
    for model in MODELS:
        parameters = traces.load(model).parameters
        for devices in SIZES:
            found = chosen(traces, model, devices, device)
            if found is None:
                rows.append([model, f"{devices:,}", "nothing fits", *["-"] * 8])
                continue
            layout, line = found
            rate = layout.batch * devices / line.step
            writing = write_seconds(parameters * OF_PARAMETER, layout)
            apart = failures.mean_time(devices, OF_DEVICE)
            interval = failures.best(writing, apart)
            wasted = failures.wasted(interval, writing, apart, RESTART)
            whole = IMAGES / rate / (1 - wasted)
            rows.append([model, f"{devices:,}", layout.shard + (", checkpointing" if layout.recompute else ""),
                         f"{layout.batch * devices:,}", tables.seconds(line.step), f"{rate:,.0f}",
                         tables.seconds(whole), tables.seconds(5 * whole), f"{whole * devices / 86400:,.0f}",
                         f"{whole * devices / 3600 * device.price:,.0f}", f"{wasted:.2%}"])  # fmt: skip
    return tables.table(["network", "GPUs", "shard", "global batch", "step", "images/s", "a pass", "five",
                         "GPU days a pass", "dollars a pass", "lost to failures and saving"], rows)  # fmt: skip


def fixed_table(traces: Traces, device: Device) -> str:
    """A table of one global batch on more and more devices: their computation shrinks, their communication does not."""
    rows = []
    for devices in FIXED:
        one = Layout(devices=devices, batch=GLOBAL // devices)
        for shard in ("none", "full", "hybrid"):
            layout = replace(one, shard=shard)
            line = step(traces, next(iter(MODELS)), layout, device)
            rows.append([f"{devices:,}", shard, str(layout.batch), tables.seconds(line.step),
                         f"{line.exposed / line.step:.0%}", f"{GLOBAL / line.step:,.0f}"])  # fmt: skip
    return tables.table(["GPUs", "shard", "batch on each", "step", "of the step not computing", "images/s"], rows)


def write_seconds(size: float, layout: Layout) -> float:
    """Seconds to write a checkpoint while the run waits, by one machine or by all machines."""
    nodes = layout.nodes if layout.shard == "full" and layout.parts > 1 else 1
    return size / min(A_NODE * nodes, AT_MOST)


def failure_table(traces: Traces, device: Device) -> str:
    """A table of checkpoints, and of the work lost for several intervals."""
    rows = []
    for model in MODELS:
        size = traces.load(model).parameters * OF_PARAMETER
        for devices in SIZES:
            found = chosen(traces, model, devices, device)
            if found is None:
                continue
            layout = found[0]
            written = write_seconds(size, layout)
            paused = size / layout.parts / TO_HOST
            apart = failures.mean_time(devices, OF_DEVICE)
            best = failures.best(written, apart)
            lost = [tables.seconds(failures.lost_a_day(t, written, apart)) for t in (600.0, 3600.0, 6 * 3600.0, best)]
            rows.append([model, f"{devices:,}", layout.shard, tables.gigabytes(size), tables.seconds(written),
                         tables.seconds(paused), f"{86400 / apart:.3g}", *lost[:3], tables.seconds(best), lost[3],
                         f"{failures.wasted(best, written, apart, RESTART):.2%}",
                         f"{failures.wasted(failures.best(paused, apart), paused, apart, RESTART):.2%}"])  # fmt: skip
    return tables.table(["network", "GPUs", "shard", "checkpoint", "to write", "pause, asynchronous", "failures a day",
                         "work lost a day, saving every 10 min", "every h", "every 6 h", "best interval", "lost a day",
                         "of all time", "the same, asynchronous"], rows)  # fmt: skip


def data_table(traces: Traces, device: Device) -> str:
    """A table of the data that is read, and of the cost of preparing it."""
    shape = traces.load("dit-xl-2").shape
    encoding = published.encoder_flops()
    days = IMAGES * encoding / (device.peak * UTILISATION) / 86400
    rows = [
        ["images of 256 px as JPEG", f"{tables.gigabytes(JPEG)} (assumed)", tables.gigabytes(JPEG * IMAGES)],
        ["latents, float32, as `data.latents` writes them", tables.gigabytes(4 * prod(shape)),
         tables.gigabytes(4 * prod(shape) * IMAGES)],
        ["the same in 16 bits", tables.gigabytes(2 * prod(shape)), tables.gigabytes(2 * prod(shape) * IMAGES)],
    ]  # fmt: skip
    first = tables.table(["kept", "an image", "all"], rows)
    more = []
    for model in MODELS:
        for devices in SIZES:
            found = chosen(traces, model, devices, device)
            if found is not None:
                rate = found[0].batch * devices / found[1].step
                more.append([model, f"{devices:,}", f"{rate:,.0f}", tables.gigabytes(rate * 4 * prod(shape)) + "/s",
                             tables.gigabytes(rate * JPEG) + "/s"])  # fmt: skip
    second = tables.table(["network", "GPUs", "images/s", "read as float32 latents", "read as JPEG"], more)
    said = (f"To encode all images once: {encoding / 1e9:.0f} GFLOP each, {days:,.0f} GPU days at that utilisation, "
            f"{tables.count(24 * days * device.price)} dollars.")  # fmt: skip
    return f"{first}\n\n{said}\n\n{second}"


def plan(device_name: str = "h100", traces: Traces | None = None) -> str:
    """The whole plan, as Markdown."""
    device, traces = machines.device(device_name), traces or plain()
    sizes = ", ".join(f"`{m}` {tables.count(traces.load(m).parameters)}" for m in MODELS)
    said = (f"{device.name.upper()}, {device.memory / 1e9:.0f} GB, ${device.price:.2f} an hour; "
            f"{device.peak * UTILISATION / 1e12:.0f} TFLOP/s ({UTILISATION:.0%} of the data sheet) in forward and "
            f"backward passes; bf16, AdamW, averaged weights; parameters: {sizes}.")  # fmt: skip
    parts = [said, "**The plan: the fastest layout that fits.** A pass is 10^9 images.", plan_table(traces, device),
             "**Memory of a device.**", memory_table(traces, device), "**Time of a step.**",
             time_table(traces, device), f"**A global batch of {GLOBAL:,}**, of the first network.",
             fixed_table(traces, device), "**Checkpoints and failures**, of the layouts of the plan.",
             failure_table(traces, device), "**Data.**", data_table(traces, device)]  # fmt: skip
    return "\n\n".join(parts)
