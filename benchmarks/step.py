"""Where a training step and a sampling step spend their time: `python benchmarks/step.py [RECIPE ...]`.

Times the parts of the trainer's own steps. Everything except the network's forward and backward pass is overhead, which
should be below 3 %. For a sampler's steps it should be below 2 %.
"""

import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch

import fromnoise as fn
from fromnoise.data.images import InMemory
from fromnoise.system.hardware import choose
from fromnoise.train import Conditioning, Diffusion, Trainer

STEPS, WARM = 12, 4


class Clocks:
    """Seconds of every step and of its parts; a step lasts from one `lap` to the next."""

    def __init__(self):
        self.seconds, self.laps, self.last = defaultdict(float), [], time.perf_counter()

    def around(self, owner, name, part):
        inner = getattr(owner, name)

        def timed(*args, **options):
            start = time.perf_counter()
            try:
                return inner(*args, **options)
            finally:
                self.seconds[part] += time.perf_counter() - start

        setattr(owner, name, timed)

    def lap(self, _):
        self.laps.append({"step": time.perf_counter() - self.last, **self.seconds})
        self.seconds, self.last = defaultdict(float), time.perf_counter()


def training(name, clocks):
    """Time training steps; returns {part: seconds} for each."""
    config = fn.recipes.load(name)
    denoiser, train = config.build(), config.train.model_copy(update={"steps": STEPS, "minutes": None})
    classes = [str(i) for i in range(denoiser.classes)]
    n = 4 * train.batch_size
    images = InMemory("noise", torch.randint(256, (n, *denoiser.shape), dtype=torch.uint8),
                      torch.arange(n) % max(denoiser.classes, 1), classes)  # fmt: skip
    labels = Conditioning(denoiser, images, train.label_dropout, 0)
    task = Diffusion(denoiser, fn.objectives.build(config.objective), labels, 0, fn.times.build(config.times))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(task, images, train, 0, Path(folder), choose())
        clocks.around(denoiser.network, "forward", "network forward")
        clocks.around(torch.Tensor, "backward", "network backward")
        clocks.around(task, "draw", "noise, times, labels")
        clocks.around(trainer.trained.optimizer, "step", "optimiser")
        clocks.around(trainer.trained.ema, "update", "averaging")
        clocks.around(torch.nn.utils, "get_total_norm", "norm of the gradient")
        clocks.around(torch.nn.utils, "clip_grads_with_norm_", "clipping")
        clocks.around(images, "batch", "images")
        trainer.callbacks = [clocks.lap]
        trainer.run()
    return clocks.laps[WARM:]


def sampling(name, clocks):
    config = fn.recipes.load(name)
    denoiser = config.build()
    choose().prepare(denoiser.network, inference=True)
    clocks.around(denoiser.network, "forward", "network forward")
    clocks.around(fn.samplers.get("unipc"), "step", "of it, the sampler's step with the network")
    fn.sample(denoiser, config.train.batch_size, "unipc", STEPS, batch_size=64, callback=clocks.lap)
    return clocks.laps[WARM:]


def show(what, steps):
    total = sum(s["step"] for s in steps)
    parts = defaultdict(float)
    for step in steps:
        for part, seconds in step.items():
            parts[part] += seconds
    network = sum(v for k, v in parts.items() if k.startswith("network"))
    print(f"{what}: {1e3 * total / len(steps):.1f} ms a step; outside the network {100 * (1 - network / total):.2f} %")
    for part, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        if part != "step":
            print(f"    {part:<46}{100 * seconds / total:6.2f} %{1e3 * seconds / len(steps):9.2f} ms")


def main():
    backward = torch.Tensor.backward
    for name in sys.argv[1:] or ("digits", "thesis-mnist", "ddpm-cifar10"):
        show(f"{name}, training", training(name, Clocks()))
        torch.Tensor.backward = backward
        show(f"{name}, sampling", sampling(name, Clocks()))


if __name__ == "__main__":
    main()
