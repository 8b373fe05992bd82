"""Draw grids of images with Pillow alone."""

import bisect
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

_LETTERS = 16
"""Height of captions in pixels."""
_ACROSS = 8
"""The most images of one caption side by side."""


def grid(pixels: Tensor, columns: int | None = None, side: int = 84, gap: int = 2) -> Image.Image:
    """uint8 [N, C, H, W] -> one image with all N, row by row.

    Args:
        pixels: gray, RGB or RGBA (drawn over gray squares); of other numbers of channels the first one is shown.
        columns: images in a row; None makes the grid as square as possible.
        side: small images are enlarged by a whole factor to about this many pixels.
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


def captioned(pixels: Tensor, names: Sequence[str], side: int = 84) -> Image.Image:
    """uint8 [N, C, H, W] and captions -> one image with the images of each caption below it.

    Args:
        pixels: see `grid`.
        names: captions of images 0, 1, ..., repeated in turn; a long one is cut.
        side: see `grid`.
    """
    k = min(len(names), len(pixels))
    most = min(-(-len(pixels) // k), _ACROSS)
    strips = [grid(pixels[i::k], most, side) for i in range(k)]
    font = ImageFont.load_default(_LETTERS)
    width, height = strips[0].width + 2 * _LETTERS, strips[0].height + 2 * _LETTERS
    columns = max(1, round(math.sqrt(k * height / width)))
    rows = -(-k // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, strip) in enumerate(zip(names, strips, strict=False)):
        x, y = i // rows * width + _LETTERS, i % rows * height
        name = _cut(name, lambda text: draw.textlength(text, font) <= width - _LETTERS)
        draw.text((x, y + _LETTERS // 3), name, "black", font)
        sheet.paste(strip, (x, y + round(1.7 * _LETTERS)))
    return sheet


def _cut(text: str, fits: Callable[[str], bool]) -> str:
    """A text on one line: all of it, or as many letters as fit before three dots."""
    text = " ".join(text.split())
    if fits(text):
        return text
    most = bisect.bisect_left(range(1, len(text)), True, key=lambda n: not fits(text[:n] + "..."))
    return text[:most] + "..." if most else ""


def side_by_side(one: Tensor, other: Tensor) -> Tensor:
    """Interleave two batches [N, C, H, W] as [2 N, C', H, W]; if their channels differ, gray becomes colour."""
    most = max(len(one[0]), len(other[0]))
    alike = [x if len(x[0]) == most else x[:, :1].expand(-1, most, -1, -1) for x in (one, other)]
    return torch.stack(alike, 1).flatten(0, 1)


def single(pixels: Tensor) -> Image.Image:
    """uint8 [C, H, W], gray, RGB or RGBA -> an image of the same size; of other numbers of channels the first one."""
    kept = pixels if pixels.shape[0] in (3, 4) else pixels[:1]
    return Image.fromarray(
        kept.permute(1, 2, 0).squeeze(2).numpy() if len(kept) == 1 else kept.permute(1, 2, 0).numpy()
    )


def _on_squares(pixels: Tensor) -> Tensor:
    """uint8 RGBA -> RGB over a chequerboard of two grays."""
    h, w = pixels.shape[2:]
    square = max(1, min(h, w) // 8)
    odd = (torch.arange(h)[:, None] // square + torch.arange(w) // square) % 2
    opacity = pixels[:, 3:].float() / 255
    return (pixels[:, :3] * opacity + (204 + 51 * odd) * (1 - opacity)).round().to(torch.uint8)


def columns(n: int, classes: int) -> int | None:
    """One column per class for samples whose classes come in turn; None for many classes or fewer than two rows."""
    return classes if 1 < classes <= 12 and n >= 2 * classes else None


def format_of(path: Path) -> str:
    """Pillow's name of the format for a file's ending.

    Raises:
        FromNoiseError: if Pillow cannot write such a file.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise FromNoiseError(
            f"{path}: pictures are written as .png, .jpg or .webp, not {path.suffix or 'without an ending'}"
        )
    return kind


def save(picture: Image.Image, path: Path) -> None:
    """Write an image in one step, in the format of the file's ending. Raises the errors of `files.replacing`."""
    kind = format_of(path)
    with files.replacing(path) as file:
        picture.save(file, format=kind)


def frame_steps(total: int, frames: int = 24) -> set[int]:
    """Which of `total` steps to show in an animation of at most `frames` frames; the last step is always shown."""
    return {round(x) for x in torch.linspace(1, total, min(frames, total), dtype=torch.float64).tolist()}
