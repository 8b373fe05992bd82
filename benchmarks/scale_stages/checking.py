"""Predictions against measurements: DDP and FSDP2 in 1, 2 and 4 local processes, and earlier figures of an H200."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from fromnoise.errors import FromNoiseError
from scale_stages import engine, machines, tables, workloads
from scale_stages.engine import Layout
from scale_stages.timeline import simulate

WORKER = Path(__file__).with_name("worker.py")
ROUNDS = 5


@dataclass(frozen=True)
class Case:
    """A recipe with a layout that can run on this machine; rounds = 0 compares only bytes and collectives."""

    recipe: str
    layout: Layout
    rounds: int = ROUNDS
    changes: dict[str, Any] = field(default_factory=dict)


def _here(devices: int = 1, shard: str = "none", **more: Any) -> Layout:
    return Layout(devices=devices, per_node=2, shard=shard, device="cpu", **({"batch": 16, "precision": "fp32"} | more))


CASES = (
    *(Case(name, _here()) for name in ("digits-dit", "digits", "thesis-mnist", "digits-kl")),
    Case("ddpm-cifar10", _here(batch=4), 3),
    Case("digits-dit", _here(recompute=True)),
    Case("digits-dit", _here(accumulate=2)),
    Case("digits-dit", _here(optimizer="muon")),
    Case("digits-dit", _here(precision="bf16"), 0),
    Case("digits-vq", _here(recompute=True), 0),
    Case("ddpm-cifar10", _here(batch=4, recompute=True), 0),
    *(Case("digits-dit", _here(2, shard)) for shard in ("none", "full")),
    *(Case("digits", _here(2, shard)) for shard in ("none", "full")),
    Case("digits-kl", _here(2, "full"), 0),
    Case("digits-dit", _here(2, "none", accumulate=2), 0),
    Case("digits-dit", _here(2, "full", accumulate=2, recompute=True, precision="bf16"), 0),
    *(Case("digits-dit", _here(4, shard)) for shard in ("none", "full", "hybrid")),
)
QUICK = (Case("digits-dit", _here(), 1), Case("digits-dit", _here(2, "full"), 1))


def run(case: Case, threads: int = 1) -> dict:
    """Run a case, and return what its first process found.

    Raises:
        FromNoiseError: if a process failed.
    """
    asked = {"recipe": case.recipe, "changes": case.changes, "layout": asdict(case.layout), "rounds": case.rounds,
             "threads": threads}  # fmt: skip
    command = [sys.executable, "-W", "ignore", str(WORKER), json.dumps(asked)]
    if case.layout.devices > 1:
        command[3:3] = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={case.layout.devices}"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
    if done.returncode:
        raise FromNoiseError(f"{case.recipe} on {case.layout.devices} processes: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def cells(case: Case, found: dict) -> list[str]:
    """A table row of predictions and measurements."""
    p, m, layout = found["predicted"], found["measured"], case.layout
    how = [name for name, there in (("checkpointing", layout.recompute), (f"{layout.accumulate} parts",
           layout.accumulate > 1), (layout.optimizer, layout.optimizer != "adamw"), (layout.precision,
           layout.precision != "fp32")) if there]  # fmt: skip
    same = p["collectives"] == m["collectives"]
    sent = f"{len(m['collectives'])}" + ("" if same else " (others predicted)")
    row = [case.recipe, str(layout.devices), layout.shard, ", ".join(how) or "-", tables.gigabytes(m["peak"]),
           tables.ratio(p["peak"], m["peak"]), sent]  # fmt: skip
    rounds = found["rounds"]
    if not rounds:
        return [*row, *["-"] * 5]

    def middle(of: Callable[[dict], float]) -> float:
        return statistics.median(map(of, rounds))

    ratios = sorted(r["predicted"] / r["measured"] for r in rounds)
    return [*row, tables.seconds(middle(lambda r: r["measured"])), tables.seconds(middle(lambda r: r["predicted"])),
            f"**{statistics.median(ratios):.2f}** ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            f"{middle(lambda r: r['moving'] / r['predicted']):.0%}",
            f"**{middle(lambda r: r['computing'] / r['given']):.2f}**"]  # fmt: skip


HEAD = ["recipe", "processes", "shard", "with", "most bytes, measured", "predicted / measured", "collectives",
        "a step, measured", "predicted", "predicted / measured (all rounds)", "collectives' share",
        "processor time, predicted / measured"]  # fmt: skip


def here(cases: tuple[Case, ...] = CASES) -> Iterator[tuple[Case, list[str]]]:
    """Yield each case with its row."""
    for case in cases:
        yield case, cells(case, run(case))


def machine() -> str:
    name = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
                platform.processor() or "a CPU")  # fmt: skip
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


BEFORE = (
    ("`dit-xl-2`, batch 64, eager: images/s", "dit-xl-2", 64, 389.0, 45e-6, "", "what `UTILISATION` was taken from"),
    ("`ddpm-cifar10`, batch 128, eager: images/s", "ddpm-cifar10", 128, 1506.0, 45e-6, "", ""),
    ("`ddpm-cifar10`, batch 128, compiled: images/s", "ddpm-cifar10", 128, 2529.0, 0.0, "",
     "a convolution of 128 to 256 channels is far from a large product's rate"),
    ("`ddpm-cifar10`, batch 128: GB at most", "ddpm-cifar10", 128, 3.24, 0.0, "memory",
     "what libraries hold for themselves is not in the prediction"),
)  # fmt: skip
"""Figures of docs/performance.md on one H200, to compare with `Roofline` and with the predicted memory."""
FAST_DIT = 27_485e6
"""Bytes: chuanyangjin/fast-DiT, README: DiT-XL/2, batch 128, an A100, mixed precision, gradient checkpointing."""


def h200() -> str:
    """Earlier measurements on GPUs, with predictions that are not fitted to them."""
    device, rows = machines.device("h200"), []
    for what, recipe, batch, known, launch, kind, note in BEFORE:
        layout = Layout(batch=batch)
        trace = engine.traced(workloads.load(recipe), layout)
        if kind == "memory":
            rows.append([what, f"{known:g}", f"{trace.peak / 1e9:.3g}", tables.ratio(trace.peak / 1e9, known), note])
            continue
        for clock in (machines.Roofline(device, launch), machines.Utilised(device)):
            rate = batch / simulate(trace, layout, clock, None).step
            by = "operation by operation" if isinstance(clock, machines.Roofline) else "at the assumed utilisation"
            rows.append([f"{what}, {by}", f"{known:,.0f}", f"{rate:,.0f}", tables.ratio(rate, known), note])
    layout = Layout(batch=128, recompute=True)
    peak = engine.traced(workloads.load("dit-xl-2"), layout).peak
    rows.append(["DiT-XL/2, batch 128, checkpointing, of another implementation on an A100: GB at most",
                 f"{FAST_DIT / 1e9:.3g}", f"{peak / 1e9:.3g}", tables.ratio(peak, FAST_DIT),
                 "chuanyangjin/fast-DiT, README; its blocks keep more"])  # fmt: skip
    return tables.table(["what", "measured", "predicted", "ratio", "note"], rows)
