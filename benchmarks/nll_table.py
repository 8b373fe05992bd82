"""Likelihoods of one network trained six ways: L_simple, hybrid and L_vlb with importance sampling, linear and cosine.

A table like Sedykh fig 4.1, on real digits: the variational bound on test images, with the same network, images, steps
and optimiser. Then few-step ancestral samples of the hybrid, with the learned and both fixed variances.

    python benchmarks/nll_table.py --data-root DIR [--steps 300] [--n 96] [--out runs/nll]

DIR holds MNIST in torchvision's layout (downloaded if missing). Every run is an ordinary `fromnoise train` command,
which is printed and can be resumed. Takes about 40 minutes on one core.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fromnoise.compose import PCA
from fromnoise.metrics import distance

T = 200
SCHEDULES = {
    "linear": ["schedule=linear", f"schedule.T={T}", "schedule.beta_start=5e-4", "schedule.beta_end=0.1"],
    "cosine": ["schedule=cosine", f"schedule.T={T}"],
}
SAME = [
    *("parameterization=eps", "data.size=28"),
    *("train.sample_every=0", "train.checkpoint_every=100"),
]
OBJECTIVES = {
    "simple": ["objective=simple", "variance=fixed_large"],
    "hybrid": ["objective=hybrid", "variance=learned_range"],
    "vlb": ["objective=vlb", "variance=learned_range", "times=importance"],
}


def fromnoise(*words: str) -> None:
    command = [sys.executable, "-m", "fromnoise", *map(str, words)]
    print("$ fromnoise " + " ".join(map(str, words)), flush=True)
    subprocess.run(command, check=True)


def nll(run: Path, data: list, n: int, variance: str | None = None) -> dict:
    out = run / f"nll-{variance or 'own'}.json"
    if not out.exists():
        options = ["--variance", variance] if variance else []
        fromnoise(
            "nll", run, *data, "--split", "test", "--n", n, "--out", out, "--figure", out.with_suffix(".png"), *options
        )
    return json.loads(out.read_text())


def frechet(run: Path, steps: int, variance: str | None, codec: PCA, reference: tuple[Tensor, Tensor]) -> float:
    """Frechet distance of samples and test images, in the 64 leading principal components of the test images."""
    out = run / f"samples-{variance or 'own'}-{steps}.npz"
    if not out.exists():
        options = ["--set", f"variance={variance}"] if variance else []
        fromnoise("sample", run, "--n", 256, "--sampler", "ancestral", "--steps", steps, "--out", out, *options)
    return distance(*moments(np.load(out)["arr_0"], codec), *reference).item()


def moments(images: np.ndarray, codec: PCA) -> tuple[Tensor, Tensor]:
    z = codec.encode(flat(images))
    return z.mean(0), torch.cov(z.T)


def flat(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images.reshape(len(images), -1)).double() / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--n", type=int, default=96)
    parser.add_argument("--out", type=Path, default=Path("runs/nll"))
    asked = parser.parse_args()
    data = ["--data", "mnist", "--data-root", asked.data_root]
    rows = []
    for schedule, scheduled in SCHEDULES.items():
        for objective, chosen in OBJECTIVES.items():
            run = asked.out / f"{objective}-{schedule}"
            settings = [*scheduled, *chosen, *SAME]
            fromnoise("train", "digits", *data, "--out", run, "--steps", asked.steps, "--resume", "--set", *settings)
            found = nll(run, data, asked.n)
            rows.append((objective, schedule, "large" if objective == "simple" else "learned", found))
            if objective == "simple":
                rows.append((objective, schedule, "small", nll(run, data, asked.n, "fixed_small")))
    print("\n| objective | schedule | variance | bits/dim | +- | prior | steps | decoder |")
    print("|---|---|---|---|---|---|---|---|")
    for objective, schedule, variance, r in rows:
        print(f"| {objective} | {schedule} | {variance} | {r['bits_per_dim']:.3f} | {r['standard_error']:.3f} | "
              f"{r['prior']:.5f} | {sum(r['steps']):.3f} | {r['decoder']:.3f} |")  # fmt: skip
    from torchvision.datasets import MNIST

    test = np.asarray(MNIST(asked.data_root, train=False).data)
    codec = PCA(flat(test), 64)
    reference = moments(test, codec)
    print(f"\n| FD-PCA64, 256 samples | {' | '.join(f'{s} steps' for s in (10, 25, 50))} |\n|---|---|---|---|")
    for schedule in SCHEDULES:
        for variance in (None, "fixed_small", "fixed_large"):
            run = asked.out / f"hybrid-{schedule}"
            distances = [frechet(run, s, variance, codec, reference) for s in (10, 25, 50)]
            print(f"| {schedule}, {variance or 'learned'} | {' | '.join(f'{d:.2f}' for d in distances)} |")


if __name__ == "__main__":
    main()
