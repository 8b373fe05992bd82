"""Images that are packed: shards, EDM's zip, tables and arrays are the same images as in a folder, or a line says why."""

import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.data import _members
from fromnoise.data.config import DataConfig
from fromnoise.data.feed import Feed
from fromnoise.data.loading import load

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)


def png(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, kind)
    return file.getvalue()


def tar(path, entries, **options):
    with tarfile.open(path, "w", **options) as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path, entries, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def samples(first, last):
    """WebDataset's: an image, its class, its caption."""
    for i in range(first, last):
        yield f"{i:06d}.png", png(PIXELS[i])
        yield f"{i:06d}.cls", str(i % 3).encode()
        yield f"{i:06d}.txt", f"picture\n {i}".encode()


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        tar(folder / f"part-{number:03d}.tar", samples(4 * number, 4 * number + 4))
    return folder


def opened(name, **options):
    return load(DataConfig(name=str(name), **options))


def everything(images):
    pixels, labels = images.batch(range(len(images)))
    return pixels.numpy(), labels.tolist()


def refused(name, *words, **options):
    with pytest.raises(fn.FromNoiseError) as caught:
        opened(name, **options)
    text = str(caught.value)
    assert "\n" not in text, text
    for word in words:
        assert word in text, text


# ---------------------------------------------------------------------------------------------------------------------
# Shards


@pytest.mark.parametrize("memory", [0, 64])
@pytest.mark.parametrize("name", ["", "part-{000..002}.tar", "part-*.tar", "part-00{0,1,2}.tar"])
def test_shards_are_the_images_in_them(shards, name, memory):
    images = opened(shards / name if name else shards, memory=memory)
    pixels, labels = everything(images)
    assert np.array_equal(pixels, PIXELS)
    assert labels == [i % 3 for i in range(12)]
    assert list(images.classes) == ["0", "1", "2"]
    assert list(images.captions) == [f"picture {i}" for i in range(12)]
    assert images.in_memory == (memory > 0)
    assert not images.notes


def test_labels_and_captions_come_in_json_too(tmp_path):
    entries = []
    for i, said in enumerate(({"label": "dog", "caption": "a  dog"}, {"class": "cat"}, {"text": "what?"}, [1])):
        entries += [(f"{i}.json", json.dumps(said).encode()), (f"{i}.png", png(PIXELS[i]))]
    images = opened(tar(tmp_path / "a.tar", entries))
    assert images.classes == ["cat", "dog"]
    assert everything(images)[1] == [1, 0, -1, -1]
    assert list(images.captions) == ["a dog", "", "what?", ""]
    assert images.notes == ["2 of 4 images have no caption"]
    mixed = [("0.cls", b"3"), ("0.png", png(PIXELS[0])), ("1.cls", b"cat"), ("1.png", png(PIXELS[1]))]
    refused(tar(tmp_path / "b.tar", mixed), "labels are numbers (3) and words (cat)")
    refused(tar(tmp_path / "c.tar", [("0.cls", b"9999999"), ("0.png", png(PIXELS[0]))]), "classes are 0, 1, 2")


def test_one_example_for_each_sample(tmp_path):
    """A mask beside an image is no image of its own; two images whose names share a beginning are two."""
    entries = [("0.png", png(PIXELS[0])), ("0.mask.png", png(PIXELS[1])), ("0.cls", b"0"), ("0.wav", b"?")]
    images = opened(tar(tmp_path / "a.tar", entries))
    assert np.array_equal(everything(images)[0], PIXELS[:1])
    assert images.notes == ["left out 1 files in the archives that are not images",
                            "left out 1 further images of samples that have several"]  # fmt: skip
    assert len(opened(tar(tmp_path / "b.tar", [("v.1.png", png(PIXELS[0])), ("v.2.png", png(PIXELS[1]))]))) == 2


