"""Describes one recipe with one layout in words."""

from typing import Any

from scale_stages import engine, machines, tables, workloads
from scale_stages.engine import Layout
from scale_stages.timeline import simulate


def show(recipe: str, changes: dict[str, Any], shape: tuple[int, ...] | None, device_name: str, batch: int | None,
         optimizer: str | None, **spread: Any) -> str:  # fmt: skip
    """Describe the parameters, FLOPs, memory and time of a step.

    Raises:
        FromNoiseError: if the arguments do not fit together.
    """
    workload, device = workloads.load(recipe, changes, shape), machines.device(device_name)
    train = workload.config.train
    layout = Layout(batch=batch or max(train.batch_size // spread["devices"], 1),
                    optimizer=optimizer or train.optimizer, **spread)  # fmt: skip
    parameters = workload.parameters
    trace = engine.traced(workload, layout)
    line = simulate(trace, layout, machines.Utilised(device), device.network)
    eager = simulate(trace, layout, machines.Roofline(device, device.launch), device.network)
    images = layout.batch * layout.devices
    passes = trace.flops(phase="forward") + trace.flops(phase="backward")
    owned = 4 * parameters / layout.parts
    kept = trace.after_forward - trace.at_rest
    rows = [
        ("parameters", f"{parameters:,}, {workload.name}, examples {list(workload.shape)}"),
        ("spread", f"{layout.devices:,} devices, {layout.shard}; weights in {layout.parts} "
         f"part{'s' * (layout.parts > 1)}; {layout.batch} examples on each"
         + (f" in {layout.accumulate} parts" if layout.accumulate > 1 else "") + f", {images:,} together"),
        ("GFLOP an example", f"{passes / layout.batch / 1e9:,.4g} forward and backward"),
        ("memory of a device", f"{tables.gigabytes(trace.peak)} at most, of {tables.gigabytes(device.memory)}"),
        ("  between steps", f"{tables.gigabytes(trace.at_rest)}: weights {tables.gigabytes(owned)}, the average, "
         "the optimiser's state" + (", buckets" if layout.parts == 1 and layout.devices > 1 else "")),
        ("  kept for the backward pass", f"{tables.gigabytes(kept)}, "
         f"{tables.gigabytes(kept / layout.batch * layout.accumulate)} an example"),
        ("  the rest at that moment", f"{tables.gigabytes(trace.peak - trace.after_forward)}: gradients, gathered "
         "blocks, what is computed again"),
        (f"a step on {device.name}", f"{tables.seconds(line.step)} at {machines.UTILISATION:.0%} of the data sheet, "
         f"of which {tables.seconds(line.exposed)} wait for others: {images / line.step:,.0f} examples/s"),
        ("  uncompiled", f"{tables.seconds(eager.step)} by operations, bytes and {device.launch * 1e6:.0f} us to start "
         f"each of {trace.operations():,}"),
        ("collectives", f"{len(trace.collectives())}, {tables.gigabytes(sum(e.size for e in trace.collectives()))}, "
         f"{tables.seconds(line.moving)} if nothing ran beside them"),
    ]  # fmt: skip
    if workload.left_out:
        rows.append(("left out", workload.left_out))
    return "\n".join(f"{name:<30}{said}" for name, said in rows)
