"""Whatever lies in people's folders: right, or said."""

import importlib.util
import io

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.data import DataConfig, decode, load
from fromnoise.data.folder import read_image


def folder(path, **options):
    return load(DataConfig(name=str(path), **options))


def picture(path, value=100, size=(8, 8), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def floats(path, values):
    Image.fromarray(np.asarray(values, np.float32)).save(path)


def notes(images):
    return "\n".join(images.notes)


def test_folders_of_systems_and_programs_are_no_classes(tmp_path):
    picture(tmp_path / "cat" / "0.png")
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN", ".git"):
        picture(tmp_path / name / "0.png")
        picture(tmp_path / "cat" / name / "0.png")
    picture(tmp_path / "cat" / "._0.png")
    images = folder(tmp_path)
    assert (images.classes, len(images), notes(images)) == (["cat"], 1, "")


def test_the_content_decides_and_not_the_ending(tmp_path):
    for i, name in enumerate(("plain", "odd.dat", "wrong.jpg", "IMG_0001.JPG")):
        data = io.BytesIO()
        Image.new("L", (8, 8), 10 * i).save(data, "PNG")
        (tmp_path / name).write_bytes(data.getvalue())
    images = folder(tmp_path)
    assert sorted(images.pixels[:, 0, 0, 0].tolist()) == [0, 10, 20, 30]
    assert notes(images) == ""


@pytest.fixture
def without_heif(monkeypatch):
    """As where pillow-heif is not installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "pillow_heif" else found(name, *a)
    )
    had = Image.OPEN.pop("HEIF", None)
    for cached in (decode.formats, decode.endings):
        cached.cache_clear()
    yield
    if had:
        Image.OPEN["HEIF"] = had
    for cached in (decode.formats, decode.endings):
        cached.cache_clear()


@pytest.mark.usefixtures("without_heif")
def test_what_is_left_out_is_counted_and_named_with_the_way_out(tmp_path):
    picture(tmp_path / "0.png")
    heic = b"\0\0\0\x18ftypheic" + bytes(100)
    for i in range(95):
        (tmp_path / f"{i}.heic").write_bytes(heic)
    (tmp_path / "telephone").write_bytes(heic)
    (tmp_path / "telephone.jpg").write_bytes(heic)
    for name in ("a.mp4", "c.svg", "d.psd", "e.CR2", "f.bin", "g.zip"):
        (tmp_path / name).write_bytes(b"something")
    for name in ("0.txt", "classes.json", "labels.csv"):  # captions and labels are no missing images
        (tmp_path / name).write_text("a cat")
    images = folder(tmp_path)
    assert len(images) == 1
    said = notes(images)
    assert '95 .heic, 1 without an ending (HEIC, which needs pip install "fromnoise[heif]")' in said
    for part in ("1 .mp4 (videos", "1 .svg (drawings", "1 .psd (files of editors", "1 .cr2 (raw", "1 .bin (no images)",
                 "1 .zip (archives"):  # fmt: skip
        assert part in said
    assert "telephone.jpg (HEIC, which needs" in said
    assert ".txt" not in said
    assert len(images.notes) == 2
    assert all(note.isprintable() for note in images.notes)


@pytest.mark.usefixtures("without_heif")
def test_a_folder_of_telephone_pictures_names_the_way(tmp_path):
    (tmp_path / "0.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(fn.FromNoiseError, match=r"no image in this folder.*1 \.heic \(HEIC, which needs pip install"):
        folder(tmp_path)


def test_telephone_pictures_are_read_where_they_can_be(tmp_path):
    decode.formats()  # registers them
    for name in ("a.heic", "b.HEIF", "c.jpg", "d"):
        data = io.BytesIO()
        Image.new("RGB", (64, 64), (200, 30, 30)).save(data, "HEIF", quality=90)
        (tmp_path / name).write_bytes(data.getvalue())
    images = folder(tmp_path)
    assert (len(images), notes(images)) == (4, "")
    assert (images.pixels.float().mean((0, 2, 3)) - torch.tensor([200.0, 30, 30])).abs().max() < 3


@pytest.mark.parametrize(("values", "wanted", "ends"), [
    ([[[0.0, 0.25]], [[0.5, 1.0]]], [[0, 64], [128, 255]], "0 is black and 1 is white"),
    ([[[-1.0, 0.0]], [[0.5, 0.999]]], [[0, 128], [191, 255]], "-1 is black and 1 is white"),
    ([[[0.0, 0.25]], [[0.5, 200.0]]], [[0, 0], [0, 200]], "0 is black and 255 is white"),
    ([[[0.0, 257.0]], [[514.0, 65535.0]]], [[0, 1], [2, 255]], "0 is black and 65535 is white"),
    ([[[-200.0, 50.0]], [[0.0, 300.0]]], [[0, 128], [102, 255]], "-200 is black and 300 is white"),
])  # fmt: skip
@pytest.mark.parametrize("memory", [0, 100], ids=["streamed", "held"])
def test_floating_point_images_have_the_folders_scale(tmp_path, values, wanted, ends, memory):
    for i, value in enumerate(values):
        floats(tmp_path / f"{i}.tif", value)
    images = folder(tmp_path, memory=memory)
    pixels, _ = images.batch([0, 1])
    assert (pixels[:, 0, 0].int() - torch.tensor(wanted)).abs().max() <= 1
    assert ends in notes(images)


def test_floating_point_images_that_are_not_finite_are_named(tmp_path):
    floats(tmp_path / "0.tif", [[0.0, 1.0]])
    floats(tmp_path / "1.tif", [[np.nan, 1.0]])
    floats(tmp_path / "2.tif", [[np.inf, 1.0]])
    images = folder(tmp_path)
    assert len(images) == 1
    assert "1.tif (NaN among its floating point pixels)" in notes(images)
    assert "2.tif (infinity among its floating point pixels)" in notes(images)


@pytest.mark.parametrize("kind", ["PPM", "TIFF", "PNG"])
def test_16_bits_are_of_65535_whatever_the_brightest_is(tmp_path, kind):
    values = np.array([[200, 300, 60000]], np.uint16)
    if kind == "PPM":
        (tmp_path / "0.pgm").write_bytes(b"P5 3 1 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(tmp_path / ("0.tif" if kind == "TIFF" else "0.png"))
    assert folder(tmp_path).pixels.flatten().tolist() == [1, 1, 233]


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (28, 28), (100, 3)])
@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_thin_images_fit(tmp_path, size, fit):
    picture(tmp_path / "0.png", 77, size)
    images = folder(tmp_path, size=28, fit=fit)
    assert images.pixels.shape == (1, 1, 28, 28)
    assert images.pixels.float().mean() == 77


def test_portraits_are_turned_before_their_size_is_taken(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    for i in range(2):
        Image.new("RGB", (16, 8), (255, 0, 0)).save(tmp_path / f"{i}.jpg", exif=exif)
    assert folder(tmp_path).shape == (3, 16, 8)


def test_large_jpegs_are_read_at_reduced_size(tmp_path, monkeypatch):
    """As 108 megapixels are with the usual limit: what is decoded stays below it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    Image.new("L", (400, 300), 90).save(tmp_path / "0.jpg", quality=50)
    with decode.opened(tmp_path / "0.jpg", (28, 28)) as image:
        image.load()
        assert image.size == (100, 75)
    images = folder(tmp_path, size=28)
    assert (images.pixels.shape, notes(images)) == ((1, 1, 28, 28), "")
    assert (images.pixels.float() - 90).abs().max() <= 1
    with pytest.raises(fn.FromNoiseError, match=r"0\.12 megapixels; give data\.size to shrink it"):
        folder(tmp_path)
    with pytest.raises(fn.FromNoiseError, match=r"too large for a data\.size of 120"):
        folder(tmp_path, size=120)
    monkeypatch.setattr(decode, "_LARGEST_JPEG", 100_000)
    with pytest.raises(fn.FromNoiseError, match=r"0\.12 megapixels, but a JPEG may have at most 0\.1"):
        folder(tmp_path, size=28)


def test_large_images_of_other_formats_stay_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    Image.new("L", (400, 300)).save(tmp_path / "0.png")
    with pytest.raises(fn.FromNoiseError, match="none of its 1 images can be read"):
        folder(tmp_path, size=28)


def clear(path):
    """Red on the left, nothing on the right."""
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:, :2] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(path)


