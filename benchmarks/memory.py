"""Peak memory against batch size, image size and number of images: `python benchmarks/memory.py`.

Each figure is from its own process, which trains five steps or samples one batch in five steps with the U-Net of the
recipe `digits` (`ddpm-cifar10` for gradient checkpointing). The memory before the first step is printed separately.
Images are read from a folder of PNG files on demand, or are held in memory.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def measure(what, n, side, batch, *more):
    done = subprocess.run([sys.executable, __file__, "--one", what, str(n), str(side), str(batch), *more],
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.split()[-1])


def one(what, n, side, batch, recipe="digits"):
    """Peak megabytes of this process."""
    import resource

    import torch

    import fromnoise as fn
    from fromnoise.data.images import InMemory
    from fromnoise.system.hardware import choose

    config = fn.recipes.load(recipe)
    hardware = choose()
    if what != "empty":
        channels = 3 if recipe == "ddpm-cifar10" else 1
        denoiser = config.build((channels, side, side))
    if what == "sample":
        hardware.prepare(denoiser.network, inference=True)
        fn.sample(denoiser, batch, "ddim", 5, batch_size=batch)
    if what in ("train", "folder", "again"):
        from fromnoise.train import Conditioning, Diffusion, Trainer

        with tempfile.TemporaryDirectory() as folder:
            if what == "folder":
                images = _folder(Path(folder) / "images", n, side)
            else:
                pixels = torch.randint(256, (n, *denoiser.shape), dtype=torch.uint8)
                images = InMemory("noise", pixels, torch.arange(n) % 10, [str(i) for i in range(10)])
            changed = {"steps": 5, "minutes": None, "batch_size": batch, "gradient_checkpointing": what == "again"}
            train = config.train.model_copy(update=changed)
            task = Diffusion(denoiser, fn.objectives.Simple(), Conditioning(denoiser, images, 0.0, 0), 0)
            Trainer(task, images, train, 0, Path(folder), hardware).run()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _folder(path, n, side):
    """Make n small PNG files in ten classes, as hard links to one file: only reading matters, not the content."""
    import os

    from PIL import Image

    import fromnoise as fn

    for k in range(10):
        (path / str(k)).mkdir(parents=True)
    first = path / "0" / "first.png"
    Image.fromarray(np.random.default_rng(0).integers(256, size=(side, side), dtype=np.uint8)).save(first)
    for i in range(n - 1):
        os.link(first, path / str(i % 10) / f"{i}.png")
    return fn.data.load(fn.data.DataConfig(name=str(path), size=side, channels=1, memory=0))


def main():
    empty = measure("empty", 0, 28, 1)
    print(f"everything imported: {empty:.0f} MB; below, megabytes more than that\n")
    print(f"{'':44}{'training':>10}{'sampling':>10}")
    for side, batch in ((28, 16), (28, 32), (28, 64), (28, 128), (56, 16), (56, 64)):
        found = [measure(what, 1000, side, batch) - empty for what in ("train", "sample")]
        print(f"digits, {side}x{side}, batch {batch:4}{'':19}{found[0]:>10.0f}{found[1]:>10.0f}", flush=True)
    for n in (1000, 10_000, 40_000):
        found = [measure(what, n, 28, 64) - empty for what in ("train", "folder")]
        print(f"{n:6} images of 28x28: in memory {found[0]:.0f}, streamed {found[1]:.0f}", flush=True)
    plain, again = (measure(what, 100, 32, 16, "ddpm-cifar10") - empty for what in ("train", "again"))
    print(f"ddpm-cifar10, batch 16: {plain:.0f}, with gradient checkpointing {again:.0f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], *map(int, sys.argv[3:6]), *sys.argv[6:])
    else:
        main()