@pytest.mark.parametrize("pack", [tar, zipped])
def test_a_packed_folder_has_the_classes_of_the_folder(tmp_path, pack):
    ending = "tar" if pack is tar else "zip"
    kinds = ["cat", "dog", "cat"]
    for root in ("", "./", "pets/", "./a/pets/"):
        entries = [(f"{root}{kind}/{i}.png", png(PIXELS[i])) for i, kind in enumerate(kinds)]
        entries += [(f"{root}.hidden/9.png", png(PIXELS[9])), ("__MACOSX/cat/._0.png", b"?")]
        images = opened(pack(tmp_path / f"a.{ending}", entries))
        assert images.classes == ["cat", "dog"]
        assert everything(images)[1] == [0, 1, 0]
        assert np.array_equal(everything(images)[0], PIXELS[:3])
    flat = pack(tmp_path / f"b.{ending}", [(f"photos/{i}.png", png(PIXELS[i])) for i in range(3)])
    assert not opened(flat).classes


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("labels", [True, False])
def test_edms_zip(tmp_path, kind, labels):
    names = [f"{i // 5:05d}/img{i:08d}.png" for i in range(12)]
    table = {"labels": [[name, (5 * i) % 4] for i, name in enumerate(names)] if labels else None}
    entries = [*((name, png(PIXELS[i])) for i, name in enumerate(names)), ("dataset.json", json.dumps(table))]
    images = opened(zipped(tmp_path / "set.zip", entries, kind), memory=0)
    assert np.array_equal(everything(images)[0], PIXELS)
    assert everything(images)[1] == ([(5 * i) % 4 for i in range(12)] if labels else [-1] * 12)
    assert list(images.classes) == (["0", "1", "2", "3"] if labels else [])


def test_a_run_resumes_in_the_middle_of_a_shard(shards, tmp_path):
    """Bit for bit, with no loader process and with two; and each of two processes reads its own half of a batch."""
    images = opened(shards, memory=0)
    whole = [batch for _, batch in zip(range(6), Feed(images, 3, 4, range(4)).from_step(1), strict=False)]
    for workers in (0, 2):
        resumed = Feed(images, 3, 4, range(4), workers=workers).from_step(3)
        for (x, told), (again, said) in zip(whole[2:], resumed, strict=False):
            assert torch.equal(x, again)
            assert torch.equal(told["label"], said["label"])
    for part in (range(2), range(2, 4)):
        own = Feed(images, 3, 4, part).from_step(1)
        assert all(torch.equal(x[part.start : part.stop], y) for (x, _), (y, _) in zip(whole, own, strict=False))

    def network():
        torch.manual_seed(0)
        net = fn.nn.UNet(in_channels=3, out_channels=3, channels=8, groups=4, mult=(1,), attention=())
        return fn.Denoiser(net, fn.schedules.Linear(T=50), shape=(3, 8, 8))

    def fit(out, steps):
        told = {"batch_size": 4, "progress": False, "resume": True, "out": tmp_path / out, "checkpoint_every": 2}
        return fn.fit(network(), (images if out == "a" else opened(shards, memory=0)), steps=steps, **told)

    wanted = fit("a", 5).model.network.state_dict()
    fit("b", 2)
    found = fit("b", 5).model.network.state_dict()
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)


def test_an_index_takes_no_object_for_an_image(tmp_path):
    """Places and names are numbers in a row: under 150 bytes for each image, whatever the images weigh."""
    entries = ((f"{i:08d}.png", b"") for i in range(3000))
    from fromnoise.data.archives import Archives

    source = Archives([tar(tmp_path / "a.tar", entries)], "a")
    assert source._rows.nbytes + len(source._names) < 150 * 3000
    assert len(source) == 3000


# ---------------------------------------------------------------------------------------------------------------------
# Damage


def test_a_cut_or_damaged_shard_says_where(tmp_path, shards):
    content = (shards / "part-000.tar").read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(content[:3000])
    images = opened(cut)
    assert len(images) == 1
    assert "cut.tar" in images.notes[0]
    headers = [i for i in range(0, len(content), 512) if content[i : i + 10] == b"000002.png"]
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(content[: headers[0]] + b"\xff" * 512 + content[headers[0] + 512 :])
    images = opened(damaged)
    assert len(images) == 2
    assert f"damaged at byte {headers[0]:,}" in images.notes[0]
    endless = tmp_path / "endless.tar"
    endless.write_bytes(content[: headers[0]])  # no end mark
    assert "cut off?" in opened(endless).notes[0]


def test_a_broken_image_in_an_archive_is_named(tmp_path):
    entries = [("0.png", png(PIXELS[0])), ("1.png", png(PIXELS[1])[:40]), ("2.png", png(PIXELS[2]))]
    images = opened(tar(tmp_path / "a.tar", entries))
    assert len(images) == 2
    assert "skipped 1 of 3 files" in images.notes[0]
    assert "a.tar: 1.png" in images.notes[0]


