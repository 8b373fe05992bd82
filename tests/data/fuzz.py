"""Files that are nearly right: seeded changes of whole ones. By hand: python tests/data/fuzz.py 5000."""

import io
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fromnoise import FromNoiseError
from fromnoise.data.config import DataConfig
from fromnoise.data.decode import formats
from fromnoise.data.folder import read_image
from fromnoise.data.loading import load
from fromnoise.data.npz import load_npz


def images() -> dict[str, bytes]:
    """A whole file of every format that is read and can be written here, some in several modes."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8))
    gray = rgb.convert("L")
    deep = Image.fromarray(rng.integers(0, 65536, (12, 10), dtype=np.uint16))
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = 6, "maker"
    wanted = [
        ("AVIF", rgb, {}), ("BMP", rgb, {}), ("BMP", rgb.quantize(8), {}), ("DDS", rgb, {}), ("GIF", rgb.quantize(16), {}),
        ("ICO", rgb, {}), ("JPEG", rgb, {"exif": exif}), ("JPEG", rgb.convert("CMYK"), {}),
        ("JPEG", rgb, {"progressive": True}), ("JPEG2000", rgb, {}), ("JPEG2000", deep, {}), ("PCX", rgb, {}),
        ("PNG", rgb, {"exif": exif}), ("PNG", deep, {}), ("PNG", rgb.quantize(16), {"transparency": 3}), ("PPM", rgb, {}),
        ("PPM", deep, {}), ("SGI", gray, {}), ("TGA", rgb, {"compression": "tga_rle"}), ("TIFF", rgb, {"exif": exif}),
        ("TIFF", rgb, {"compression": "tiff_lzw"}), ("TIFF", gray, {"compression": "tiff_deflate"}),
        ("TIFF", rgb, {"compression": "jpeg"}), ("TIFF", gray.convert("1"), {"compression": "group4"}),
        ("TIFF", deep, {}), ("TIFF", gray.convert("F"), {}), ("WEBP", rgb, {"exif": exif}), ("WEBP", rgb, {"lossless": True}),
    ]  # fmt: skip
    made = {}
    for i, (kind, image, options) in enumerate(wanted):
        if kind in formats() and kind in Image.SAVE:
            file = io.BytesIO()
            image.save(file, kind, **options)
            made[f"{kind.lower()}-{i}"] = file.getvalue()
    return made


def arrays() -> dict[str, bytes]:
    """.npz files of images, as numpy writes them."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    made = {}
    for name, write in (("stored", np.savez), ("packed", np.savez_compressed)):
        file = io.BytesIO()
        write(file, pixels, labels=np.arange(5))
        made[name] = file.getvalue()
    return made


def packed() -> dict[str, bytes]:
    """Archives of two images with what is said beside them, and an array that is mapped."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    entries = [("dataset.json", b'{"labels": [["a/0.png", 3], ["b/1.png", 0]]}')]
    for i, folder in enumerate("ab"):
        file = io.BytesIO()
        Image.fromarray(pixels[i]).save(file, "PNG")
        beside = (("png", file.getvalue()), ("cls", b"1"), ("json", b'{"caption": "a cat"}'), ("txt", b"a dog"))
        entries += [(f"{folder}/{i}.{ending}", content) for ending, content in beside]
    made = {}
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
            for name, content in entries:
                info = tarfile.TarInfo(name if kind == tarfile.USTAR_FORMAT else name.replace("/", "/" + "x" * 120, 1))
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        made[f"{kind}.tar"] = file.getvalue()[: 512 * 40]
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", kind) as archive:
            for name, content in entries:
                archive.writestr(name, content)
        made[f"{kind}.zip"] = file.getvalue()
    for name, array in (("uint8", pixels), ("float", pixels / 255), ("deep", pixels.astype(np.uint16))):
        file = io.BytesIO()
        np.save(file, array)
        made[f"{name}.npy"] = file.getvalue()
    return made


def read_packed(path: Path) -> None:
    images = load(DataConfig(name=str(path), memory=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of images that another one stands in for
        x, labels = images.batch(range(min(len(images), 4)))
    assert len(x) == len(labels) == min(len(images), 4)
    assert x.dtype == torch.uint8 or bool(x.isfinite().all())
    assert all(note.isprintable() for note in images.notes)
    assert all(name.isprintable() for name in images.classes)


def read_pixels(path: Path) -> None:
    assert read_image(path, 3, (16, 16)).shape == (3, 16, 16)


def read_array(path: Path) -> None:
    assert load_npz(path).shape[0] in (1, 3)


KINDS = {
    "images": (images, read_pixels, "x.png"),
    "arrays": (arrays, read_array, "x.npz"),
    "packed": (packed, read_packed, ""),
}
"""What is changed, how it is read, and its name; "" for one that ends as the whole file's."""


def mutants(whole: dict[str, bytes], count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` changed files, and of which: bytes flipped, cut, inserted, repeated, set to extremes, or of another file."""
    rng = np.random.default_rng(seed)
    names = sorted(whole)
    for i in range(count):
        name = names[i % len(names)]
        content = bytearray(whole[name])
        for _ in range(rng.integers(1, 5)):
            _change(content, whole[names[rng.integers(len(names))]], rng)
        yield name, bytes(content)


def _change(content: bytearray, other: bytes, rng: np.random.Generator) -> None:
    # headers are short and decide most: every second place is in the first 200 bytes
    place = int(rng.integers(min(len(content), 200) if rng.random() < 0.5 else len(content)) if content else 0)
    length = int(rng.integers(1, 64))
    kind = rng.integers(7)
    if kind == 0 and content:
        content[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del content[place:]
    elif kind == 2:
        del content[place : place + length]
    elif kind == 3:
        content[place:place] = rng.bytes(length)
    elif kind == 4:
        start = int(rng.integers(len(other)))
        content[place : place + length] = other[start : start + length]
    elif kind == 5:
        width = int(rng.choice([1, 2, 4, 8]))
        half = 2 ** (8 * width - 1)
        extreme = (0, 1, half - 1, half, 2 * half - 1)[rng.integers(5)]
        content[place : place + width] = extreme.to_bytes(width, "little")
    elif kind == 6:
        content[place:place] = content[place : place + length]


def tried(folder: Path, which: str, count: int, seed: int = 0) -> Counter:
    """How many files were read and how many refused in a line that names them; other errors go through."""
    found: Counter = Counter()
    make, read, file = KINDS[which]
    for name, content in mutants(make(), count, seed):
        path = folder / (file or f"x.{name.rsplit('.', 1)[1]}")
        path.write_bytes(content)
        started = time.perf_counter()
        try:
            read(path)
            found["read"] += 1
        except FromNoiseError as error:
            found["refused" if str(error).isprintable() and path.name in str(error) else str(error)] += 1
        except BaseException:
            (Path(tempfile.gettempdir()) / f"fuzz-{name}").write_bytes(content)
            raise
        found["slowest"] = max(found["slowest"], round(1000 * (time.perf_counter() - started)))
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        for kind in KINDS:
            print(kind, dict(tried(Path(made), kind, int(sys.argv[1]), *map(int, sys.argv[2:]))), "(slowest in ms)")
