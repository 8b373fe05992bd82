"""unCLIP on the command line: trained with an image-text model, sampled by words, and images changed by it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.app.cli import main

SIZE = ["data.size=8", "data.workers=0", "train.batch_size=4", "train.sample_every=1", "network.channels=8",
        "network.groups=4", "network.blocks=1", "network.mult=[1,2]", "network.attention=[2]",
        "text.encoder={name: learned, vocabulary: 300, length: 8}", "stages.prior.network.width=16", "stages.prior.network.depth=1", "stages.prior.train.batch_size=4"]  # fmt: skip
CAPTIONS = ["red heart", "blue heart", "red circle", "blue circle", "green square", "green heart"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for i, text in enumerate(CAPTIONS):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(root / f"{i}.png")
        (root / f"{i}.txt").write_text(text)
    return root


@pytest.fixture(scope="module")
def image_text(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "image-text"
    encoder = fn.text.Learned(vocabulary=300, length=8).fitted(CAPTIONS)
    torch.manual_seed(0)
    network = fn.nn.ImageTextNetwork({"width": 16} | encoder.options, outputs=6, channels=8, mult=(1, 2), groups=4)
    fn.save(fn.guidance.ImageText(network, fn.schedules.Cosine(), (3, 8, 8), encoder), place)
    return place


def command(photos, image_text, out):
    return ["train", "emoji-unclip", "--data", str(photos), "--out", str(out), "--image-text", str(image_text),
            "--steps", "2", "--resume", "--set", *SIZE]  # fmt: skip


@pytest.fixture(scope="module")
def run(photos, image_text, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "unclip"
    assert main(command(photos, image_text, out)) == 0
    for stage in ("prior", "decoder"):  # weights that say something: two steps leave them near zero
        checkpoint = next((out / stage / "checkpoints").glob("step-*"))
        found = fn.load(checkpoint, ema=False)
        assert found.shape == ((6,) if stage == "prior" else (3, 8, 8))
    return out


def drawn(out):
    return np.load(out)["arr_0"]


def test_prior_and_decoder_are_trained_beside_the_image_text_model(run, photos, image_text, capsys):
    assert sorted(p.name for p in run.iterdir() if p.is_dir()) == ["decoder", "image-text", "prior"]
    assert json.loads((run / "image-text" / "image-text.json").read_text())["network"]["outputs"] == 6
    assert not (run / "prior" / "samples").exists()
    assert (run / "decoder" / "samples").exists()
    decoder = fn.load(run / "decoder")
    assert fn.compose.unclip.embedding_size(decoder) == 6
    assert decoder.text is None
    assert fn.load(run / "prior").text is not None
    capsys.readouterr()
    assert main(command(photos, image_text, run)) == 0  # finished: nothing to train, nothing trained anew
    assert capsys.readouterr().err.count("is finished") == 2


def test_words_draw_images_through_the_embedding(run, tmp_path, capsys):
    out = tmp_path / "a.npz"
    more = ["--steps", "4", "--n", "3", "--out", str(out)]
    assert main(["sample", str(run), "--text", "red heart", "--negative", "blue", "--guidance", "3", *more]) == 0
    assert drawn(out).shape == (3, 8, 8, 3)
    choice = fn.runs.open_model(run).choice(fn.runs.SampleOptions(guidance=3.0))
    assert (choice.steering.scale, choice.before.steering.scale) == (3.0, 2.0)
    assert main(["sample", str(run), *more]) == 0
    capsys.readouterr()
    assert main(["sample", str(run / "decoder"), *more]) == 0
    assert "drawn without an embedding" in capsys.readouterr().err
    assert main(["sample", str(run), "--text", "red heart", "--n", "2", "--steps", "3",
                 "--out", str(tmp_path / "film.gif")]) == 0  # fmt: skip
    assert main(["info", str(run)]) == 0


def test_images_are_changed_by_their_embedding(run, photos, tmp_path):
    a, b, out = str(photos / "0.png"), str(photos / "1.png"), tmp_path / "made.png"
    for words in (
        ["variations", str(run), a, "--n", "3", "--strength", "0.5", "--steps", "5", "--guidance", "2"],
        ["text-difference", str(run), a, "--text", "blue heart", "--from", "red heart", "--n", "2"],
        ["interpolate", str(run), a, b, "--n", "3"],
    ):
        out.unlink(missing_ok=True)
        assert main(["edit", *words, "--out", str(out)]) == 0
        with Image.open(out) as image:
            assert image.size[0] > image.size[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["edit", "variations", "{run}/prior", "{photo}"], "its model draws states of shape [6], and this command is for images"),
        (["edit", "text-difference", "{run}", "{photo}", "--text", "a"], "needs two texts: --text for what the image"),
        (["edit", "variations", "{run}", "{photo}", "--text", "a"], "edit variations does not take --text; it takes --n, --str"),
        (["edit", "text-difference", "{run}", "{photo}", "--text", "red", "--from", "red"], "are the same to the image"),
        (["edit", "variations", "{run}", "{photo}", "--strength", "2"], "must lie in [0, 1], got 2"),
        (["edit", "reconstruct", "{run}", "{photo}", "--guidance", "2"], "guidance: needs a class to steer towards"),
        (["convert", "{run}", "{out}", "--to", "fromnoise"], "is a cascade: convert its stages one by one: "),
        (["train", "progressive", "--teacher", "{run}/decoder", "--out", "{out}"], "is a stage of unCLIP, and its student"),
        (["train", "progressive", "--teacher", "{run}/prior", "--out", "{out}"], "is a stage of unCLIP, and its student"),
        (["train", "control", "--model", "{run}/decoder", "--out", "{out}"], "takes an embedding of an image beside x"),
        (["train", "emoji-unclip", "--data", "{data}", "--out", "{out}", "--image-text", "{run}/image-text", "--set",
          *SIZE, "stages.prior.network={name: unet}"], "network unet: a prior is of embeddings, which are points"),
        (["train", "emoji-unclip", "--data", "{data}", "--out", "{out}", "--image-text", "{run}/image-text", "--set",
          *SIZE, "data.pairs=edges"], "data.pairs: a latent, a super-resolution or an unCLIP model is shown no other"),
        (["sample", "{run}/decoder", "--text", "red"], "text: this model has no text conditioning"),
        (["train", "digits", "--image-text", "{run}/image-text"], "--image-text: recipe digits uses no image embeddings"),
        (["train", "emoji-unclip", "--out", "{out}", "--image-text", "{run}/decoder"], "holds no image-text"),
        (["train", "emoji-unclip", "--data", "{data}", "--out", "{out}", "--image-text", "{run}/image-text", "--set",
          "data.flip=true"], "data.flip: an embedding is of the image as it is"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(words, message, run, photos, tmp_path, capsys):
    places = {"run": run, "photo": photos / "0.png", "data": photos, "out": tmp_path / "out"}
    for name, place in places.items():
        words = [word.replace(f"{{{name}}}", str(place)) for word in words]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_an_image_text_model_that_is_missing_is_named(run, photos, image_text, tmp_path, capsys):
    import shutil

    other = tmp_path / "unclip"
    shutil.copytree(run, other)
    shutil.rmtree(other / "image-text")
    assert main(["edit", "variations", str(other), str(photos / "0.png")]) == 2
    assert "the image-text model of this run is missing" in capsys.readouterr().err
    assert main(["sample", str(other), "--text", "red", "--n", "1", "--steps", "2"]) == 0  # needs none
