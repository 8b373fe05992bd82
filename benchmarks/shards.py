"""Memory and time against the number of images in .tar shards: `python benchmarks/shards.py [--stream] [N ...]`.

Small PNG files in ten folders, a thousand per shard, are written into a temporary folder (1 KB each on disk). For each
N, a separate process opens them with `data.memory=0` and trains a tiny network for a few steps with two loaders. It
reports the time to open, the size of the index, and the peak memory of the process and of a loader.

With --stream the images are streamed (`data.stream=true`). It reports the time to open without an index, a second time,
and with an index; images per second through two loaders with nothing else running; CPU time per image over all
processes; and the memory of a loader after a tenth of the images, and at the end. Then it reports the time to open, and
to find a step, for indices that list up to 100,000 shards, of which only one exists.
"""

import io
import json
import multiprocessing
import os
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
    """Write n images in shards; only a few hundred are distinct, since only reading matters, not the content."""
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
    """Measure in this process, and print the figures as JSON."""
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


def of_stream(folder):
    """Measure a stream in this process, and print the figures as JSON."""
    import fromnoise as fn
    from fromnoise.data import streamed  # imported before any timing starts
    from fromnoise.data.feed import Feed

    opened = []
    for indexed in (False, False, True):
        if indexed:
            fn.data.write_index(folder)
        started = time.perf_counter()
        stream = streamed.stream(folder, size=SIDE, channels=3)
        opened.append(time.perf_counter() - started)
    began, others = time.process_time(), sum(os.times()[2:4])
    batch, steps = 256, max(20, min(400, 4 * len(stream) // 256))
    feed = Feed(stream, 0, batch, range(batch), workers=WORKERS).from_step(1)
    for _ in range(steps // 10):
        next(feed)
    early, started = _of_loaders(), time.perf_counter()
    for _ in range(steps - steps // 10):
        next(feed)
    rate = batch * (steps - steps // 10) / (time.perf_counter() - started)
    late = _of_loaders()
    feed.close()
    used = time.process_time() - began + sum(os.times()[2:4]) - others  # by now the loaders have ended
    print(json.dumps({"open": opened, "rate": rate, "cpu": 1e6 * used / (batch * steps), "early": early, "late": late}))


def _of_loaders():
    """Private memory, in MB, that the larger of the loader processes holds now."""
    found = []
    for child in multiprocessing.active_children():
        rows = Path(f"/proc/{child.pid}/smaps_rollup").read_text().splitlines()
        found.append(sum(int(row.split()[1]) for row in rows if row.startswith("Private_")) / 1024)
    return max(found)


def listed(folder, shards):
    """Time opening an index of `shards` shards, and finding the examples of a late step."""
    import resource

    from fromnoise.data import streamed  # imported before any timing starts

    rows = [{"url": f"part-{k:05d}.tar", "nsamples": A_SHARD} for k in range(shards)]
    content = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": rows, "classes": ["0"]}
    (folder / "list.json").write_text(json.dumps(content))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    stream = streamed.stream(folder / "list.json", size=SIDE, channels=3, classes=0)
    opened = time.perf_counter() - started
    started = time.perf_counter()
    stream.order(0, 1024).numbers(10**6, range(1024))
    found = time.perf_counter() - started
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    print(json.dumps({"open": opened, "step": found, "more": more}))


def measure(n, how="--one"):
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as cache:
        folder = Path(place)
        write(folder, A_SHARD if how == "--list" else n)
        environment = os.environ | {"FROMNOISE_CACHE": cache}
        words = [sys.executable, __file__, how, place, str(n)]
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])


def main(words):
    if "--stream" in words:
        main_of_streams([int(word) for word in words if word != "--stream"] or [1_000, 100_000, 1_000_000])
        return
    print("| images | seconds to open | bytes of index for each | most MB, opened | training | of a loader |")
    print("|---|---|---|---|---|---|")
    for n in [int(word) for word in words] or [1_000, 200_000]:
        m = measure(n)
        cells = [f"{n:,}", f"{m['open']:.1f}", *(f"{m[name]:.0f}" for name in ("index", "after", "own", "loader"))]
        print(f"| {' | '.join(cells)} |", flush=True)


def main_of_streams(numbers):
    print(
        "| images | seconds to open | once more | with an index | images/s | CPU us each | MB a loader | in the end |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for n in numbers:
        m = measure(n, "--streamed")
        figures = (f"{m[name]:,.0f}" for name in ("rate", "cpu", "early", "late"))
        cells = [*(f"{seconds:.2f}" for seconds in m["open"]), *figures]
        print(f"| {n:,} | {' | '.join(cells)} |", flush=True)
    print("\n| shards in the index | seconds to open | ms to find a step | MB more |\n|---|---|---|---|")
    for shards in (10, 1_000, 100_000):
        m = measure(shards, "--list")
        print(f"| {shards:,} | {m['open']:.2f} | {1000 * m['step']:.0f} | {m['more']:.0f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--streamed"]:
        of_stream(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--list"]:
        listed(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(sys.argv[1:])
