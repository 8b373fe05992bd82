"""Animations: decoded again, they are the frames that were written, for as long as was asked."""

import errno
import os

import numpy as np
import pytest
from PIL import Image, ImageSequence

import fromnoise as fn
from fromnoise.system.disk import films

VIDEOS = [ending for ending in films.FORMATS if ending != ".gif"]


def decoded(path):
    """Frames as RGB, and what the file says of itself."""
    av = pytest.importorskip("av", reason="the media extra is not installed")
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(stream)]
        return frames, stream.codec_context, film.duration / 1e6


def frames(mode, size, count=6):
    """Squares of two pixels, which 4:2:0 keeps, of colours that differ from frame to frame."""
    generator = np.random.default_rng(0)
    w, h = size
    shape = (-(-h // 2), -(-w // 2), *((3,) if mode == "RGB" else ()))
    blocks = [generator.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]
    return [Image.fromarray(b.repeat(2, 0).repeat(2, 1)[:h, :w]) for b in blocks]


@pytest.mark.parametrize("ending", VIDEOS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(64, 48), (63, 47), (2, 3)])
def test_a_video_is_its_frames(tmp_path, ending, mode, size):
    told = frames(mode, size)
    films.write(told, tmp_path / f"a{ending}", seconds=2.0, rest=0.5)
    found, context, seconds = decoded(tmp_path / f"a{ending}")
    assert len(found) == 5 * 10 + 15
    assert seconds == pytest.approx(len(found) / films.RATE, abs=0.05)
    assert context.pix_fmt == "yuv420p"
    w, h = size
    even = (w + w % 2, h + h % 2)
    assert (context.width, context.height) == even
    for i, one in enumerate(found):
        whole = np.asarray(told[min(i // 10, 5)].convert("RGB"), int)
        assert abs(one[:h, :w] - whole).mean() < 6  # of 85 between two of the frames
    if even != size:  # the last row and column stand twice
        assert abs(found[-1][-1] - found[-1][h - 1]).max() < 30
    black, white = (Image.new(mode, size, colour) for colour in ("black", "white"))
    films.write([white, black], tmp_path / f"b{ending}", seconds=1, rest=0.2)
    bright, dark = decoded(tmp_path / f"b{ending}")[0][::20][:2]
    assert bright.min() >= 253
    assert dark.max() <= 2


def test_a_gif_is_its_frames(tmp_path):
    told = [Image.new("RGB", (30, 20), colour) for colour in ("red", "lime", "blue")]
    films.write(told, tmp_path / "a.gif", seconds=3.0, rest=2.0)
    film = Image.open(tmp_path / "a.gif")
    found = [(np.asarray(f.convert("RGB"), int), f.info["duration"]) for f in ImageSequence.Iterator(film)]
    assert [duration for _, duration in found] == [1000, 1000, 2000]
    for (one, _), whole in zip(found, told, strict=True):
        assert abs(one - np.asarray(whole, int)).max() < 4


@pytest.mark.parametrize("ending", VIDEOS)
def test_a_single_frame_rests(tmp_path, ending):
    films.write(frames("L", (16, 16), 1), tmp_path / f"a{ending}")
    assert len(decoded(tmp_path / f"a{ending}")[0]) == 45


@pytest.mark.parametrize("ending", VIDEOS)
def test_what_cannot_be_written_is_one_line_and_no_file(tmp_path, ending, monkeypatch):
    av = pytest.importorskip("av", reason="the media extra is not installed")
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"old")
    with pytest.raises(fn.FromNoiseError, match=r"does not encode 1 frames of 70000x2 .*ask for fewer samples"):
        films.write([Image.new("L", (70_000, 2))], path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "no space left")))
        with pytest.raises(OSError, match="no space left"):
            films.write(frames("L", (16, 16), 2), path)
    with monkeypatch.context() as patch:
        patch.setattr(av, "codecs_available", {"gif"})
        with pytest.raises(fn.FromNoiseError, match="built without lib"):
            films.insist_on(path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(fn.FromNoiseError, match=r"must be one of \.gif, \.mp4, \.webm"):
        films.write(frames("L", (16, 16), 2), tmp_path / "a.avi")
