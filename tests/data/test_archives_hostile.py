"""Archives of strangers: none takes all memory or an hour, none ends in a traceback, and what they say is of the right image."""

import io
import json
import tarfile
import time
import zipfile

import numpy as np
import pytest
from data.test_archives import PIXELS, everything, opened, png, refused, tar, zipped
from PIL import Image

import fromnoise as fn
from fromnoise.data.config import DataConfig
from fromnoise.data.loading import load

X = [png(pixels) for pixels in PIXELS]


@pytest.fixture(autouse=True)
def patience():
    started = time.perf_counter()
    yield
    assert time.perf_counter() - started < 20


def with_length(path, length, kind=b"0"):
    """A .tar of two images, of which the second one's header claims another length, in binary."""
    content = bytearray(tar(path, [("0.png", X[0]), ("1.png", X[1])]).read_bytes())
    start = next(i for i in range(0, len(content), 512) if content[i : i + 5] == b"1.png")
    content[start + 124 : start + 136] = bytes([0xFF if length < 0 else 0x80]) + (length % 256**11).to_bytes(11, "big")
    content[start + 148 : start + 156] = b" " * 8
    content[start + 148 : start + 156] = b"%06o\0 " % sum(content[start : start + 512])
    path.write_bytes(content)
    return path


# ---------------------------------------------------------------------------------------------------------------------
# .tar


@pytest.mark.parametrize("length", [-512, -1024, -(2**60), 2**60, 2**62, 2**70])
def test_impossible_lengths_in_a_tar_are_damage(tmp_path, length):
    """-512 led back to the same header without end; 2^70 was no number of numpy's."""
    images = opened(with_length(tmp_path / "a.tar", length), size=8, channels=3, memory=0)
    assert np.array_equal(everything(images)[0], PIXELS[:1])
    assert "a.tar" in images.notes[0]


@pytest.mark.parametrize("size", ["-512", "-1024", "-1536", "9" * 20])
def test_impossible_lengths_in_a_pax_header_are_damage(tmp_path, size):
    info = tarfile.TarInfo("1.png")
    info.size, info.pax_headers = len(X[1]), {"size": size}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        first = tarfile.TarInfo("0.png")
        first.size = len(X[0])
        archive.addfile(first, io.BytesIO(X[0]))
        archive.addfile(info, io.BytesIO(X[1]))
    images = opened(tmp_path / "a.tar")
    assert np.array_equal(everything(images)[0], PIXELS[:1])
    assert "damaged" in images.notes[0]


