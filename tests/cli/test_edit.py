"""`fromnoise edit`, as a person types it."""

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.app.cli import main


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    net = fn.nn.UNet(
        in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, attention=(), classes=3, null_label=True
    )
    folder = tmp_path_factory.mktemp("edit") / "model"
    names = ("ant", "bee", "cat")
    fn.save(fn.Denoiser(net, fn.schedules.Cosine(T=30), "v", "fixed_small", (1, 16, 16), names), folder)
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "a.png"
    Image.fromarray(np.arange(40 * 30 * 3, dtype=np.uint8).reshape(40, 30, 3)).save(path)
    return path


def call(*words):
    return main([str(w) for w in words])


@pytest.mark.parametrize(
    ("kind", "images", "options", "count"),
    [
        ("image-to-image", 1, ["--strength", 0.5, "--class", "bee"], 1 + 3),
        ("inpaint", 1, ["--mask", "MASK", "--repeats", 2], 2 + 3),
        ("upscale", 1, [], 1 + 3),
        ("interpolate", 2, [], 2 + 3),
        ("reconstruct", 1, ["--class", 2], 2),
    ],
)
def test_every_kind_writes_one_picture(model, photo, tmp_path, kind, images, options, count, capsys):
    if kind in ("interpolate", "reconstruct"):
        pytest.importorskip("torchdiffeq", reason="the ode extra is not installed")
    mask, small = tmp_path / "mask.png", tmp_path / "small.png"
    left = np.zeros((40, 30), np.uint8)
    left[:, 15:] = 255
    Image.fromarray(left).save(mask)
    Image.fromarray(np.full((4, 4), 200, np.uint8)).save(small)
    given = [small] if kind == "upscale" else [photo] * images
    options = [mask if o == "MASK" else o for o in options]
    out = tmp_path / "new" / f"{kind}.png"
    steps = [] if kind in ("interpolate", "reconstruct") else ["--sampler", "ddim", "--steps", 4]
    number = [] if kind == "reconstruct" else ["--n", 3]
    assert call("edit", kind, model, *given, "--out", out, *number, *steps, *options) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out)
    side = 2 + 18 * min(10, count)
    picture = np.asarray(Image.open(out))
    scale = picture.shape[1] // side
    assert picture.shape[1] == scale * side
    if kind == "inpaint":  # the right half of every drawing is the given image's
        tiles = picture[::scale, ::scale][2:18]
        first, drawn = tiles[:, 2:18], tiles[:, 2 + 3 * 18 : 18 + 3 * 18]
        assert np.abs(first[:, 8:].astype(int) - drawn[:, 8:]).max() <= 1
        assert np.abs(first[:, :8].astype(int) - drawn[:, :8]).max() > 20
    if kind == "reconstruct":
        assert "root mean square difference" in said.err


def test_bad_input_is_one_line_before_any_sampling(model, photo, tmp_path, capsys):
    text = tmp_path / "t.png"
    text.write_text("no image")
    white, wide = tmp_path / "white.png", tmp_path / "wide.png"
    Image.new("L", (30, 40), 255).save(white)
    Image.new("L", (40, 30)).save(wide)
    for words, message in [
        (("interpolate", model, photo), "takes 2 images, got 1"),
        (("inpaint", model, photo), "needs --mask"),
        (("upscale", model, photo, "--mask", photo), "edit upscale does not take --mask; it takes --n, --sampler"),
        (("reconstruct", model, photo, "--steps", 4), "edit reconstruct does not take --steps; it takes --class"),
        (("image-to-image", model, photo, "--guidance", 2), "name it with --class"),
        (("upscale", model, photo), "no whole multiple"),
        (("image-to-image", model, photo, "--strength", 0.5, "--steps", 1), "is less than one step: give at least 2"),
        (("inpaint", model, photo, "--mask", white), "the mask has no black"),
        (("inpaint", model, photo, "--mask", wide), "mask: is 30x40 pixels and the image"),
        (("image-to-image", model, photo, "--strength", 2), "strength must lie in (0, 1]"),
        (("image-to-image", model, tmp_path / "none.png"), "no such file"),
        (("image-to-image", model, text), "cannot be read as an image"),
        (("image-to-image", model, photo, "--class", "bea"), "no such class (did you mean bee)"),
        (("image-to-image", model, photo, "--n", 0), "--n must be at least 1"),
        (("interpolate", model, photo, photo, "--n", 1), "--n must be at least 2"),
        (("image-to-image", tmp_path / "nothing", photo), "nothing"),
    ]:
        assert call("edit", *words) == 2
        said = capsys.readouterr()
        assert message in said.err.replace("?", ""), said.err
        assert len(said.err.splitlines()) == 1
        assert not said.out


def test_a_mask_is_cut_as_its_image_is(model, tmp_path, monkeypatch):
    from fromnoise import editing

    seen = []
    original = editing.Inpaint.__post_init__
    monkeypatch.setattr(editing.Inpaint, "__post_init__", lambda self: (seen.append(self), original(self)))
    wide = np.zeros((40, 80), np.uint8)
    wide[:, 40:60] = 255
    for name in ("photo.png", "mask.png"):
        Image.fromarray(wide).save(tmp_path / name)
    words = ("--mask", tmp_path / "mask.png", "--n", 1, "--steps", 2, "--repeats", 1, "--out", tmp_path / "o.png")
    assert call("edit", "inpaint", model, tmp_path / "photo.png", *words) == 0
    assert torch.equal(seen[0].known[0] > 0, seen[0].x0[0] > 0)  # the same crop of the same picture
    assert (seen[0].known > 0).any()


@pytest.mark.parametrize("kind", ["image-to-image", "inpaint", "upscale"])
def test_the_model_is_told_the_class_or_that_there_is_none(model, photo, tmp_path, kind, monkeypatch):
    told = []
    original = fn.nn.UNet.forward
    monkeypatch.setattr(
        fn.nn.UNet, "forward", lambda self, x, time, label=None: (told.append(label), original(self, x, time, label))[1]
    )
    small = tmp_path / "small.png"
    Image.fromarray(np.full((4, 4), 200, np.uint8)).save(small)
    given = [small if kind == "upscale" else photo]
    extra = ["--mask", photo] if kind == "inpaint" else []
    common = ("--n", 2, "--steps", 2, "--sampler", "ddim", "--out", tmp_path / "o.png", *extra)
    assert call("edit", kind, model, *given, *common) == 0
    assert all(label is None or set(label.tolist()) == {3} for label in told)  # 3 is the label that stands for none
    told.clear()
    assert call("edit", kind, model, *given, *common, "--class", "bee") == 0
    assert all(set(label.tolist()) == {1} for label in told)  # without a recipe's word guidance is off
    told.clear()
    assert call("edit", kind, model, *given, *common, "--class", "bee", "--guidance", 2) == 0
    assert all(sorted(label.tolist()) == [1, 1, 3, 3] for label in told)
