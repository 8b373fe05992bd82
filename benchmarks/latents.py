"""Latents against pixels at 64x64: the same U-Net on images, and on latents of f = 4: `python benchmarks/latents.py`.

Speed of training and sampling, and peak memory; each in its own process.
"""

import resource
import subprocess
import sys
import time

import torch

import fromnoise as fn
from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.data.images import InMemory
from fromnoise.system.hardware import choose
from fromnoise.train import Conditioning, Diffusion

UNET = {"channels": 64, "mult": (1, 2, 2), "blocks": 2, "attention": (4,), "groups": 32}
KL = {"in_channels": 3, "channels": 32, "mult": (1, 2, 2), "blocks": 1, "latent": 4, "groups": 8}
BATCH, STEPS = 16, 20


def model(kind: str) -> fn.Denoiser:
    torch.manual_seed(0)
    channels, side, codec = (3, 64, None) if kind == "pixels" else (4, 16, Autoencoded(fn.nn.KLAutoencoder(**KL)))
    network = fn.nn.UNet(in_channels=channels, **UNET)
    return fn.Denoiser(network, "linear", "v", shape=(channels, side, side), codec=codec)


def measure(kind: str) -> None:
    """Print images per second in training and in sampling, and the peak memory in MB."""
    hardware, denoiser = choose("auto"), model(kind)
    images = InMemory("noise", torch.zeros(BATCH, 3, 64, 64, dtype=torch.uint8))
    task = Diffusion(denoiser, fn.objectives.Simple(), Conditioning(denoiser, images, 0.0, 0), 0)
    hardware.prepare(denoiser.network, inference=False)
    x0 = torch.randn(BATCH, *denoiser.shape)
    best = float("inf")
    for step in range(1, 5):
        start = time.perf_counter()
        with hardware.autocast():
            loss = task.losses(x0, task.draw(x0, torch.full((BATCH,), -1), range(BATCH), step, BATCH), hardware)
        loss.mean().backward()
        best = min(best, time.perf_counter() - start)
    hardware.prepare(denoiser.network, inference=True)
    start = time.perf_counter()
    fn.sample(denoiser, BATCH, "ddim", STEPS)
    sampling = time.perf_counter() - start
    print(BATCH / best, BATCH / sampling, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    found = {}
    for kind in ("pixels", "latents"):
        done = subprocess.run([sys.executable, __file__, kind], capture_output=True, text=True, check=True)
        found[kind] = [float(v) for v in done.stdout.split()]
    print(f"{'64x64 colour images':<24}{'training':>16}{f'DDIM, {STEPS} steps':>18}{'peak memory':>14}")
    for kind, (train, sample, memory) in found.items():
        print(f"{kind:<24}{train:>9.1f} images/s{sample:>9.2f} images/s{memory:>11.0f} MB")
    ratios = [a / b for a, b in zip(found["latents"], found["pixels"], strict=True)]
    print(f"{'latents over pixels':<24}{ratios[0]:>16.1f}{ratios[1]:>18.1f}{ratios[2]:>14.2f}")


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
