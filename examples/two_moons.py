"""Points in the plane: learn two moons, measure the density of new points, and plot samples. About 30 seconds on a CPU.

python examples/two_moons.py [--steps 2000] [--out two_moons.png]
"""

import argparse
import math

import torch

import fromnoise as fn


def moons(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two half circles of radius 1 with a little noise, about the origin: points [n, 2], and each point's moon [n]."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.arange(n) % 2
    angle = math.pi * torch.rand(n, generator=generator)
    x = torch.where(which == 0, angle.cos(), 1 - angle.cos()) - 0.5
    y = torch.where(which == 0, angle.sin(), 0.5 - angle.sin()) - 0.25
    return torch.stack([x, y], 1) + 0.05 * torch.randn(n, 2, generator=generator), which


def main(steps: int = 2000, out: str | None = None) -> fn.Denoiser:
    """Train a denoiser, print the log-density of new points, and return it."""
    torch.manual_seed(0)  # for the initial weights
    network = fn.nn.MLP(in_channels=2, width=128, depth=3, classes=2, null_label=True)
    denoiser = fn.Denoiser(network, fn.schedules.Cosine(T=1000), "v", class_names=("upper", "lower"))
    fn.fit(denoiser, moons(4000), steps=steps, batch_size=256, lr=2e-3, lr_schedule="cosine", ema=0.995,
           condition_dropout=0.1, validation=0.1, seed=0)  # fmt: skip
    held_out, which = moons(200, seed=1)
    density = fn.likelihood.ode(denoiser, held_out, cond={"label": which}, divergence="exact")
    print(f"log-density of new points: {density.log_prob.mean():.2f} nats")
    if out:
        draw(denoiser, out)
    return denoiser


def draw(denoiser: fn.Denoiser, out: str) -> None:
    """Plot the data beside 500 samples of each moon."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharex=True, sharey=True, layout="constrained")
    for axis, title, (x, which) in (
        (axes[0], "data", moons(1000)),
        (axes[1], "samples", (fn.sample(denoiser, 1000), torch.arange(1000) % 2)),
    ):
        axis.scatter(*x.T, s=3, c=which, cmap="coolwarm")
        axis.set_title(title)
        axis.set_aspect("equal")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", default="two_moons.png")
    main(**vars(parser.parse_args()))