def test_of_many_images_in_archives_a_sample_is_looked_into(tmp_path, monkeypatch):
    """Where size and channels are given; what is broken among the rest is named when it is asked for."""
    monkeypatch.setattr("fromnoise.data.encoded.LOOKED_INTO", 4)
    entries = [(f"{i:02d}.png", png(PIXELS[i])[: 40 if i == 5 else None]) for i in range(12)]
    tar(tmp_path / "a.tar", entries)
    images = opened(tmp_path / "a.tar", memory=0, size=8, channels=3)
    assert len(images) == 12
    assert not images.notes
    with pytest.warns(UserWarning, match=r"a\.tar: 05\.png .*replaces it"):
        assert np.array_equal(images.batch([5])[0][0], PIXELS[6])
    assert len(opened(tmp_path / "a.tar", memory=0, channels=3)) == 11
    float_one = io.BytesIO()
    Image.fromarray(np.full((8, 8), 7.5, np.float32)).save(float_one, "TIFF")
    tar(tmp_path / "b.tar", [("00.tif", float_one.getvalue()), *entries[1:]])  # one scale needs a look at all
    assert len(opened(tmp_path / "b.tar", memory=0, size=8, channels=3)) == 11


def test_archives_that_cannot_be_read_by_the_image(tmp_path):
    import gzip

    path = tar(tmp_path / "a.tar", [("0.png", png(PIXELS[0]))])
    packed = tmp_path / "b.tar"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    refused(packed, "compressed as a whole", "gunzip it first")
    (tmp_path / "c.tar").write_bytes(b"hello" * 300)
    refused(tmp_path / "c.tar", "no image in 1 archives", "c.tar")
    (tmp_path / "d.zip").write_bytes(b"PK\x03\x04" + b"?" * 100)
    refused(tmp_path / "d.zip", "no image in 1 archives", "d.zip")
    refused(tar(tmp_path / "e.tar", [("0.wav", b"?")]), "no image in 1 archives")
    refused(tmp_path / "part-{0..3}.tar", "part-0.tar: no such file (4 of 4 are missing)")
    refused(tmp_path / "none.tar", "no such folder, and no such data set")
    refused("ftp://example.org/part-000.tar", "addresses of shards begin with")
    refused(path, "no test split", split="test")


def test_a_header_asks_for_no_more_memory_than_a_name_needs(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**34
    path = tmp_path / "a.tar"
    path.write_bytes(
        tar(tmp_path / "b.tar", [("0.png", png(PIXELS[0]))]).read_bytes()[:1024] + info.tobuf(tarfile.GNU_FORMAT)
    )
    images = opened(path)
    assert len(images) == 1
    assert "17,179,869,184 bytes" in images.notes[0]


def test_a_zip_that_lies_about_a_length(tmp_path):
    path = zipped(tmp_path / "a.zip", [("0.png", png(PIXELS[0])), ("1.png", png(PIXELS[1]))], zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        length = archive.infolist()[1].file_size
    content = path.read_bytes()
    central = content.rindex(b"PK\x01\x02")
    path.write_bytes(content[: central + 24] + (length - 5).to_bytes(4, "little") + content[central + 28 :])
    assert "its unpacked length is not the one" in opened(path).notes[0]
    path.write_bytes(content[: central + 24] + (2**31 - 1).to_bytes(4, "little") + content[central + 28 :])
    assert "an image may have at most" in opened(path).notes[0]


# ---------------------------------------------------------------------------------------------------------------------
# Tables


@pytest.fixture(scope="module")
def table():
    import datasets

    kinds = {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["a", "b"]), "text": datasets.Value("string"),
             "depth": datasets.Image(), "number": datasets.Value("int64")}  # fmt: skip
    pictures = [Image.fromarray(p.transpose(1, 2, 0)) for p in PIXELS]
    rows = {"picture": pictures, "kind": [i % 2 for i in range(12)], "text": [f"row {i}" for i in range(12)],
            "depth": pictures[::-1], "number": [i % 5 for i in range(12)]}  # fmt: skip
    return datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))