def test_transparency_is_laid_on_the_background_or_kept(tmp_path):
    clear(tmp_path / "0.png")
    for name, colour in (("white", [255, 255, 255]), ("black", [0, 0, 0]), ("#102030", [16, 32, 48])):
        pixels = folder(tmp_path, background=name).pixels[0]
        assert pixels[:, 0, 0].tolist() == [255, 0, 0]
        assert pixels[:, 0, 3].tolist() == colour
    kept = folder(tmp_path, channels=4).pixels[0]
    assert kept[:, 0, 0].tolist() == [255, 0, 0, 255]
    assert kept[3, 0, 3] == 0
    assert read_image(tmp_path / "0.png", 4, None).shape == (4, 4, 4)


def test_four_channels_of_images_without_any_are_opaque(tmp_path):
    picture(tmp_path / "0.png", 50)
    assert folder(tmp_path, channels=4).pixels[0, :, 0, 0].tolist() == [50, 50, 50, 255]
    assert load(DataConfig(name="digits", channels=4)).pixels[0, 3].min() == 255


def test_a_background_that_is_no_colour_is_named():
    with pytest.raises(fn.FromNoiseError, match=r"data\.background"):
        fn.recipes.load("digits").with_changes({"data.background": "redd"})


def test_grids_show_what_is_transparent_on_squares():
    """Opaque pixels as they are, the others on two grays in turn."""
    from fromnoise.system.disk.pictures import grid

    pixels = torch.zeros(1, 4, 32, 32, dtype=torch.uint8)
    pixels[:, 0], pixels[:, 3, :, :16] = 255, 255
    shown = np.asarray(grid(pixels, side=32, gap=0))
    assert (shown[:, :16] == (255, 0, 0)).all()
    assert len(np.unique(shown[:, 16:].reshape(-1, 3), axis=0)) == 2