@pytest.mark.parametrize(
    "record", [b"1" * 2**18, b"2 " * 2**17 + b"=", b"x" * 2**18, b"5 a=\n" * 3 + b"0 a=\n", b"9" * 9 + b" a=\n"]
)
def test_pax_headers_that_cost_hours_or_all_memory_are_damage(tmp_path, record):
    """Python's tarfile looks for a number at each of a million digits, and keeps each of records that overlap."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    path = tmp_path / "a.tar"
    start = tar(tmp_path / "b.tar", [("0.png", X[0])]).read_bytes()[:1024]
    path.write_bytes(start + info.tobuf(tarfile.GNU_FORMAT) + record + bytes(-len(record) % 512))
    images = opened(path)
    assert np.array_equal(everything(images)[0], PIXELS[:1])
    assert "damaged" in images.notes[0]


def test_pax_headers_that_are_right_are_read(tmp_path):
    name = "é" * 120 + "/" + "7" * 200 + ".png"
    entries = [(name, X[0]), ("0" * 99 + "/1.png", X[1])]
    images = opened(tar(tmp_path / "a.tar", entries, format=tarfile.PAX_FORMAT, pax_headers={"comment": "all of it"}))
    assert len(images) == 2
    assert images.classes == ["0" * 99, "é" * 120]


@pytest.mark.parametrize("name", ["PK/0.png", "PKU.png", "BZh.png", "BZh9.png"])
def test_a_tar_is_one_whatever_its_first_file_is_called(tmp_path, name):
    assert len(opened(tar(tmp_path / "a.tar", [(name, X[0])]))) == 1


def test_what_is_no_file_in_a_tar_is_named(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("1.png", tarfile.SYMTYPE), ("2.png", tarfile.LNKTYPE), ("3.png", tarfile.FIFOTYPE),
                           ("4", tarfile.SYMTYPE), ("5.png", tarfile.DIRTYPE)):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "0.png"
            archive.addfile(info)
        info = tarfile.TarInfo("0.png")
        info.size = len(X[0])
        archive.addfile(info, io.BytesIO(X[0]))
    images = opened(tmp_path / "a.tar")
    assert len(images) == 1
    assert "skipped 3 of 4 files" in images.notes[0]
    assert "1.png (a link: pack with tar --dereference" in images.notes[0]
    assert "3.png (no file)" in images.notes[0]


# ---------------------------------------------------------------------------------------------------------------------
# .zip


@pytest.mark.parametrize("lie", [(2**64 - 1, 10, 0), (10, 2**64 - 1, 0), (10, 10, 2**64 - 1), (10, 10, 2**61)])
def test_impossible_lengths_in_a_zip_are_damage(tmp_path, lie):
    content = zipped(tmp_path / "a.zip", [("0.png", X[0]), ("1.png", X[1])]).read_bytes()
    first, second = content.index(b"PK\x01\x02"), content.rindex(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    header = bytearray(content[second:end])
    header[20:28] = header[42:46] * 0 + b"\xff" * 8
    header[42:46] = b"\xff" * 4
    extra = b"\x01\0\x18\0" + b"".join(value.to_bytes(8, "little") for value in lie)
    header[30:32] = len(extra).to_bytes(2, "little")
    table = content[first:second] + header + extra
    tail = bytearray(content[end:])
    tail[12:16] = len(table).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content[:first] + table + tail)
    images = opened(tmp_path / "a.zip")
    assert np.array_equal(everything(images)[0], PIXELS[:1])
    assert "1.png" in images.notes[0]


@pytest.mark.parametrize(
    ("name", "most"), [("dataset.json", 2**24), ("metadata.jsonl", 2**24), ("0.json", 2**21), ("0.txt", 2**17)]
)
def test_a_few_bytes_do_not_unpack_to_megabytes_of_words(tmp_path, name, most):
    """A table may have 4 kB for each image: 256 MB of [] in 250 kB became five gigabytes of objects."""
    images = opened(zipped(tmp_path / "a.zip", [("0.png", X[0]), (name, b" " * most)], zipfile.ZIP_DEFLATED))
    assert len(images) == 1
    assert f"{name} (has {most:,} bytes, and may have" in images.notes[0]


# ---------------------------------------------------------------------------------------------------------------------
# What is said of which image


def test_names_with_dots_keep_their_own_words(tmp_path):
    """WebDataset's key ends at the first dot, and 2024.05.jpg beside 2024.05.txt is not the sample 2024."""
    entries = [entry for i in range(3) for entry in ((f"v.{i}.txt", f"c{i}".encode()), (f"v.{i}.png", X[i]))]
    images = opened(tar(tmp_path / "a.tar", entries))
    assert np.array_equal(everything(images)[0], PIXELS[:3])
    assert list(images.captions) == ["c0", "c1", "c2"]
    images = opened(tar(tmp_path / "b.tar", [("v.2.png", X[2]), *entries[:4]]))  # one of them without a word
    assert list(images.captions) == ["", "c0", "c1"]
    sample = [("0.rgb.png", X[0]), ("0.depth.png", X[1]), ("0.more.json", b'{"label": 1}'), ("0.txt", b"word")]
    images = opened(tar(tmp_path / "c.tar", sample))
    assert np.array_equal(everything(images)[0], PIXELS[:1])
    assert everything(images)[1] == [1]
    assert list(images.captions) == ["word"]