@pytest.mark.parametrize("form", ["file", "folder", "pattern", "saved"])
def test_tables_are_the_images_in_them(table, tmp_path, form):
    (tmp_path / "set").mkdir()
    if form == "saved":
        table.save_to_disk(tmp_path / "set")
    else:
        table.to_parquet(tmp_path / "set" / "0.parquet")
    name = {"file": tmp_path / "set" / "0.parquet", "pattern": tmp_path / "set" / "*.parquet"}.get(
        form, tmp_path / "set"
    )
    images = opened(name, memory=0)
    assert np.array_equal(everything(images)[0], PIXELS)
    assert images.classes == ["a", "b"]
    assert everything(images)[1] == [i % 2 for i in range(12)]
    assert list(images.captions) == [f"row {i}" for i in range(12)]
    other = opened(name, columns={"image": "depth", "label": "number"})
    assert np.array_equal(everything(other)[0], PIXELS[::-1])
    assert everything(other)[1] == [i % 5 for i in range(12)]
    assert list(other.captions) == [f"row {i}" for i in range(12)]
    refused(name, "'pictures'", "picture", columns={"image": "pictures"})
    refused(name, "kinds", "kind", columns={"label": "kinds"})


def test_a_table_without_images_says_so(tmp_path):
    import datasets

    datasets.Dataset.from_dict({"x": [1, 2]}).to_parquet(tmp_path / "0.parquet")
    refused(tmp_path / "0.parquet", "no column of images (x)", "data.columns.image")
    (tmp_path / "1.parquet").write_bytes(b"PAR1 what")
    refused(tmp_path / "1.parquet", "1.parquet: ")
    with pytest.raises(fn.FromNoiseError, match="image, label and caption"):
        fn.recipes.load("images").with_changes({"data.columns": {"picture": "x"}})


# ---------------------------------------------------------------------------------------------------------------------
# Arrays, and more than 8 bits


@pytest.mark.parametrize("layout", ["first", "last", "gray"])
def test_arrays_of_8_bits(tmp_path, layout):
    array = {"first": PIXELS, "last": PIXELS.transpose(0, 2, 3, 1), "gray": PIXELS[:, 0]}[layout]
    np.save(tmp_path / "a.npy", array)
    images = opened(tmp_path / "a.npy")
    assert np.array_equal(everything(images)[0], PIXELS[:, :1] if layout == "gray" else PIXELS)
    small = opened(tmp_path / "a.npy", size=4, channels=1)
    assert small.shape == (1, 4, 4)
    np.savez(tmp_path / "a.npz", array)
    if layout != "first":
        assert np.array_equal(everything(opened(tmp_path / "a.npz"))[0], everything(images)[0])


def test_arrays_keep_their_digits(tmp_path):
    """16 bits: 0..65535 is -1..1; floating point by the first of the ranges that holds all; 5 channels stay 5."""
    deep = np.random.default_rng(1).integers(0, 65536, (6, 5, 8, 8), dtype=np.uint16)
    np.save(tmp_path / "a.npy", deep)
    images = opened(tmp_path / "a.npy")
    assert images.shape == (5, 8, 8)
    assert np.allclose(everything(images)[0], deep / 32767.5 - 1, rtol=0, atol=1e-7)
    assert np.abs(everything(images)[0] - (2 * np.round(deep / 257) / 255 - 1)).max() > 1e-3  # 8 bits are fewer
    part = np.random.default_rng(2).random((6, 8, 8, 2), dtype=np.float32)
    np.save(tmp_path / "b.npy", part)
    images = opened(tmp_path / "b.npy")
    assert np.allclose(everything(images)[0], 2 * part.transpose(0, 3, 1, 2) - 1, rtol=0, atol=1e-6)
    assert any("0 is black and 1 is white" in note for note in images.notes)
    refused(tmp_path / "b.npy", "cannot be resized or converted", size=4)
    part[3, 1, 1, 0] = np.nan
    np.save(tmp_path / "b.npy", part)
    refused(tmp_path / "b.npy", "NaN")
    np.save(tmp_path / "c.npy", np.zeros((3, 40, 40, 40), np.uint8))
    refused(tmp_path / "c.npy", "axis 1 or 3 must be at most 16 channels")
    np.save(tmp_path / "d.npy", np.array([{}], object), allow_pickle=True)
    refused(tmp_path / "d.npy", "not a .npy of a plain array")
    np.save(tmp_path / "e.npy", np.zeros((3, 8, 8), np.int64))
    refused(tmp_path / "e.npy", "int64")


def test_five_channels_are_trained_and_drawn(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(1).integers(0, 65536, (6, 5, 8, 8), dtype=np.uint16))
    from fromnoise.app.cli import main

    small = ["--set", "network.channels=8", "network.groups=4", "network.mult=[1]", "network.attention=[]",
             "network.blocks=1", "data.size=null", "data.channels=null", "train.batch_size=4"]  # fmt: skip
    run = str(tmp_path / "run")
    assert main(["train", "images", "--data", str(tmp_path / "a.npy"), "--steps", "2", "--out", run, *small]) == 0
    assert main(["sample", run, "--n", "2", "--steps", "2", "--out", str(tmp_path / "x.npz")]) == 0
    assert np.load(tmp_path / "x.npz")["arr_0"].shape == (2, 8, 8, 5)
    assert main(["train", "images", "--steps", "3", "--out", run, "--resume"]) == 0


