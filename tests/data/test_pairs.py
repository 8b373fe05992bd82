"""Pairs: an image and what the network is shown beside it are never parted, from the folder to the sample."""

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.app import runs
from fromnoise.app.cli import main
from fromnoise.data.config import DataConfig
from fromnoise.data.feed import Feed
from fromnoise.data.loading import load
from fromnoise.train.pipeline import Pipeline

COLOURS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
GRAYS = np.stack([np.asarray(Image.fromarray(c).convert("L")) for c in COLOURS])
SMALL = ["network.channels=8", "network.groups=4", "network.mult=[1]", "network.attention=[]", "network.blocks=1",
         "train.batch_size=4", "data.size=8", "sample.steps=2"]  # fmt: skip


@pytest.fixture
def folders(tmp_path):
    """Colour images in classes, and their gray copies under the same names."""
    for i in range(12):
        name = f"{'cat' if i % 3 else 'dog'}/{i:02d}"
        for folder, pixels, ending in (("colour", COLOURS[i], "png"), ("gray", GRAYS[i], "bmp")):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.{ending}")
    return tmp_path / "colour", tmp_path / "gray"


def opened(folders, **options):
    return load(DataConfig(name=str(folders[0]), pairs=str(folders[1]), **options))


def gray_of(x):
    """Of images in [-1, 1], as Pillow has it, to a gray value."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return (x * weights).sum(1, keepdim=True)


@pytest.mark.parametrize("memory", [0, 64])
def test_each_has_the_partner_of_its_name(folders, memory):
    pairs = opened(folders, memory=memory)
    x, told = pairs.examples(range(12))
    assert pairs.shape == (3, 8, 8)
    assert x.dtype == torch.uint8
    assert told["image"].shape == (12, 1, 8, 8)
    assert torch.allclose(told["image"], gray_of(x / 127.5 - 1), rtol=0, atol=0.01)
    assert told["label"].tolist() == pairs.batch(range(12))[1].tolist()
    assert pairs.classes == ["cat", "dog"]
    rest, held = pairs.split(0.25, 0)
    for part in (rest, held):
        x, told = part.examples(range(len(part)))
        assert torch.allclose(told["image"], gray_of(x / 127.5 - 1), rtol=0, atol=0.01)
    assert pairs.content() != load(DataConfig(name=str(folders[0]))).content()


@pytest.mark.parametrize("memory", [0, 64])
@pytest.mark.parametrize("which", [0, 1])
def test_a_broken_half_takes_its_partner_with_it(folders, memory, which):
    """Before training it is left out and named; later the next pair stands in, as a whole."""
    path = sorted(folders[which].rglob("*.*"))[4]
    path.write_bytes(b"no image")
    pairs = opened(folders, memory=memory)
    assert len(pairs) == 11
    assert path.name in pairs.notes[0]
    x, told = pairs.examples(range(11))
    assert torch.allclose(told["image"], gray_of(x / 127.5 - 1), rtol=0, atol=0.01)
    if memory == 0:
        sorted(folders[which].rglob("*.*"))[7].write_bytes(b"no image")
        with pytest.warns(UserWarning, match="replaces it"):
            x, told = pairs.examples(range(11))
        assert torch.allclose(told["image"], gray_of(x / 127.5 - 1), rtol=0, atol=0.01)


def test_what_has_no_partner_is_named(folders, tmp_path):
    next(folders[1].rglob("*.bmp")).unlink()
    with pytest.raises(fn.FromNoiseError, match="1 of 12 images have no image of the same name"):
        opened(folders)
    with pytest.raises(fn.FromNoiseError, match=r"leave data\.reduce"):
        opened(folders, reduce=2)
    with pytest.raises(fn.FromNoiseError, match="needs a folder of images, and digits is not one"):
        load(DataConfig(name="digits", pairs=str(folders[1])))


def test_what_is_mirrored_is_mirrored_together(folders):
    """Half of the examples; a condition that is no image, and one of points, stays."""
    pairs = opened(folders)
    feed = Feed(pairs, 0, 12, range(12), flip=True)
    network = fn.nn.UNet(in_channels=3, channels=8, groups=4, mult=(1,), attention=(), image_channels=1,
                         image_strength=False, classes=2, null_label=True)  # fmt: skip
    denoiser = fn.Denoiser(network, fn.schedules.Linear(T=20), shape=(3, 8, 8), class_names=("cat", "dog"))
    task = fn.train.Diffusion(denoiser, fn.objectives.build("simple"), fn.train.Conditioning(denoiser, pairs))
    with Pipeline(feed, task, fn.hardware.choose("fp32")).from_step(1) as steps:
        ready = next(steps)
    assert 0 < ready.mirrored.sum() < 12
    x0 = ready.states()
    assert torch.allclose(ready.drawn["image"], gray_of(x0), rtol=0, atol=0.01)
    plain = torch.stack([torch.from_numpy(COLOURS[i]).permute(2, 0, 1) for i in range(12)]) / 127.5 - 1
    assert any(torch.equal(x0[i], other.flip(-1)) for i in range(12) for other in plain)

    from fromnoise.data.feed import mirror_beside

    every = torch.ones(4, dtype=torch.bool)
    points = {"label": torch.arange(4), "where": torch.arange(8.0).view(4, 2)}
    assert torch.equal(mirror_beside(points, torch.zeros(4, 2), every)["where"], points["where"])
    assert torch.equal(mirror_beside(points, torch.zeros(4, 3, 8, 8), every)["label"], points["label"])
    words = {"text": torch.randn(4, 3, 8)}  # 3 rows of 8 numbers, as a signal of 3 channels and 8 places
    assert torch.equal(mirror_beside(words, torch.zeros(4, 3, 8), every)["text"], words["text"])


def test_a_run_of_pairs_from_folders_to_figures(folders, tmp_path, capsys):
    run = tmp_path / "run"
    told = ["train", "images", "--data", str(folders[0]), "--steps", "2", "--out", str(run), "--set", *SMALL]
    assert main([*told, f"data.pairs={folders[1]}", "train.sample_every=2"]) == 0
    assert next((run / "samples").iterdir()).is_file()
    assert main(["train", "images", "--steps", "3", "--out", str(run), "--resume"]) == 0

    for place in ("x.png", "x.npz", "x.gif", "folder"):
        assert main(["sample", str(run), "--n", "3", "--out", str(tmp_path / place)]) == 0
    sheet = np.asarray(Image.open(tmp_path / "x.png").convert("RGB"))[::10, ::10]
    assert sheet.shape[:2] == (12, 62)  # three rows would be wrong: 3 pairs beside each other
    shown = load(DataConfig(name=str(folders[0]), pairs=str(folders[1]), size=8)).beside.batch(
        [int(fn.rng.permutation(0, 0, 12)[0])]
    )[0][0, 0]
    assert np.array_equal(sheet[2:10, 2:10, 0], shown.numpy())

    model = runs.open_model(run).with_images()
    own = model.told(range(10, 14))
    assert own["label"].tolist() == [int(model.beside.batch([i % 12])[1]) for i in range(10, 14)]
    assert torch.equal(own["image"][2], fn.data.images.to_unit(model.beside.batch([0])[0])[0])
    whole = runs.draw(model, 8, model.choice(), 0)
    assert torch.equal(runs.draw(model, 4, model.choice(), 0, first=4), whole[4:])
    other = runs.open_model(run).with_images(str(folders[1] / "dog"))
    assert not torch.equal(runs.draw(other, 8, other.choice(), 0), whole)

    capsys.readouterr()
    assert main(["sample", str(run), "--pairs", str(tmp_path / "none"), "--out", str(tmp_path / "y.png")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["edit", "image-to-image", str(run), str(next(folders[0].rglob("*.png")))]) == 2
    assert "this model is conditioned on images" in capsys.readouterr().err
    assert main(["nll", str(run), "--n", "4"]) == 0
    with pytest.raises(fn.FromNoiseError, match="and none are given"):
        runs.draw(runs.open_model(run), 2, model.choice(), 0)


def test_the_network_looks_at_what_it_is_shown(folders):
    """Trained on pairs whose gray copy says the image: the loss that remains is less than without the copy."""
    pairs = opened(folders)

    def loss(**options):
        torch.manual_seed(0)
        network = fn.nn.UNet(in_channels=3, channels=16, groups=4, mult=(1,), blocks=1, attention=(), **options)
        denoiser = fn.Denoiser(network, fn.schedules.Cosine(T=50), "x0", shape=(3, 8, 8))
        data = pairs if options else load(DataConfig(name=str(folders[0])))
        seen = []
        fn.fit(denoiser, data, steps=150, batch_size=12, lr=3e-3, ema=0, progress=False, seed=1,
               callbacks=[lambda line: seen.append(line["loss"])])  # fmt: skip
        return sum(seen[-30:])

    assert loss(image_channels=1, image_strength=False) < 0.8 * loss()


def test_what_cannot_be_shown_pairs_says_so(folders):
    with pytest.raises(fn.FromNoiseError, match="a latent, a super-resolution or an unCLIP model"):
        fn.recipes.load("digits-latent").for_images(opened(folders), print)
    options = {"in_channels": 3, "channels": 8, "groups": 4, "mult": (1,), "attention": ()}
    shown = fn.nn.UNet(**options, image_channels=1, image_strength=False, augment=True)
    denoiser = fn.Denoiser(shown, fn.schedules.Linear(T=20))
    with pytest.raises(fn.FromNoiseError, match="these are pairs"):
        fn.fit(denoiser, opened(folders), steps=1, batch_size=2, augment=0.5, progress=False)
    plain = fn.Denoiser(fn.nn.UNet(**options), fn.schedules.Linear(T=20))
    model = runs.Model(plain, folders[0], "", None, None, True, "fp32")
    with pytest.raises(fn.FromNoiseError, match="this model takes no conditioning images"):
        model.with_images(str(folders[1]))
