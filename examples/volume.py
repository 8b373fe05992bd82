"""Volumes: balls in a box of 8x8x8 voxels. About a minute on a CPU.

python examples/volume.py [--steps 300] [--out volume.png]
"""

import argparse

import torch

import fromnoise as fn

SIDE = 8


def balls(n: int, seed: int = 0) -> torch.Tensor:
    """Balls of random position and radius with a soft border: uint8 [n, 1, SIDE, SIDE, SIDE]."""
    generator = torch.Generator().manual_seed(seed)
    centre = SIDE * (0.35 + 0.3 * torch.rand(n, 3, 1, 1, 1, generator=generator))
    radius = SIDE * (0.25 + 0.1 * torch.rand(n, 1, 1, 1, generator=generator))
    place = torch.stack(torch.meshgrid(*[torch.arange(SIDE) + 0.5] * 3, indexing="ij"))
    distance = (place - centre).square().sum(1).sqrt()
    return (255 * (radius - distance + 0.5).clamp(0, 1)).to(torch.uint8)[:, None]


def likeness(x: torch.Tensor) -> torch.Tensor:
    """How much volumes [N, 1, ...] resemble balls: intersection over union [N] with a ball of equal size and centre."""
    solid = (x[:, 0] > 0).flatten(1).double()
    place = torch.stack(torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float64)] * 3, indexing="ij")).flatten(1)
    size = solid.sum(1, keepdim=True)
    centre = solid @ place.T / size.clamp_min(1)
    distance = (place - centre[:, :, None]).square().sum(1)
    ball = (distance.argsort(1).argsort(1) < size).double()  # the same number of voxels, nearest to the centre
    return (solid * ball).sum(1) / torch.maximum(solid, ball).sum(1).clamp_min(1)


def main(steps: int = 300, out: str | None = None) -> fn.Denoiser:
    """Train a denoiser, draw volumes with it, and return it."""
    torch.manual_seed(0)  # for the initial weights
    network = fn.nn.UNet(dims=3, in_channels=1, channels=16, mult=(1, 2), blocks=1, groups=4, attention=())
    denoiser = fn.Denoiser(network, fn.schedules.Cosine(T=1000), "v")
    fn.fit(denoiser, balls(2000), steps=steps, batch_size=16, lr=2e-3, ema=0.99, seed=0)
    x = fn.sample(denoiser, 16)
    print(f"likeness to balls {likeness(x).mean():.2f}, of the data {likeness(balls(200, 1) / 127.5 - 1).mean():.2f}")
    if out:
        from fromnoise.data.images import to_uint8
        from fromnoise.system.disk.pictures import grid

        grid(to_uint8(x[:8, :, SIDE // 2]), 8).save(out)  # a slice through the middle of each
    return denoiser


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", default="volume.png")
    main(**vars(parser.parse_args()))
