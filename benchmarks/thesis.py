"""The thesis' model of MNIST: our training and sampling beside the plain way to write both.

"plain" is what a notebook does, with the same network: float32, torch's default layout and its GroupNorm,
Adam, torch.randn. Interleaved runs on the machine's own choice of precision for ours; read the ratios.
"""

import statistics
import time

import torch
import torch.nn.functional as F

import fromnoise as fn
from fromnoise import noise
from fromnoise.hardware import choose
from fromnoise.nn import _norm
from fromnoise.train.ema import EMA

BATCH = 64


def plain_group_norm(x, groups):
    return False


def thesis():
    return fn.recipes.load("thesis-mnist").build()


class Plain:
    """Adam and randn on the NCHW float32 network."""

    def __init__(self):
        self.denoiser = thesis()
        self.optimizer = torch.optim.Adam(self.denoiser.network.parameters(), lr=1e-4)
        self.bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)

    def train(self, x0):
        self.denoiser.train()
        t = torch.randint(1000, (len(x0),))
        eps = torch.randn_like(x0)
        bar = self.bar[t].view(-1, 1, 1, 1)
        loss = F.mse_loss(self.denoiser.network(bar.sqrt() * x0 + (1 - bar).sqrt() * eps, t.float()), eps)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    @torch.no_grad()
    def denoise(self, x):
        self.denoiser.eval()
        self.denoiser.network(x, torch.full((len(x),), 500.0))


class Ours:
    """What the trainer and the sampler do in a step, counted noise, clipping and averaging included."""

    def __init__(self):
        self.hardware = choose()
        self.denoiser, self.fast = thesis(), thesis()
        self.hardware.prepare(self.denoiser.network, inference=False)
        self.hardware.prepare(self.fast.network, inference=True)
        self.optimizer = torch.optim.AdamW(self.denoiser.network.parameters(), lr=1e-4, fused=True)
        self.ema = EMA(self.denoiser.network, 0.999)
        self.objective, self.sampler, self.n = fn.objectives.Simple(), fn.samplers.DDIM(), 0

    def train(self, x0):
        self.denoiser.train()
        self.n += 1
        places = range(len(x0))
        t = self.denoiser.schedule.draw(noise.uniform(0, places, self.n, noise.Stream.TRAIN_TIME))
        eps = noise.normal(0, places, self.n, tuple(x0.shape[1:]), noise.Stream.TRAIN_NOISE)
        with self.hardware.autocast():
            loss = self.objective(self.denoiser, x0, t, eps)["loss"].mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.denoiser.network.parameters(), 1.0)
        self.optimizer.step()
        self.ema.update(self.n)
        self.optimizer.zero_grad()

    @torch.no_grad()
    def denoise(self, x):
        self.fast.eval()
        level = self.fast.schedule.level
        self.sampler.step(self.fast, x, level(501), level(481), None, None, None)


def main():
    x0 = torch.rand(BATCH, 1, 32, 32) * 2 - 1
    plain, ours = Plain(), Ours()
    own_choice = _norm._streaming_is_faster
    print(f"{ours.hardware.why}; batch {BATCH}")
    for what in ("train", "denoise"):
        rates = {"plain": [], "ours": []}
        for turn in range(8):
            for name, side in (("plain", plain), ("ours", ours)):
                _norm._streaming_is_faster = plain_group_norm if name == "plain" else own_choice
                start = time.perf_counter()
                getattr(side, what)(x0)
                if turn > 1:
                    rates[name].append(BATCH / (time.perf_counter() - start))
        a, b = (statistics.median(rates[name]) for name in ("plain", "ours"))
        print(f"{what:8} plain {a:6.0f} images/s   ours {b:6.0f} images/s   ratio {b / a:.2f}")


if __name__ == "__main__":
    main()
