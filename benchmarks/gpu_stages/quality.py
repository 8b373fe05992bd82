"""What a minute of training achieves: loss, steps, a grid of samples, and their distance from the data."""

import time

import torch
import torch.nn.functional as F
from torch import Tensor

import fromnoise as fn
from fromnoise.data.images import to_uint8
from fromnoise.errors import FromNoiseError
from fromnoise.metrics.frechet import distance
from fromnoise.system.disk.pictures import columns, grid
from gpu_stages import formats, ours, pictures
from gpu_stages.context import Context

SETS = {"mnist-fast": pictures.digits, "mnist-fast on colour": pictures.colours}
MINUTE, AROUND = 60.0, 15.0  # seconds of training, and of everything else


def run(context: Context) -> None:
    for i, (what, load) in enumerate(SETS.items()):
        seconds = 1.5 if context.tiny else min(MINUTE, context.left() / (len(SETS) - i) - AROUND)
        if not context.has_time(what, max(seconds, 1) + (0 if context.tiny else 10)):
            continue
        with context.trying(what):
            try:
                split = load(context)
            except FromNoiseError as error:
                context.left_out(what, str(error))
                continue
            _trained(context, what, split, max(seconds, 1))


def _trained(context: Context, what: str, split: pictures.Split, seconds: float) -> None:
    images = split.train
    config = ours.recipe(context, "mnist-fast", network__classes=len(images.classes))
    denoiser = ours.built(context, config, images.shape, context.device)
    numbers = formats.usual(context)
    hardware = formats.hardware(numbers)
    n = 40 if context.tiny else 1000
    with ours.trainer(config, denoiser, images, hardware, steps=None, minutes=seconds / 60) as made:
        made.run()
        progress = made.progress
        note = f"{seconds:.0f} s on {len(images):,} images of {images.name}, not compiled"
        context.row(f"{what}: steps", progress.step, "steps", numbers=numbers, note=note)
        context.row(f"{what}: images a second", progress.images / progress.seconds, "images/s", numbers=numbers,
                    note=f"batch {made.config.batch_size}, loading and drawing included")  # fmt: skip
        context.row(f"{what}: loss", progress.loss, "averaged", numbers=numbers)
        sampled = config.sample
        steered = fn.guidance.steer(denoiser, clip=sampled.clip)
        started = time.perf_counter()
        with made.trained.ema.applied(), hardware.autocast():
            x = fn.sample(steered, n, fn.samplers.build(sampled.sampler), sampled.steps, batch_size=min(n, 250))
        pixels = to_uint8(x.cpu())
    took = time.perf_counter() - started
    context.row(f"{what}: samples a second", n / took, "images/s", numbers=numbers,
                note=f"{n} by UniPC in {sampled.steps} steps, batch {min(n, 250)}")  # fmt: skip
    path = context.folder / f"quality-{what.replace(' ', '-')}.png"
    grid(pixels[:100], columns(min(n, 100), len(images.classes))).save(path)
    _distances(context, what, pixels, split, path.name)


def _distances(context: Context, what: str, pixels: Tensor, split: pictures.Split, drawn: str) -> None:
    """Distances of the samples, and of as many held-out images, from the training images."""
    known = split.train.pixels[:10_000]
    name, features = _features(context, split)
    reference = _moments(features(known))
    for who, chosen, note in (("samples", pixels, f"see {drawn}"), ("real images", split.test[: len(pixels)], "")):
        figure = distance(*_moments(features(chosen)), *reference).item()
        context.row(f"{what}: {name} of {len(chosen)} {who}", figure, "from the data", numbers="fp64", note=note)


def _features(context: Context, split: pictures.Split):
    """(name, function from uint8 images to [N, D]): the digits' classifier if available, else means of 8x8 squares."""
    if split.train.shape[0] == 1 and not context.tiny and context.left() > 30:
        try:
            extractor = fn.features.build("digits")
        except FromNoiseError as error:
            print(f"quality: no classifier of digits: {error}")
        else:
            return "FD-digits", lambda x: torch.cat([extractor(part).pool for part in x.split(1000)])
    return "FD of 8x8 pixels", lambda x: F.adaptive_avg_pool2d(x.float() / 127.5 - 1, 8).flatten(1)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.double()
    return x.mean(0), torch.cov(x.T)
