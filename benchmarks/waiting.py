"""What waiting threads cost: `python benchmarks/waiting.py [--steps 12] [--n 192]`.

Samples of the recipe `digits` on all cores, alone and beside one busy process, with threads that wait by spinning and
by sleeping (OMP_WAIT_POLICY=passive, which the command line sets). The settings alternate, each in its own process;
figures are medians. Read the ratios.
"""

import argparse
import os
import statistics
import subprocess
import sys

SAMPLE = """
import sys, time, torch
import fromnoise as fn
n, steps = int(sys.argv[1]), int(sys.argv[2])
config = fn.recipes.load("digits")
denoiser = config.build((1, 28, 28)).eval()
fn.sample(denoiser, 64, "ddim", 2, batch_size=64)
start = time.perf_counter()
fn.sample(denoiser, n, "ddim", steps, batch_size=64)
print(n / (time.perf_counter() - start))
"""
WAYS = {"spinning": {"OMP_WAIT_POLICY": "active"}, "as OpenMP likes": {}, "sleeping": {"OMP_WAIT_POLICY": "passive"}}


def rate(way: str, n: int, steps: int) -> float:
    """Images per second of one process."""
    env = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    command = [sys.executable, "-c", SAMPLE, str(n), str(steps)]
    done = subprocess.run(command, env=env | WAYS[way], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--n", type=int, default=192, help="samples")
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    found = {(way, busy): [] for busy in (False, True) for way in WAYS}
    for _ in range(asked.turns):
        for busy in (False, True):
            other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
            for way in WAYS:
                found[way, busy].append(rate(way, asked.n, asked.steps))
            if other is not None:
                other.kill()
                other.wait()
    print(f"{os.cpu_count()} cores; images a second of `digits`, DDIM in {asked.steps} steps, batch 64\n")
    print(f"{'threads wait by':20}{'alone':>10}{'beside a busy process':>24}")
    for way in WAYS:
        alone, beside = (statistics.median(found[way, busy]) for busy in (False, True))
        print(f"{way:20}{alone:10.1f}{beside:24.1f}")


if __name__ == "__main__":
    main()
