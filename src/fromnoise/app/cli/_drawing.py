"""Draw samples from a trained model into files, for `sample` and `show`. Needs torch."""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from fromnoise import samplers
from fromnoise.app import runs
from fromnoise.app.runs import Model, SamplingPlan
from fromnoise.app.runs.plan import class_number
from fromnoise.data.images import to_uint8
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, films, pictures
from fromnoise.system.hardware import peak_memory
from fromnoise.system.hardware.memory import insist_on_memory
from fromnoise.system.progress import Bar, say


def as_grid(pixels: Tensor, model: Model, choice: SamplingPlan, side: int = 84) -> Image:
    """All samples as one image: a column per class if classes come in turn, a row with a caption per prompt, and each
    conditioning image beside its sample."""
    if model.needs_images:
        told = to_uint8(model.told(range(len(pixels)))["image"])
        return pictures.grid(pictures.side_by_side(told, pixels), 2 * min(4, len(pixels)), side=side)
    if len(choice.texts) > 1:
        return pictures.captioned(pixels, choice.texts, side)
    return pictures.grid(pixels, pictures.columns(len(pixels), len(choice.kinds(model.denoiser))), side=side)


def draw(
    model: Model,
    n: int,
    choice: SamplingPlan,
    seed: int,
    batch_size: int,
    callback: Callable[[samplers.Moment], None] | None = None,
) -> Tensor:
    """uint8 samples [n, C, H, W] on the CPU, with a progress bar; options are checked before the first network call."""
    insist_on_memory(4.0 * n * math.prod(model.denoiser.shape or ()), f"{n:,} samples, kept for one file,")
    return torch.cat([pixels for _, pixels in batches(model, n, choice, seed, batch_size, callback)])


def batches(
    model: Model,
    n: int,
    choice: SamplingPlan,
    seed: int,
    batch_size: int,
    callback: Callable[[samplers.Moment], None] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """As `draw`, batch by batch: (number of the first sample, samples)."""
    if n < 1 or batch_size < 1:
        raise FromNoiseError(f"--n and --batch-size must be at least 1, got {n} and {batch_size}")
    with Bar("sampling", -(-n // batch_size) * model.steps(choice)) as bar:

        def each(moment: samplers.Moment) -> None:
            bar.advance()
            if callback is not None:
                callback(moment)

        started = time.perf_counter()
        for first in range(0, n, batch_size):
            count = min(batch_size, n - first)
            yield first, runs.draw(model, count, choice, seed, batch_size, first, callback=each)
    seconds = time.perf_counter() - started
    say(f"{n} in {seconds:.1f} s ({n / seconds:.2g} images/s){peak_memory(model.denoiser.device)}")


def draw_to(out: Path, model: Model, n: int, choice: SamplingPlan, seed: int, batch_size: int) -> None:
    """Write samples as one file, in the format of its ending."""
    _WRITERS[out.suffix.lower()](out, model, n, choice, seed, batch_size)


def insist_on_ending(out: Path) -> None:
    """Raise FromNoiseError if `draw_to` does not know the ending of a file, or a package for it is missing."""
    if out.suffix.lower() not in _WRITERS:
        raise FromNoiseError(f"--out {out}: the ending must be one of {', '.join(_WRITERS)}, or none for a folder")
    if out.suffix.lower() in films.FORMATS:
        films.insist_on(out)


def _grid(out: Path, model: Model, n: int, choice: SamplingPlan, seed: int, batch_size: int) -> None:
    pictures.save(as_grid(draw(model, n, choice, seed, batch_size), model, choice), out)


def _array(out: Path, model: Model, n: int, choice: SamplingPlan, seed: int, batch_size: int) -> None:
    pixels = draw(model, n, choice, seed, batch_size)
    with files.replacing(out) as file:
        np.savez(file, arr_0=pixels.permute(0, 2, 3, 1).numpy())


def draw_into(folder: Path, model: Model, n: int, choice: SamplingPlan, seed: int, batch_size: int) -> None:
    """Write samples as SEED-NUMBER-CLASS.png into a folder, each as soon as it is drawn; an interruption keeps them."""
    files.insist_on_writable(folder / _name(seed, 0, None), "--out")
    denoiser = choice.steered(model.denoiser)
    names: Sequence[str] = choice.kinds(model.denoiser)
    if choice.label is not None:
        number = class_number(denoiser, choice.label)
        names = [denoiser.class_names[number] if denoiser.class_names else str(number)]

    for first, pixels in batches(model, n, choice, seed, batch_size):
        for i, image in enumerate(pixels, first):
            kind = names[i % len(names)] if names else None
            pictures.save(pictures.single(image), folder / _name(seed, i, kind))


def _name(seed: int, number: int, label: str | None) -> str:
    """The name of a sample's file; characters of the class that a file name should not have are replaced."""
    safe = None if label is None else re.sub(r"[^\w-]+", "_", label)[:60]
    return f"{seed}-{number:06d}" + (f"-{safe}" if safe else "") + ".png"


def animation(
    out: Path, model: Model, n: int, choice: SamplingPlan, seed: int, batch_size: int | None = None
) -> Tensor:
    """Write the denoising as an animation and return the final samples, uint8; one batch by default."""
    shown: dict[tuple[int, int], list[Tensor]] = {}  # {(stage, step): of every batch}
    wanted: set[int] = set()
    stage: Counter[int] = Counter()  # of each batch

    def keep(moment: samplers.Moment) -> None:
        if moment.x.dim() != 4:  # an embedding is not an image
            return
        if moment.index == 1:
            stage[moment.first] += 1
            wanted.clear()
            wanted.update(pictures.frame_steps(moment.total))
        if moment.index in wanted:
            drawn = to_uint8(model.denoiser.decoded(moment.x).cpu())
            shown.setdefault((stage[moment.first], moment.index), []).append(drawn)

    pixels = draw(model, n, choice, seed, batch_size or n, callback=keep)
    frames = [as_grid(torch.cat(parts), model, choice, side=56) for _, parts in sorted(shown.items())]
    films.write(frames, out)
    return pixels


_WRITERS: dict[str, Callable[[Path, Model, int, SamplingPlan, int, int], object]] = {
    **dict.fromkeys((".png", ".webp", ".jpg", ".jpeg"), _grid),
    ".npz": _array,
    **dict.fromkeys(films.FORMATS, animation),
}
"""The writer for each ending of a file."""