def test_several_files_say_something_of_one_image(tmp_path):
    table = [("0.png", X[0]), ("0.cls", b"1"), ("metadata.jsonl", b'{"file_name": "0.png", "text": "hi"}\n')]
    edm = [("0/0.png", X[0]), ("0/0.txt", b"hi"), ("dataset.json", b'{"labels": [["0/0.png", 1]]}')]
    for path in (tar(tmp_path / "a.tar", table), zipped(tmp_path / "a.zip", edm)):
        images = opened(path)
        assert everything(images)[1] == [1]
        assert list(images.captions) == ["hi"]


def test_a_table_of_labels_is_of_its_own_folder(tmp_path):
    def table(*rows):
        return json.dumps({"labels": rows}).encode()

    entries = [("set/0/a.1.png", X[0]), ("set/0/a.2.png", X[1]), ("set/0/a.3.png", X[2])]
    labels = ("set/dataset.json", table(["0/a.1.png", 1], ["0/a.2.png", 0], ["0/9.png", 3]))
    images = opened(zipped(tmp_path / "a.zip", [*entries, labels]))
    assert everything(images)[1] == [1, 0, -1]
    assert images.notes == ["1 images that tables in the archives name are missing"]
    other = [("cat/0.png", X[0]), ("dog/1.png", X[1]), ("dataset.json", b'{"info": 1}')]  # of somebody else
    assert opened(zipped(tmp_path / "b.zip", other)).classes == ["cat", "dog"]


def test_no_label_is_said_in_many_ways(tmp_path):
    said = [("0.cls", b""), ("1.cls", b" -1\n"), ("2.json", b'{"label": -1}'), ("3.json", b'{"label": null, "class": 2}'),
            ("4.json", b'{"label": NaN}'), ("5.json", b'{"label": true}'), ("6.json", b'{"label": "1"}')]  # fmt: skip
    images = opened(tar(tmp_path / "a.tar", [*said, *((f"{i}.png", X[i]) for i in range(7))]))
    assert everything(images)[1] == [-1, -1, -1, 2, -1, -1, 1]
    assert images.classes == ["0", "1", "2"]
    with pytest.raises(fn.FromNoiseError) as caught:
        opened(tar(tmp_path / "b.tar", [("0.json", b'{"label": ' + b"1" * 4000 + b"}"), ("0.png", X[0])]))
    assert len(str(caught.value)) < 200


def test_of_two_files_of_one_name_the_words_are_of_one(tmp_path):
    entries = [("0.png", X[0]), ("0.cls", b"1"), ("0.png", X[1])]
    images = opened(tar(tmp_path / "a.tar", entries))
    assert len(images) == 1
    assert "left out 1 further images" in images.notes[0]


# ---------------------------------------------------------------------------------------------------------------------
# What a sample of the images cannot tell


def test_where_all_that_are_looked_into_are_broken_every_one_is(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr("fromnoise.data.encoded.LOOKED_INTO", 4)
    entries = [(f"{i:02d}.png", b"?") for i in range(12)]
    refused(tar(tmp_path / "a.tar", entries), "none of its 12 images", size=8, channels=3, memory=0)
    assert not recwarn.list


@pytest.mark.parametrize("memory", [0, 64])
def test_floating_point_pixels_that_are_met_late_are_not_clipped(tmp_path, monkeypatch, memory):
    """Of 0..63, all but the first was white."""
    monkeypatch.setattr("fromnoise.data.encoded.LOOKED_INTO", 4)
    deep = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.float32).reshape(8, 8)).save(deep, "TIFF")
    path = tar(tmp_path / "a.tar", [*((f"{i:02d}.png", X[i]) for i in range(11)), ("11.tif", deep.getvalue())])
    images = opened(path, size=8, channels=1, memory=memory, keep_depth=True)
    if memory:
        assert len(images) == 11
        assert "leave data.channels out" in images.notes[0]
    else:
        with pytest.warns(UserWarning, match=r"11\.tif .*leave data.channels out"):
            images.batch([11])
    whole = opened(path, size=8, memory=memory)
    assert whole.batch([11])[0][0, 0].flatten().tolist() == list(range(64))


