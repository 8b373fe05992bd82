"""Memory and time against the number of images in .tar shards: `python benchmarks/shards.py [N ...]`.

Small PNG files in ten folders, a thousand to a shard, are written into a temporary folder (1 KB each on the disk). For
each N a process of its own opens them with `data.memory=0` and trains a tiny network for some steps with two loaders;
what is shown of it is the time to open, what its index takes, and the most memory that it and a loader ever held.
"""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, A_SHARD, STEPS, WORKERS = 8, 1000, 8, 2


def write(folder, n):
    """n images in shards; a few hundred different ones, since what is read matters and not what it shows."""
    generator = np.random.default_rng(0)
    pictures = []
    for _ in range(256):
        file = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(file, "PNG")
        pictures.append(file.getvalue())
    for first in range(0, n, A_SHARD):
        with tarfile.open(folder / f"part-{first // A_SHARD:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for i in range(first, min(first + A_SHARD, n)):
                info = tarfile.TarInfo(f"{i % 10}/{i:08d}.png")
                info.size = len(pictures[i % 256])
                archive.addfile(info, io.BytesIO(pictures[i % 256]))


def one(folder):
    """What is measured, of this process."""
    import resource

    import torch

    import fromnoise as fn
    from fromnoise.data.config import DataConfig
    from fromnoise.data.loading import load

    class Tiny(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x, time):
            return self.body(x)

    started = time.perf_counter()
    images = load(DataConfig(name=str(folder), size=SIDE, channels=3, memory=0))
    opened = time.perf_counter() - started
    source = images.source
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    numbers = (source._rows, source.labels, images.labels, images.numbers)
    index = len(source._names) + sum(one.nbytes for one in numbers)
    denoiser = fn.Denoiser(Tiny(), fn.schedules.Cosine(T=100), "eps")
    fn.fit(denoiser, images, steps=STEPS, batch_size=64, workers=WORKERS, progress=False)
    own, loader = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"open": opened, "index": index / len(images), "after": after, "own": own, "loader": loader}))


def measure(n):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, n)
        done = subprocess.run([sys.executable, __file__, "--one", place], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])


def main():
    print("| images | seconds to open | bytes of index for each | most MB, opened | training | of a loader |")
    print("|---|---|---|---|---|---|")
    for n in [int(word) for word in sys.argv[1:]] or [1_000, 200_000]:
        m = measure(n)
        cells = [f"{n:,}", f"{m['open']:.1f}", *(f"{m[name]:.0f}" for name in ("index", "after", "own", "loader"))]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    one(Path(sys.argv[2])) if sys.argv[1:2] == ["--one"] else main()
