"""Animations of frames, in the format of a file's ending: .gif by Pillow, .mp4 and .webm by PyAV (extra `media`)."""

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

RATE = 30
"""Frames a second of a video; a picture that stays longer is repeated, which costs some bytes and plays everywhere."""
_MODE = "w"  # into memory; `files` alone writes on the disk
_BT709, _LIMITED = 1, 1
"""Matrix, primaries and transfer of ITU-T H.273; luma from 16 to 235."""


class Format(ABC):
    """A way to write an animation."""

    def insist(self, path: Path) -> None:  # noqa: B027  (most need nothing)
        """That it can be written here; raises FromNoiseError where something is missing."""

    @abstractmethod
    def write(self, frames: Sequence[Image.Image], path: Path, seconds: float, rest: float) -> None: ...


class Gif(Format):
    """Endless, of few shades."""

    def write(self, frames: Sequence[Image.Image], path: Path, seconds: float, rest: float) -> None:
        frames = [frame.quantize(20) for frame in frames]  # noise does not compress; few shades keep the file small
        each = max(20, round(1000 * seconds / len(frames)))
        durations = [each] * (len(frames) - 1) + [round(1000 * rest)]
        with files.replacing(path) as file:
            frames[0].save(
                file, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True
            )


@dataclass(frozen=True)
class Video(Format):
    """A film that any player shows: 4:2:0, BT.709, sides made even by repeating the last row and column.

    Attributes:
        container: FFmpeg's name of the file's format.
        codec: and of the encoder.
        options: of the encoder.
    """

    container: str
    codec: str
    options: Mapping[str, str] = field(default_factory=dict)

    def insist(self, path: Path) -> None:
        if self.codec not in _av(path).codecs_available:
            raise FromNoiseError(f"{path}: this PyAV was built without {self.codec}, which the wheels of av have: "
                                 "install one, or name a .gif")  # fmt: skip

    def write(self, frames: Sequence[Image.Image], path: Path, seconds: float, rest: float) -> None:
        self.insist(path)
        film = io.BytesIO()  # small, and so a full disk is met by the one place that writes
        try:
            self._encode(film, [_even(frame) for frame in frames], seconds, rest)
        except _av(path).FFmpegError as error:
            size = "x".join(map(str, frames[0].size))
            raise FromNoiseError(f"{path}: {self.codec} does not encode {len(frames)} frames of {size} "
                                 f"({files.one_line(error)}); ask for fewer samples") from None  # fmt: skip
        files.write_bytes(path, film.getvalue())

    def _encode(self, file: io.BytesIO, frames: Sequence[np.ndarray], seconds: float, rest: float) -> None:
        import av

        each, last = max(1, round(RATE * seconds / len(frames))), max(1, round(RATE * rest))
        with av.open(file, _MODE, format=self.container) as film:
            stream: Any = film.add_stream(self.codec, rate=RATE, options=dict(self.options))
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            # Written down, since players guess otherwise, and differently for small and for large pictures.
            colours = stream.codec_context
            colours.colorspace = colours.color_primaries = colours.color_trc = _BT709
            colours.color_range = _LIMITED
            number = 0
            for i, pixels in enumerate(frames):
                # By areas, so that pixels which were enlarged by an even factor keep their colours sharp.
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                    format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG",
                    interpolation="AREA",
                )  # fmt: skip
                for _ in range(last if i == len(frames) - 1 else each):
                    picture.pts = number
                    film.mux(stream.encode(picture))
                    number += 1
            film.mux(stream.encode(None))


FORMATS: dict[str, Format] = {
    ".gif": Gif(),
    ".mp4": Video("mp4", "libx264", {"crf": "16", "preset": "medium"}),
    ".webm": Video("webm", "libvpx-vp9", {"crf": "20", "b": "0", "cpu-used": "4"}),
}
"""By the ending of the file."""


def insist_on(path: Path) -> None:
    """That an animation of this name can be written, as far as one can know before there are frames.

    Raises:
        FromNoiseError: it has no ending of an animation, or what its format needs is not installed.
    """
    _format(path).insist(path)


def write(frames: Sequence[Image.Image], path: Path, seconds: float = 4.0, rest: float = 1.5) -> None:
    """An animation of `seconds`, resting on the last frame for `rest` more, in the format of the file's ending.

    Args:
        frames: pictures of one size.
        path: the file, replaced in one step.
        seconds: that all frames but the last take together, of the share that they have of all.
        rest: that the last one stays.

    Raises:
        FromNoiseError: it has no ending of an animation, what its format needs is not installed, the encoder does not
            take the frames, or as `files.replacing`.
    """
    _format(path).write(frames, path, seconds, rest)


def _format(path: Path) -> Format:
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise FromNoiseError(f"{path}: the ending of an animation must be one of {', '.join(FORMATS)}")
    return found


def _even(frame: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] with even sides."""
    pixels = np.asarray(frame.convert("RGB"))
    return np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")


def _av(path: Path) -> Any:
    try:
        import av
    except ImportError:
        raise FromNoiseError(f'{path}: a {path.suffix} needs PyAV: pip install "fromnoise[media]"') from None
    return av
