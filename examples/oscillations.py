"""Signals with two channels: the sine and cosine of a random frequency and phase. About a minute on a CPU.

python examples/oscillations.py [--steps 500] [--out oscillations.png]
"""

import argparse
import math

import torch

import fromnoise as fn

LENGTH, SLOW, FAST = 64, 2.0, 4.0


class Oscillations(torch.utils.data.Dataset):
    """A custom data set of signals [2, LENGTH] in [-1, 1]."""

    def __len__(self) -> int:
        return 4000

    def __getitem__(self, i: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(i)
        frequency = SLOW + (FAST - SLOW) * torch.rand((), generator=generator)
        angle = 2 * math.pi * (frequency * torch.arange(LENGTH) / LENGTH + torch.rand((), generator=generator))
        return torch.stack([angle.sin(), angle.cos()])


def frequencies(x: torch.Tensor) -> torch.Tensor:
    """Frequencies [N] of signals [N, 2, LENGTH]: turns of (cos, sin) along a signal, from the mean change of angle."""
    z = torch.complex(x[:, 1], x[:, 0])
    change = torch.angle((z[:, 1:] * z[:, :-1].conj()).sum(1))
    return change * LENGTH / (2 * math.pi)


def main(steps: int = 500, out: str | None = None) -> fn.Denoiser:
    """Train a denoiser, draw signals with it, and return it."""
    torch.manual_seed(0)  # for the initial weights
    network = fn.nn.UNet(dims=1, in_channels=2, channels=32, mult=(1, 2, 2), blocks=1, groups=8, attention=())
    denoiser = fn.Denoiser(network, fn.schedules.Cosine(T=1000), "v")
    fn.fit(denoiser, Oscillations(), steps=steps, batch_size=64, lr=2e-3, ema=0.99, seed=0)
    x = fn.sample(denoiser, 64)
    found = frequencies(x)
    print(f"frequencies drawn: {found.min():.2f} to {found.max():.2f}, trained on {SLOW:g} to {FAST:g}; "
          f"radius {x.square().sum(1).sqrt().mean():.2f}, which is 1 in the data")  # fmt: skip
    if out:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(2, 4, figsize=(9, 3), sharex=True, sharey=True, layout="constrained")
        for axis, signal in zip(axes.flat, x, strict=False):
            axis.plot(signal.T)
        figure.savefig(out, dpi=110)
    return denoiser


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--out", default="oscillations.png")
    main(**vars(parser.parse_args()))
