"""What `eval` says of copies: of samples, of held-out images, in pixels and in features, and its picture."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.app.evaluation import reference
from fromnoise.app.evaluation.memorisation import Learned, memorisation
from fromnoise.data.images import InMemory
from fromnoise.metrics import distance, summarise
from fromnoise.metrics.features import Extractor, Features


class Rows(Extractor):
    """Sixteen features of an image: its first two rows."""

    suffix, dimensions, hash, about = "-rows", 16, "7" * 64, {"kind": "rows"}

    def __call__(self, pixels):
        return Features(pixels.float().flatten(1)[:, :16], pixels.float().flatten(1)[:, :4].softmax(1))


def images(n=80, seed=0):
    return torch.randint(0, 256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def config(**changes):
    return fn.recipes.load("digits").with_changes({"data.hold_out": 0.25, "seed": 3, **changes})


def found(samples, learned):
    extractor = Rows()
    against = reference(learned.images, "rows", extractor)
    return memorisation(samples, summarise(batches_of(samples), len(samples), extractor), learned, against, extractor)


def batches_of(samples):
    return ((i, samples[i : i + 7]) for i in range(0, len(samples), 7))


@pytest.fixture
def toys():
    return InMemory("toys", images())


def test_the_division_is_that_of_training(toys):
    learned = Learned.of(toys, config(), 5, None)
    rest, held = toys.split(0.25, 3)
    assert np.array_equal(learned.numbers, rest.numbers)
    assert np.array_equal(learned.held_out, held.numbers)
    assert len(Learned.of(toys, config(**{"data.hold_out": 0.0}), 5, None).held_out) == 0


def test_copies_of_what_was_learned_are_counted_and_of_what_was_held_out_are_not(toys):
    learned = Learned.of(toys, config(), 20, None)
    own, apart = toys.pixels[learned.numbers], toys.pixels[learned.held_out]
    said = found(torch.cat([own[:10], images(10, seed=9)]), learned)
    assert said["near_copies"] == {"pixels": 0.5, "features": 0.5}
    assert said["training_images"] == {"pixels": 60, "features": 60}
    assert said["held_out"]["near_copies"] == {"pixels": 0.0}
    assert found(apart, learned)["near_copies"] == {"pixels": 0.0, "features": 0.0}


def test_the_distances_to_held_out_images_are_those_of_as_many(toys):
    learned = Learned.of(toys, config(), 20, None)
    samples = images(40, seed=5)
    said = found(samples, learned)["held_out"]
    assert said["n"] == len(learned.held_out) == 20

    def statistics(pixels):
        x = pixels.double().flatten(1)[:, :16]
        return x.mean(0), x.T.cov()

    truth = distance(*statistics(samples), *statistics(toys.pixels[learned.held_out])).item()
    assert said["FD-rows"] == pytest.approx(truth, rel=1e-6)
    assert said["FD-rows of as many training images"] != pytest.approx(truth, rel=1e-3)


def test_the_picture_shows_the_copy_first(toys, tmp_path):
    """A row: the sample, its nearest in pixels, its nearest in features; mirror images as they were learned."""
    learned = Learned.of(toys, config(**{"data.flip": True, "data.hold_out": 0.0}), 3, tmp_path / "nearest.png")
    samples = torch.cat([images(2, seed=9), toys.pixels[[5]].flip(-1)])
    said = found(samples, learned)
    assert said["near_copies"]["pixels"] == pytest.approx(1 / 3)
    sheet = np.asarray(Image.open(said["picture"]).convert("L"))
    side = sheet.shape[1] / (9 * 10 + 2)  # nine columns of 8 pixels and gaps of 2
    small = sheet[int(side / 2) :: int(side), int(side / 2) :: int(side)]
    row = [small[2:10, 2 + 10 * i : 10 + 10 * i] for i in range(9)]
    assert np.array_equal(row[0], samples[2, 0].numpy())
    assert np.array_equal(row[2], samples[2, 0].numpy())  # the training image, turned as the sample is
    assert not row[1].any()
    assert not row[5].any()


def test_few_training_images_and_many_of_one(tmp_path):
    """One is no neighbour of another, nor has it a covariance; a copy of what is there five times comes first."""
    ten = InMemory("ten", images(10))
    assert "held_out" not in found(images(20, seed=5), Learned.of(ten, config(**{"data.hold_out": 0.9}), 5, None))
    one = InMemory("one", images(1))
    picture = tmp_path / "nearest.png"
    said = found(images(3, seed=5), Learned.of(one, config(**{"data.hold_out": 0.0}), 3, picture))
    assert said["near_copies"] == {"pixels": 0.0, "features": 0.0}
    assert picture.is_file()
    same = InMemory("same", torch.cat([images(1, seed=7).repeat(6, 1, 1, 1), images(6)]))
    samples = torch.cat([images(2, seed=5), same.pixels[:1]])
    found(samples, Learned.of(same, config(**{"data.hold_out": 0.0}), 3, picture))
    shown = np.asarray(Image.open(picture).convert("L"))
    side = shown.shape[1] // (9 * 10 + 2)
    assert np.array_equal(shown[2 * side : 10 * side : side, 2 * side : 10 * side : side], same.pixels[0, 0].numpy())


def test_eval_says_it(tmp_path, capsys):
    """Through the command, with a report, a picture and a line; --nearest 0 leaves it out."""
    for i, pixels in enumerate(images(30)):
        Image.fromarray(pixels[0].numpy()).resize((28, 28), Image.Resampling.NEAREST).save(tmp_path / f"{i}.png")
    (tmp_path / "pictures").mkdir()
    for path in tmp_path.glob("*.png"):
        path.rename(tmp_path / "pictures" / path.name)
    run = tmp_path / "run"
    small = ["network.channels=8", "network.groups=4", "network.mult=[1]", "network.attention=[]", "network.blocks=1",
             "train.batch_size=8", "data.hold_out=0.2", "sample.steps=2"]  # fmt: skip
    told = ["train", "digits", "--data", str(tmp_path / "pictures"), "--steps", "2", "--out", str(run), "--set", *small]
    assert main(told) == 0
    capsys.readouterr()
    assert main(["eval", str(run), "--n", "12"]) == 0
    said = capsys.readouterr()
    report = json.loads((run / "eval.json").read_text())["memorisation"]
    assert report["n"] == 12
    assert report["training_images"]["pixels"] == 24
    assert report["held_out"]["n"] == 6
    assert "near-copies in pixels   0.0000" in said.out
    assert "FD-digits of 6 held-out images" in said.out
    assert "12 samples against 24 training images" in said.err
    assert (run / "nearest.png").is_file()
    assert main(["eval", str(run), "--n", "12", "--nearest", "0"]) == 0
    assert "memorisation" not in json.loads((run / "eval.json").read_text())
    assert main(["eval", str(run), "--n", "12", "--nearest", "10001"]) == 2  # more than features are kept of
    assert "--nearest must be from 1 to 10,000" in capsys.readouterr().err
    assert main(["eval", str(run), "--n", "12", "--nearest", "4", "--data", str(tmp_path / "pictures")]) == 2
    assert "--nearest compares with the images that the run was trained on" in capsys.readouterr().err