@pytest.mark.parametrize("memory", [0, 100], ids=["streamed", "held"])
def test_captions_are_the_texts_beside_the_images(tmp_path, memory):
    for i, name in enumerate(("a.png", "b.png", "sub/c.png", "sub/d.png")):
        picture(tmp_path / name, i)
    (tmp_path / "a.txt").write_text("a black\n square ")
    (tmp_path / "notes.txt").write_bytes(b"\xff of no image")
    (tmp_path / "sub" / "metadata.jsonl").write_text(
        '{"file_name": "c.png", "text": "a gray square"}\n\n{"file_name": "d.png", "caption": "another"}\n'
    )
    images = folder(tmp_path, memory=memory)
    assert images.captions == ["a black square", "", "a gray square", "another"]
    assert [int(images.batch([i])[0].flatten()[0]) for i in range(4)] == [0, 1, 2, 3]
    assert notes(images) == "1 of 4 images have no caption"
    (tmp_path / "a.png").write_bytes(b"broken")
    assert folder(tmp_path, memory=memory).captions == ["", "a gray square", "another"]


def test_without_a_word_there_are_no_captions(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "README.txt").write_text("of the folder")
    images = folder(tmp_path)
    assert (list(images.captions), notes(images)) == ([], "")


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.txt", b"\xff\xfe", "a.txt: is not text"), ("a.txt", b"x" * 70_000, "a.txt: is larger than"),
    ("metadata.jsonl", b'{"file_name": "a.png"}', "line 1: is not an object with file_name and text"),
    ("metadata.jsonl", b"\n[1]", "line 2: is not an object with file_name and text"),
    ("metadata.jsonl", b'{"file_name": 3, "text": {}}', "line 1: is not an object"),
    ("metadata.jsonl", b"[" * 100_000, "line 1: is nested too deeply"), ("metadata.jsonl", b"{", "line 1: not readable as JSON"),
])  # fmt: skip
def test_captions_that_cannot_be_read_are_named(tmp_path, name, content, said):
    picture(tmp_path / "a.png")
    (tmp_path / name).write_bytes(content)
    images = folder(tmp_path)
    assert (len(images), list(images.captions)) == (1, [])
    assert said in notes(images)
    assert notes(images).isprintable()
