"""Thousands of steps with a checkpoint every ten steps: no resource may grow."""

import functools
import gc
import os
import random
import threading
from pathlib import Path

from faults import worker
from faults.workshop import Workshop

from attack_stages.stage import Stage, Trial

STEPS = (300, 10_800)
"""Steps of the two trials: the first is for --quick, the second takes two hours of the recipe digits on two cores."""


def growth(shop: Workshop, seed: int) -> Trial:
    """A trial compares memory, descriptors, threads and files after the warm-up and at the end."""

    def one(number: int, rng: random.Random) -> str | None:
        place = shop.copy()
        try:
            done = worker.trial(functools.partial(_steps, STEPS[number]), place, seconds=1500)
            return None if done.status == 0 else done.err.strip()[-300:] or f"exit status {done.status}"
        finally:
            shop.drop(place)

    return one


def _steps(steps: int) -> int:
    import torch

    import fromnoise as fn

    network = fn.nn.UNet(in_channels=1, channels=4, mult=(1,), blocks=1, groups=2, attention=(), mid_attention=False)
    denoiser = fn.Denoiser(network, "cosine", "v", shape=(1, 8, 8))
    found: list[dict[str, float]] = []

    def look(line: dict) -> None:
        if line["step"] in (steps // 3, steps):
            gc.collect()
            found.append(_held(Path("toy-growth")))

    x = torch.rand(16, 1, 8, 8) * 2 - 1
    fn.fit(denoiser, x, steps=steps, batch_size=2, out="toy-growth", checkpoint_every=10, keep=2, callbacks=[look])
    early, late = found
    grown = {k: late[k] - early[k] for k in early if late[k] - early[k] > (6 if k == "megabytes" else 0)}
    if grown:
        raise RuntimeError(f"grown between step {steps // 3} and {steps}: {grown}, of {early}")
    return 0


def _held(folder: Path) -> dict[str, float]:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"megabytes": resident / 2**20, "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(), "tasks": len(os.listdir("/proc/self/task")),
            "files": sum(1 for path in folder.rglob("*") if path.name.startswith(".") or path.is_dir())}  # fmt: skip


GROWTH = Stage("growth", len(STEPS), growth, quick=1)