def test_pages_that_are_not_read_are_counted(tmp_path):
    pages = io.BytesIO()
    first, *others = [Image.fromarray(pixels[0]) for pixels in PIXELS[:3]]
    first.save(pages, "TIFF", save_all=True, append_images=others)
    images = opened(tar(tmp_path / "a.tar", [("0.tif", pages.getvalue()), ("1.png", X[1])]), channels=1)
    assert len(images) == 2
    assert images.notes[0].startswith("took the first page of 1 TIFF files")


# ---------------------------------------------------------------------------------------------------------------------
# Tables, arrays, names


def table(path, **columns):
    import datasets

    kinds = {"image": datasets.Image(), **{name: kind for name, (kind, _) in columns.items()}}
    rows = {
        "image": [{"bytes": x, "path": None} for x in X[:3]],
        **{name: cells for name, (_, cells) in columns.items()},
    }
    datasets.Dataset.from_dict(rows, features=datasets.Features(kinds)).to_parquet(path)
    return path


def test_rows_without_a_label_have_none(tmp_path):
    import datasets

    names = datasets.ClassLabel(names=["cat", "dog"])
    for kind, cells, classes in (
        (datasets.Value("int64"), [1, None, 0], ["0", "1"]), (names, [1, None, 0], ["cat", "dog"]),
        (datasets.Value("string"), ["y", None, "x"], ["x", "y"]), (datasets.Value("uint8"), [1, None, 0], ["0", "1"]),
        (datasets.Value("float32"), [1.0, float("nan"), 0.0], ["0", "1"]),
    ):  # fmt: skip
        images = opened(table(tmp_path / "a.parquet", label=(kind, cells)), columns={"label": "label"})
        assert list(images.classes) == classes
        assert everything(images)[1] == [1, -1, 0]


def test_columns_of_the_wrong_kind_are_named(tmp_path, capfd):
    import datasets

    numbers = datasets.Sequence(datasets.Value("int64"))
    path = table(tmp_path / "a.parquet", tags=(numbers, [[1], [2, 3], []]), n=(datasets.Value("int64"), [0, 1, 2]))
    for column in ("tags", "image"):
        refused(path, f"the column '{column}' holds no classes", columns={"label": column})
    refused(path, "the column 'n' holds no images", columns={"image": "n"})
    assert list(opened(path, columns={"caption": "n"}).captions) == ["0", "1", "2"]
    (tmp_path / "b.parquet").write_bytes(b"PAR1" + b"x" * 100)
    refused(tmp_path / "b.parquet", "b.parquet: ")
    assert "Failed to read" not in capfd.readouterr().err


def test_columns_are_named_as_the_docs_do():
    config = fn.recipes.load("images").with_changes({"data.columns.image": "photo", "data.columns.label": "kind"})
    assert config.data.columns == {"image": "photo", "label": "kind"}
    with pytest.raises(fn.FromNoiseError, match="picture is none of image, label and caption"):
        fn.recipes.load("images").with_changes({"data.columns.picture": "photo"})


def test_a_batch_of_an_array_has_a_label_for_each(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS.astype(np.float32))
    pixels, labels = opened(tmp_path / "a.npy").batch([0] * 30)
    assert len(pixels) == len(labels) == 30


def test_channels_that_no_image_can_have(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    refused(tmp_path / "a.npy", "a.npy: images of 3 channels, but data.channels is 2", channels=2)
    with pytest.raises(fn.FromNoiseError, match="images of 1 channels, but data.channels is 5"):
        load(DataConfig(name="digits", channels=5))


def test_braces_that_mean_too_many_files(tmp_path):
    for name in ("{0..999999}{0..999999}.tar", "{0..99999999999}.tar", "{a,b}" * 40 + ".tar"):
        refused(tmp_path / name, "more than a million shards")
    refused(tmp_path / ("{0.." + "9" * 5000 + "}.tar"), "no such")