def test_bits_are_of_8_bits(tmp_path, capsys):
    from fromnoise.app.evaluation import bits_per_dim

    np.save(tmp_path / "a.npy", np.random.default_rng(1).random((6, 8, 8)))
    network = fn.nn.UNet(in_channels=1, out_channels=1, channels=8, groups=4, mult=(1,), attention=())
    denoiser = fn.Denoiser(network, fn.schedules.Linear(T=50), shape=(1, 8, 8))
    with pytest.raises(fn.FromNoiseError, match="bits per dimension need 8-bit images"):
        bits_per_dim(denoiser, opened(tmp_path / "a.npy"), 2)


@pytest.mark.parametrize("memory", [0, 64])
def test_deep_gray_images_keep_their_digits_where_asked(tmp_path, memory):
    values = np.random.default_rng(3).integers(0, 65536, (4, 8, 8), dtype=np.uint16)
    for i, value in enumerate(values):
        Image.fromarray(value).save(tmp_path / f"{i}.png")
    truth = values[:, None] / 32767.5 - 1
    found, _ = everything(opened(tmp_path, keep_depth=True, memory=memory))
    assert found.dtype == np.float32
    assert np.allclose(found, truth, rtol=0, atol=1e-7)
    rounded, _ = everything(opened(tmp_path, memory=memory))
    assert np.array_equal(rounded, np.round(values[:, None] / 257).astype(np.uint8))
    means, _ = everything(opened(tmp_path, keep_depth=True, memory=memory, reduce=2))
    assert np.allclose(means, truth.reshape(4, 1, 4, 2, 4, 2).mean((3, 5)), rtol=0, atol=1e-6)
    Image.fromarray(np.full((8, 8), 51, np.uint8)).save(tmp_path / "5.png")  # 8 bits among them: 51/255 = 0.2
    assert np.allclose(everything(opened(tmp_path, keep_depth=True))[0][4], -0.6, rtol=0, atol=1e-6)
    Image.new("RGB", (8, 8)).save(tmp_path / "6.png")
    refused(tmp_path, "images of 3 channels", "gray ones", keep_depth=True)


def test_each_page_of_a_tiff_is_an_image(tmp_path):
    pages = [Image.fromarray(PIXELS[i, 0]) for i in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    Image.fromarray(PIXELS[3, 0]).save(tmp_path / "z.png")
    for memory in (0, 64):
        assert np.array_equal(everything(opened(tmp_path, memory=memory))[0], PIXELS[:4, :1])


def test_a_smaller_copy_in_a_tiff_is_no_image(tmp_path):
    from PIL.TiffImagePlugin import AppendingTiffWriter, ImageFileDirectory_v2

    with AppendingTiffWriter(tmp_path / "a.tif", new=True) as writer:
        for i, side in ((0, 8), (1, 4)):
            info = ImageFileDirectory_v2()
            info[254] = int(i > 0)  # a reduced-resolution copy
            Image.fromarray(PIXELS[i, 0, :side, :side]).save(writer, "TIFF", tiffinfo=info)
            writer.newFrame()
    assert np.array_equal(everything(opened(tmp_path))[0], PIXELS[:1, :1])


def test_transparent_pixels_do_not_darken_what_is_shrunk(tmp_path):
    """A red square on clear black: half of the averaged pixels are clear, and what is seen of them stays red."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 3:, :] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found, _ = everything(opened(tmp_path, channels=4, reduce=2))
    assert found[0, :, 0, 1].tolist() == [255, 0, 0, 128]
    assert found[0, :, 0, 2].tolist() == [255, 0, 0, 255]
    assert found[0, 3, 0, 0] == 0


def test_members_are_read_where_there_is_no_pread(tmp_path, monkeypatch):
    """As on Windows."""
    (tmp_path / "file").write_bytes(bytes(range(100)))
    monkeypatch.delattr(_members.os, "pread")
    with (tmp_path / "file").open("rb") as file:
        window = _members.Window(file.fileno(), 10, 20)
        assert window.read(5) == bytes(range(10, 15))
        window.seek(15)
        assert window.read(50) == bytes(range(25, 30))
