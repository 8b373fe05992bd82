"""What a long run costs: `python benchmarks/growth.py [lines] [files] [processes] [--lines 1000000]`.

lines: a log of a million lines compared with one of ten: the seconds to resume a run, of `fromnoise info`, of
`fromnoise show` and of the studio's curves, and the memory for opening the log.
files: a run with a thousand checkpoints and sample grids compared with one that has two.
processes: images per second of the recipe `digits`, with one process on all cores and with one process per core.

Everything is written into a temporary folder. Each command is a process with one thread. Times are CPU seconds, which
other work on the machine hardly affects, and the smallest of three runs.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TINY = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]", "network.patch=2",
        "network.mid_attention=false", "train.batch_size=8", "train.sample_every=1",
        "train.checkpoint_every=1"]  # fmt: skip
OPENING = """
import json, resource, sys, time
from pathlib import Path
from fromnoise.system.disk import storage
from fromnoise.train.log import MetricsLog
from fromnoise.weights.checkpoint import Checkpoints
run = Path(sys.argv[1])
newest = Checkpoints(run / "checkpoints").newest_whole(print)
mark, state = (storage.read_text(newest, name) for name in ("log", "state"))
if sys.argv[2] == "changed":
    mark["sha256"] = "another"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
MetricsLog(run / "metrics.jsonl", state["step"], mark, lambda text: None).close()
seconds = time.process_time() - start
print(json.dumps([seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""
CURVES = """
import json, sys, time
from pathlib import Path
from fromnoise.app.studio.curves import Curves
curves = Curves(Path(sys.argv[1]))
found = []
for look in (lambda: curves.after(0), lambda: curves.after(0), curves.newest):
    start = time.process_time()
    look()
    found.append(time.process_time() - start)
print(json.dumps(found))
"""
SAVING = """
import json, sys, time
from pathlib import Path
import torch
from fromnoise.app.studio.shelf import Shelf
from fromnoise.weights.checkpoint import Checkpoints
run = Path(sys.argv[1])
checkpoints = Checkpoints(run / "checkpoints", keep=10**6)
found = []
step = checkpoints.steps()[-1] + 1
tensors, texts = {"model": {"w": torch.zeros(1)}}, {"state": {"loss": 1.0}}
for look in (checkpoints.steps, lambda: checkpoints.save(step, tensors, texts),
             lambda: checkpoints.newest_whole(print), lambda: Shelf(run.parent).all()):
    start = time.process_time()
    look()
    found.append(time.process_time() - start)
print(json.dumps(found))
"""


def fromnoise(*words, threads=None, launch=()):
    env = dict(os.environ) | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    command = [sys.executable, *(launch or ("-m",)), "fromnoise", *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stderr


def seconds(*words, times=3, before=lambda: None):
    """The smallest CPU seconds of several runs."""
    found = []
    for _ in range(times):
        before()
        start = spent()
        fromnoise(*words, threads=1)
        found.append(spent() - start)
    return min(found)


def spent():
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(code, *words):
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def train(run):
    fromnoise("train", "digits", "--out", run, "--steps", 2, "--precision", "fp32", "--set", *TINY)


def grow(run, n):
    """Make a run look trained for n steps: its log has n lines, and its checkpoint is of step n. Returns MiB."""
    from fromnoise.system.disk import storage
    from fromnoise.train.log import MetricsLog
    from fromnoise.weights.checkpoint import Checkpoints

    rng, spent = random.Random(0), 0.0
    log = MetricsLog(run / "metrics.jsonl", 0)
    for step in range(1, n + 1):
        spent += (took := 0.1 + 0.01 * rng.random())
        line = {"step": step, "images": 8 * step, "loss": 0.05 + 0.02 * rng.random(), "grad_norm": rng.random()}
        line |= {"lr": 2e-4, "images_per_second": 8 / took, "seconds": spent}
        line |= {f"loss_{name}": rng.random() for name in ("clean", "clear", "noisy", "noise")}
        line |= {"validation_loss": rng.random()} if step % 5000 == 0 else {}
        log.write(line)
    mark = log.mark()
    log.close()
    checkpoints = Checkpoints(run / "checkpoints", keep=1)
    found = checkpoints.newest_whole(print)
    stems = {Path(name) for name in storage.manifest(found)}
    tensors = {one.stem: storage.read_tensors(found, one.stem) for one in stems if one.suffix == ".safetensors"}
    texts = {one.stem: storage.read_text(found, one.stem) for one in stems if one.suffix == ".json"}
    texts |= {"log": mark, "state": texts["state"] | {"step": n, "images": 8 * n, "seconds": spent}}
    shutil.rmtree(run / "checkpoints")
    checkpoints.save(n, tensors, texts)
    return mark["bytes"] / 2**20


def lines(folder, n):
    rows = {}
    for count in (10, n):
        run = folder / f"lines-{count}"
        train(run)
        size = grow(run, count)
        kept = folder / "kept"
        shutil.copytree(run, kept)

        def again(run=run, kept=kept):
            shutil.rmtree(run)
            shutil.copytree(kept, run)

        opening = min(told(OPENING, run, "whole") for _ in range(3))
        resume = seconds("train", "digits", "--out", run, "--resume", "--steps", count + 1, before=again)
        again()
        info, show = seconds("info", run), seconds("show", run, "--n", 4)
        curves = min(told(CURVES, run) for _ in range(3))
        changed = told(OPENING, run, "changed")
        rows[count] = [size, *opening, resume, info, show, *curves, *changed]
        shutil.rmtree(run)
        shutil.rmtree(kept)
    names = ["size of metrics.jsonl, MiB", "opening the log to go on, s", "memory of that, MiB",
             "`fromnoise train --resume` of one more step, s", "`fromnoise info`, s", "`fromnoise show --n 4`, s",
             "the studio's curves, first look, s", "the same, next look, s", "its newest line, s",
             "opening a log that was changed, s", "memory of that, MiB"]  # fmt: skip
    table(["lines of the log", *(f"{count:,}" for count in rows)], names, rows.values())


def files(folder, n):
    rows = {}
    for count in (2, n):
        run = folder / f"files-{count}"
        train(run)
        first, picture = run / "checkpoints" / "step-00000001", run / "samples" / "step-00000001.png"
        for step in range(3, count + 1):
            shutil.copytree(first, run / "checkpoints" / f"step-{step:08d}", copy_function=os.link)
            os.link(picture, run / "samples" / f"step-{step:08d}.png")
        rows[count] = [seconds("info", run), seconds("sample", run, "--n", 1, "--steps", 2, "--out", folder / "x.png"),
                       *min(told(SAVING, run) for _ in range(3))]  # fmt: skip
        shutil.rmtree(run)
    names = ["`fromnoise info`, s", "`fromnoise sample --n 1 --steps 2`, s", "listing the checkpoints, s",
             "saving one, with `train.keep` above their number, s", "finding the newest whole one, s",
             "the studio's list of runs, s"]  # fmt: skip
    table(["checkpoints and pictures", *(f"{count:,}" for count in rows)], names, rows.values())


def processes(folder, steps):
    cores = os.cpu_count()
    ways = {f"1 process, {cores} threads": (1, cores), "1 process, 1 thread": (1, 1),
            f"{cores} processes, 1 thread each": (cores, 1)}  # fmt: skip
    rows = {name: [] for name in ways}
    for turn in range(3):
        for name, (count, threads) in ways.items():
            run = folder / f"processes-{turn}-{count}-{threads}"
            launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m", "--")
            words = [
                "train",
                "digits",
                "--out",
                run,
                "--steps",
                steps,
                "--precision",
                "fp32",
                "--set",
                "train.sample_every=0",
            ]
            fromnoise(*words, threads=threads, launch=launch if count > 1 else ())
            rates = [json.loads(line)["images_per_second"] for line in (run / "metrics.jsonl").open()]
            rows[name].append(sorted(rates[5:])[len(rates[5:]) // 2])
            shutil.rmtree(run)
    best = {name: max(found) for name, found in rows.items()}
    alone = next(iter(best.values()))
    table(["digits, batch 64, fp32", "images/s", "of one process with all cores"], list(best),
          list(zip(*[(value, value / alone) for value in best.values()], strict=True)))  # fmt: skip


def table(head, names, columns):
    print(f"| {' | '.join(head)} |\n|---|" + "--:|" * (len(head) - 1))
    for name, *values in zip(names, *columns, strict=True):
        print(f"| {name} | {' | '.join(f'{value:.3g}' for value in values)} |", flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="*", choices=["lines", "files", "processes", []], default=[])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=40)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for what, measure, size in (("lines", lines, asked.lines), ("files", files, asked.files),
                                    ("processes", processes, asked.steps)):  # fmt: skip
            if not asked.what or what in asked.what:
                measure(Path(name), size)


if __name__ == "__main__":
    main()
