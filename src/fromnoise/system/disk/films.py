"""Write animations in the format of the file's ending: .gif with Pillow, .mp4 and .webm with PyAV (extra `media`)."""

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
"""Frames per second of a video; a frame that stays longer is repeated, which costs a few bytes and plays everywhere."""
_MODE = "w"  # into memory; only `files` writes to the disk
_BT709, _LIMITED = 1, 1
"""Codes of ITU-T H.273 for BT.709 (matrix, primaries and transfer), and for luma from 16 to 235."""


class Format(ABC):
    """A way to write an animation."""

    def insist(self, path: Path) -> None:  # noqa: B027  (most need nothing)
        """Check that this installation can write the format. Raises FromNoiseError if something is missing."""

    @abstractmethod
    def write(self, frames: Sequence[Image.Image], path: Path, seconds: float, rest: float) -> None: ...


class Gif(Format):
    """An endless animation with few shades."""

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
    """A video that any player shows: 4:2:0, BT.709, sides made even by repeating the last row and column.

    Attributes:
        container: FFmpeg's name of the container format.
        codec: FFmpeg's name of the encoder.
        options: options of the encoder.
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
        film = io.BytesIO()  # small, so it is encoded in memory, and only `files` meets a full disk
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
            # Stored in the file, since players otherwise guess, and guess differently for small and large videos.
            colours = stream.codec_context
            colours.colorspace = colours.color_primaries = colours.color_trc = _BT709
            colours.color_range = _LIMITED
            number = 0
            for i, pixels in enumerate(frames):
                # Area interpolation keeps colours sharp where pixels were enlarged by an even factor.
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
"""The formats by the ending of the file's name."""


def insist_on(path: Path) -> None:
    """Check that an animation of this name can be written, as far as that is known before there are frames.

    Raises:
        FromNoiseError: if the ending is not one of an animation, or a package for its format is not installed.
    """
    _format(path).insist(path)


def write(frames: Sequence[Image.Image], path: Path, seconds: float = 4.0, rest: float = 1.5) -> None:
    """Write an animation in the format of the file's ending: `seconds` / len(frames) per frame, `rest` for the last.

    Args:
        frames: images of one size.
        path: the file, replaced in one step.
        seconds: divided by the number of frames, how long each frame but the last is shown.
        rest: how many seconds the last frame is shown.

    Raises:
        FromNoiseError: if the ending is not one of an animation, a package for its format is not installed, or the
            encoder does not take the frames. Also the errors of `files.replacing`.
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
