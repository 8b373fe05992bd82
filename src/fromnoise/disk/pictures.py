"""Grids of images: Pillow only."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fromnoise.disk import files
from fromnoise.errors import FromNoiseError


def grid(pixels: Tensor, columns: int | None = None, side: int = 84, gap: int = 2) -> Image.Image:
    """uint8 [N, C, H, W] -> one picture, row by row.

    Args:
        pixels: gray, RGB or RGBA, which is laid on gray squares; other numbers of channels show the first one.
        columns: images in a row; None makes the grid as square as it can be.
        side: small images are enlarged to about this many pixels, by a whole factor.
        gap: black pixels between images, before scaling.
    """
    pixels = _on_squares(pixels) if pixels.shape[1] == 4 else pixels
    n, c, h, w = pixels.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    scale = max(1, round(side / max(h, w)))
    depth = 3 if c == 3 else 1
    sheet = np.zeros((rows * (h + gap) + gap, columns * (w + gap) + gap, depth), np.uint8)
    for i, image in enumerate(pixels[:, :depth].permute(0, 2, 3, 1).numpy()):
        y, x = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
        sheet[y : y + h, x : x + w] = image
    picture = Image.fromarray(sheet if depth == 3 else sheet[..., 0])
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def side_by_side(one: Tensor, other: Tensor) -> Tensor:
    """Images [N, C, H, W] in turn, one of each: [2 N, C'', H, W]; where the channels differ, gray becomes colour."""
    most = max(len(one[0]), len(other[0]))
    alike = [x if len(x[0]) == most else x[:, :1].expand(-1, most, -1, -1) for x in (one, other)]
    return torch.stack(alike, 1).flatten(0, 1)


def single(pixels: Tensor) -> Image.Image:
    """uint8 [C, H, W], gray, RGB or RGBA -> a picture of its own size; of other channels the first."""
    kept = pixels if pixels.shape[0] in (3, 4) else pixels[:1]
    return Image.fromarray(
        kept.permute(1, 2, 0).squeeze(2).numpy() if len(kept) == 1 else kept.permute(1, 2, 0).numpy()
    )


def _on_squares(pixels: Tensor) -> Tensor:
    """uint8 RGBA -> RGB, transparency as squares of two grays."""
    h, w = pixels.shape[2:]
    square = max(1, min(h, w) // 8)
    odd = (torch.arange(h)[:, None] // square + torch.arange(w) // square) % 2
    opacity = pixels[:, 3:].float() / 255
    return (pixels[:, :3] * opacity + (204 + 51 * odd) * (1 - opacity)).round().to(torch.uint8)


def columns(n: int, classes: int) -> int | None:
    """Columns for samples whose classes come in turn: a class in each, where there are few and at least two rows."""
    return classes if 1 < classes <= 12 and n >= 2 * classes else None


def format_of(path: Path) -> str:
    """Pillow's name of the format that a file's ending means.

    Raises:
        FromNoiseError: none that it can write.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise FromNoiseError(
            f"{path}: pictures are written as .png, .jpg or .webp, not {path.suffix or 'without an ending'}"
        )
    return kind


def save(picture: Image.Image, path: Path) -> None:
    """Replace a file by a picture in one step, in the format of the file's ending; raises as `files.replacing`."""
    kind = format_of(path)
    with files.replacing(path) as file:
        picture.save(file, format=kind)


def frame_steps(total: int, frames: int = 24) -> set[int]:
    """Which of `total` steps to show so that an animation has at most `frames` pictures: always the last."""
    return {round(x) for x in torch.linspace(1, total, min(frames, total), dtype=torch.float64).tolist()}
