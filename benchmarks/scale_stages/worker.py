"""One process of a check (under torchrun if several): predicts a step, runs it, and prints both as JSON.

Operations and collectives are timed in this same group of processes, between the trainer's steps; nothing is fitted to
a step.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

import torch  # noqa: E402 (the paths come first)
import torch.distributed as dist  # noqa: E402

import fromnoise as fn  # noqa: E402
from fromnoise.data.images import InMemory  # noqa: E402
from fromnoise.system.hardware import choose, tune  # noqa: E402
from fromnoise.train import Trainer  # noqa: E402
from fromnoise.train.distributed import Processes  # noqa: E402
from scale_stages import calibrate, engine, workloads  # noqa: E402
from scale_stages.timeline import simulate  # noqa: E402
from scale_stages.tracing import GATHER, Trace, Tracer  # noqa: E402

WARM = 3
"""Warm-up steps."""


class Enough(Exception):
    """Raised to end a training from inside a callback."""


class Watched(InMemory):
    """Random images; every process calls `before` before it reads those of a step."""

    before: Callable[[], None] | None = None

    def batch(self, indices):
        if self.before is not None:
            self.before()
        return super().batch(indices)


def trainer(recipe: str, changes: dict, layout: engine.Layout, processes: Processes, shape: tuple[int, ...]):
    """(trainer of a recipe, its images)."""
    config = fn.recipes.load(recipe).with_changes(changes)
    classes = config.network.get("classes") or 1
    n = 4 * layout.batch
    pixels = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Watched("noise", pixels, torch.arange(n) % classes, [str(i) for i in range(classes)])
    train = config.train.model_copy(update={
        "steps": 10**9, "minutes": None, "batch_size": layout.batch * layout.devices, "accumulate": layout.accumulate,
        "gradient_checkpointing": layout.recompute, "optimizer": layout.optimizer, "shard": layout.shard,
        "checkpoint_every": 10**9, "sample_every": 0})  # fmt: skip
    task = config.task(images)
    return Trainer(task, images, train, 0, None, choose(layout.precision), processes), images


def memory(recipe: str, changes: dict, layout: engine.Layout, processes: Processes, shape: tuple[int, ...]) -> Trace:
    """Trace a step of the real trainer."""
    tracer, steps = Tracer(), []
    with tracer:
        made, images = trainer(recipe, changes, layout, processes, shape)
        tracer.watch(p.detach() for p in made.trained.weights.values() if not hasattr(p, "to_local"))

        def before():
            steps.append(0)
            if len(steps) == WARM + 1:
                tracer.start()
            elif len(steps) == WARM + 2:
                raise Enough

        images.before = before
        with suppress(Enough):
            made.run()
        return tracer.finish()


def rounds(count: int, predicted: Trace, recipe: str, changes: dict, layout: engine.Layout, processes: Processes,
           shape: tuple[int, ...]) -> list[dict]:  # fmt: skip
    """For each round, the wall and CPU seconds of a trainer's step, and both as predicted from timings made just before
    it."""
    made, images = trainer(recipe, changes, layout, processes, shape)
    host = calibrate.Host() if layout.parts > 1 else None
    units = len([e for e in predicted.collectives(GATHER) if e.phase == "forward"])
    found: list[dict] = []
    began: list[float] = []

    def before():
        now, given = time.perf_counter(), time.thread_time()
        if len(began) >= 2 + WARM:
            found.append({"measured": now - began[-1][0], "given": given - began[-1][1], **began[-1][2]})
        if len(found) == count:
            raise Enough
        more = _predicted(predicted, layout, host, units) if len(began) + 1 >= 2 + WARM else {}
        processes.wait()
        began.append((time.perf_counter(), time.thread_time(), more))

    images.before = before
    with suppress(Enough):
        made.run()
    return found


def _predicted(trace: Trace, layout: engine.Layout, host: calibrate.Host | None, units: int) -> dict:
    links = calibrate.collectives(trace) if layout.devices > 1 else None
    if layout.devices > 1:
        dist.barrier()
    clock, own = calibrate.operations(trace)
    python = units * host.seconds() if host is not None else 0.0
    line = simulate(trace, layout, clock, links, overlap=False)
    return {"predicted": line.step + python, "moving": line.moving,
            "computing": simulate(trace, layout, own, None).step + python}  # fmt: skip


def run(recipe: str, changes: dict, layout: engine.Layout, count: int) -> dict:
    """Predict and measure the peak bytes and collectives of a step, and its seconds in `count` rounds."""
    workload = workloads.load(recipe, changes)
    shape = workload.shape
    predicted = engine.traced(workload, layout, keys=count > 0)
    os.environ["LOCAL_WORLD_SIZE"] = str(layout.inside)
    tune("fp32")
    with Processes().started(torch.device("cpu")) as processes:
        measured = memory(recipe, changes, layout, processes, shape)
        timed = rounds(count, predicted, recipe, changes, layout, processes, shape) if count else []
    return {"predicted": _counts(predicted), "measured": _counts(measured), "rounds": timed}


def _counts(trace: Trace) -> dict:
    sent = [(e.kind, e.size) for e in trace.collectives() if e.name != "agreement"]
    return {"peak": trace.peak, "at_rest": trace.at_rest, "flops": trace.flops(), "collectives": sent}


def main() -> None:
    warnings.simplefilter("ignore")
    asked = json.loads(sys.argv[1])
    torch.set_num_threads(asked["threads"])
    found = run(asked["recipe"], asked["changes"], engine.Layout(**asked["layout"]), asked["rounds"])
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
