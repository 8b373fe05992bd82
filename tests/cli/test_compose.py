"""Cascades, latents, classifiers and steering, as a person meets them: small runs, and what is refused."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image
from small_runs import TINY, folder

import fromnoise as fn
from fromnoise.app.cli import main


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("images"))


def trained(command, out, data, *options, steps=2):
    words = [*command, "--data", str(data), "--out", str(out), "--steps", str(steps), *options]
    assert main(words) == 0
    return out


def size(size=16):
    return ["--set", f"data.size={size}", *TINY]


@pytest.fixture(scope="module")
def cascade(tmp_path_factory, data):
    return trained(["train", "digits-cascade"], tmp_path_factory.mktemp("runs") / "cascade", data, *size())


@pytest.fixture(scope="module")
def latent(tmp_path_factory, data):
    runs = tmp_path_factory.mktemp("runs")
    options = ["--set", "data.size=16", "network.channels=8", "network.groups=4", "train.batch_size=4"]
    kept = trained(["train-autoencoder", "digits-kl"], runs / "kl", data, *options)
    return trained(["train", "digits-latent"], runs / "latent", data, "--autoencoder", str(kept), *size())


@pytest.fixture(scope="module")
def plain(tmp_path_factory, data):
    return trained(["train", "digits"], tmp_path_factory.mktemp("runs") / "plain", data, *size())


def fails(capsys, said, *words):
    capsys.readouterr()
    try:
        status = main(list(words))
    except SystemExit as stop:
        status = stop.code
    text = capsys.readouterr().err.strip()
    assert status == 2, text
    assert len(text.splitlines()) == 1, text
    assert said in text


def shape(path):
    with np.load(path) as file:
        return file["arr_0"].shape


def test_a_cascade_of_colour_images(cascade, tmp_path):
    assert sorted(p.name for p in cascade.iterdir() if p.is_dir()) == ["base", "x2"]
    base, up = (fn.load(cascade / name) for name in ("base", "x2"))
    assert base.shape == (3, 8, 8)
    assert up.shape == (3, 16, 16)
    assert up.low.shape(up.shape) == base.shape
    assert (cascade / "x2" / "samples").exists()
    for i, more in enumerate(([], ["--truncated", "--strength", "0.4"], ["--class", "right"])):
        out = tmp_path / f"{i}.npz"
        assert main(["sample", str(cascade), "--n", "5", "--out", str(out), *more]) == 0
        assert shape(out) == (5, 16, 16, 3)
    one, other = (np.load(tmp_path / f"{i}.npz")["arr_0"] for i in (0, 1))
    assert (one != other).any()
    assert main(["sample", str(cascade / "base"), "--n", "2", "--out", str(tmp_path / "b.npz")]) == 0
    assert shape(tmp_path / "b.npz") == (2, 8, 8, 3)


def test_a_cascade_goes_on_where_it_was(cascade, data, capsys):
    capsys.readouterr()
    words = ["train", "digits-cascade", "--data", str(data), "--out", str(cascade), "--steps", "2", *size()]
    assert main([*words, "--resume"]) == 0
    assert capsys.readouterr().err.count("is finished: 2 steps") == 2
    fails(capsys, "holds a run already", *words)


def test_stages_that_do_not_fit_are_one_line(cascade, data, tmp_path, capsys):
    broken = tmp_path / "broken"
    trained(["train", "digits-cascade"], broken, data, *size())
    other = trained(["train", "digits"], tmp_path / "other", data, *size())
    import shutil

    shutil.rmtree(broken / "base")
    shutil.copytree(other, broken / "base")
    out = ["--out", str(tmp_path / "x.npz")]
    fails(capsys, "one enlarges 3x8x8, but the one before it draws 3x16x16", "sample", str(broken), *out)
    fails(capsys, "truncated needs an augmentation by noise", "sample", str(cascade), *out, "--truncated",
          "--strength", "0")  # fmt: skip
    fails(capsys, "needs the smaller example: sample its cascade", "sample", str(cascade / "x2"), *out)
    fails(capsys, "a super-resolution model", "nll", str(cascade / "x2"))
    assert not (tmp_path / "x.npz").exists()


def test_what_is_asked_of_a_cascade_holds_in_every_stage():
    recipe = fn.recipes.load("digits-cascade").with_changes({"train.steps": 5, "stages.x2.train.lr": 1e-4})
    for name in recipe.stages:
        assert recipe.stage(name).train.steps == 5
        assert recipe.stage(name).train.minutes is None
    assert recipe.stage("x2").train.lr == 1e-4
    assert recipe.stage("base").train.lr != 1e-4
    with pytest.raises(fn.FromNoiseError, match="train.lrr"):
        recipe.with_changes({"stages.x2.train.lrr": 1}).stage("x2")


def test_latents(latent, tmp_path, capsys):
    model = fn.load(latent)
    assert model.shape == (4, 4, 4)
    assert model.image_shape == (3, 16, 16)
    for name in ("a.npz", "film.gif"):
        assert main(["sample", str(latent), "--n", "3", "--out", str(tmp_path / name)]) == 0
    assert shape(tmp_path / "a.npz") == (3, 16, 16, 3)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames > 1
    fails(capsys, "latents have no range", "sample", str(latent), "--clip", "--out", str(tmp_path / "b.npz"))
    fails(capsys, "a latent model", "nll", str(latent))
    out = tmp_path / "i.png"
    image = tmp_path / "a.png"
    Image.new("RGB", (20, 20), "red").save(image)
    assert main(["edit", "image-to-image", str(latent), str(image), "--n", "2", "--out", str(out)]) == 0
    fails(capsys, "a latent model", "edit", "upscale", str(latent), str(image), "--out", str(out))


def test_a_transformer_of_latents(latent, data, tmp_path):
    out = tmp_path / "dit"
    words = ["data.size=16", "network.width=16", "network.heads=2", "network.depth=1", "network.patch=2", "train.batch_size=4",
             "latent.autoencoder=digits-kl", "sample.clip=false", "sample.steps=3", "variance=learned_range",
             "objective=hybrid", "parameterization=eps"]  # fmt: skip
    trained(["train", "digits-dit"], out, data, "--autoencoder", str(latent / "autoencoder"), "--set", *words)
    assert main(["sample", str(out), "--n", "2", "--out", str(tmp_path / "a.npz")]) == 0
    assert shape(tmp_path / "a.npz") == (2, 16, 16, 3)


def test_latents_in_half_precision_keep_the_hash_of_their_autoencoder(latent, data, tmp_path):
    out = tmp_path / "half"
    trained(["train", "digits-latent"], out, data, "--autoencoder", str(latent / "autoencoder"), "--precision", "bf16",
            *size())  # fmt: skip
    for precision in ("fp32", "bf16"):
        words = ["sample", str(out), "--n", "2", "--out", str(tmp_path / "a.npz"), "--precision", precision]
        assert main(words) == 0


def test_latents_without_their_autoencoder_are_one_line(latent, tmp_path, capsys):
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(latent, moved)
    assert main(["sample", str(moved), "--n", "1", "--out", str(tmp_path / "a.npz")]) == 0
    file = moved / "autoencoder" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + bytes(4))
    fails(capsys, "was changed after it was written", "sample", str(moved), "--out", str(tmp_path / "b.npz"))
    shutil.rmtree(moved / "autoencoder")
    fails(capsys, "is a latent model without its autoencoder", "sample", str(moved), "--out", str(tmp_path / "b.npz"))


def test_an_autoencoder_is_trained_first_where_none_is_given(data, tmp_path, capsys):
    from fromnoise import recipes
    from fromnoise.app.runs.before import before

    config = fn.recipes.load("digits-latent").with_changes({"data.name": str(data), "data.size": 16, "seed": 3})
    ((name, part),) = before(config, tmp_path)
    assert name == "autoencoder"
    assert (part.data, part.seed) == (config.data, 3)
    assert part.network == recipes.load("digits-kl").network
    fails(capsys, "to make it a latent model, add --set", "train", "digits", "--autoencoder", str(tmp_path))
    fails(capsys, "holds no autoencoder", "train", "digits-latent", "--out", str(tmp_path / "r"), "--autoencoder",
          str(_saved_unet(tmp_path)))  # fmt: skip


def _saved_unet(path):
    net = fn.nn.UNet(in_channels=1, channels=8, mult=(1,), blocks=1, groups=4, attention=())
    fn.save(fn.Denoiser(net, "linear", shape=(1, 8, 8)), path / "unet")
    return path / "unet"


def test_a_classifier_steers(plain, data, tmp_path, capsys):
    assert main(["train-classifier", str(plain), "--steps", "3", "--set", "train.batch_size=8"]) == 0
    kept = plain / "classifier"
    assert (kept / "accuracy.png").exists()
    assert yaml.safe_load((kept / "config.yaml").read_text())["kind"] == "classifier"
    out = tmp_path / "a.npz"
    steer = ["--guidance", "0", "--classifier", str(kept), "--class", "left", "--n", "3"]
    seen = []
    for scale in ("0", "1", "50"):
        assert main(["sample", str(plain), "--out", str(out), *steer, "--classifier-scale", scale]) == 0
        seen.append(np.load(out)["arr_0"].astype(float))
    assert (seen[0] != seen[2]).any()
    fails(capsys, "holds a classifier of noisy images, not a diffusion model", "show", str(kept))
    fails(capsys, "not a diffusion model", "sample", str(kept / "checkpoints" / "step-00000003"), "--out", str(out))
    fails(capsys, "of kind denoiser", "sample", str(plain), "--out", str(out), "--classifier", str(plain))


def test_a_classifier_of_something_else_is_one_line(plain, cascade, latent, tmp_path, capsys):
    fails(capsys, "is a cascade: name one of its stages", "train-classifier", str(cascade))
    fails(capsys, "is a latent model", "train-classifier", str(latent))
    if not (plain / "classifier").exists():
        assert main(["train-classifier", str(plain), "--steps", "1", "--set", "train.batch_size=8"]) == 0
    fails(capsys, "the classifier knows states of 3x16x16, and the model 3x8x8", "sample", str(cascade / "base"), "--out",
          str(tmp_path / "a.npz"), "--classifier", str(plain / "classifier"))  # fmt: skip


def test_steering_by_words(plain, tmp_path, capsys):
    out = str(tmp_path / "a.npz")
    step = str(plain / "checkpoints" / "step-00000002")
    assert main(["sample", str(plain), "--n", "2", "--out", out, "--guidance", "3", "--guidance-interval", "0.2", "5",
                 "--guidance-rescale", "0.7"]) == 0  # fmt: skip
    assert main(["sample", str(plain), "--n", "2", "--out", out, "--guidance", "2", "--weaker", step]) == 0
    fails(capsys, "did you mean left?", "sample", str(plain), "--out", out, "--class", "lefd")
    sample = ("sample", str(plain), "--out", out)
    fails(capsys, "a guidance interval and guidance rescale without guidance", *sample, "--guidance", "1",
          "--guidance-interval", "0", "1", "--guidance-rescale", "1")  # fmt: skip
    fails(capsys, "a weaker model without guidance", *sample, "--guidance", "1", "--weaker", step)
    fails(capsys, "needs the --classifier", *sample, "--classifier-scale", "2")
    fails(capsys, "apply to cascades, and this model is not one", *sample, "--strength", "0.2")
    fails(
        capsys,
        "0 <= low < high",
        "sample",
        str(plain),
        "--out",
        out,
        "--guidance",
        "2",
        "--guidance-interval",
        "3",
        "1",
    )


def test_eval_of_steered_samples_says_how(plain, tmp_path):
    found = tmp_path / "e.json"
    step = str(plain / "checkpoints" / "step-00000002")
    words = ["eval", str(plain), "--n", "12", "--features", "digits", "--out", str(found), "--guidance", "2"]
    assert main([*words, "--weaker", step, "--guidance-rescale", "0.5"]) == 0
    how = json.loads(found.read_text())["sampling"]
    assert how["rescale"] == 0.5
    assert len(how["weaker"]) == 64


def test_eval_of_a_cascade_counts_both_stages(cascade, tmp_path):
    found = tmp_path / "e.json"
    assert main(["eval", str(cascade), "--n", "10", "--features", "digits", "--out", str(found)]) == 0
    how = json.loads(found.read_text())["sampling"]
    base, up = 3 * 2, 3  # guided by 2: twice the calls
    assert how["nfe"] == base + up
    assert how["before"]["steps"] == 3
    assert (cascade / "eval").exists()


def test_a_classifier_steers_a_model_that_is_told_no_class(data, tmp_path, capsys):
    run = tmp_path / "plain"
    options = ["network.classes=null", "train.label_dropout=0", "sample.guidance=1"]
    trained(["train", "digits"], run, data, "--set", "data.size=16", *TINY, *options)
    assert main(["train-classifier", str(run), "--steps", "1", "--set", "train.batch_size=8"]) == 0
    words = ["sample", str(run), "--n", "4", "--out", str(tmp_path / "a.png")]
    steer = ["--classifier", str(run / "classifier")]
    assert main([*words, *steer]) == 0
    assert main([*words, *steer, "--class", "right"]) == 0
    fails(capsys, "no such class (did you mean right?)", *words, *steer, "--class", "rihgt")
    fails(capsys, "this model has no classes", *words, "--class", "right")


def test_an_interrupted_cascade_and_another_autoencoder_are_noticed(cascade, latent, data, tmp_path, capsys):
    import shutil

    begun = tmp_path / "begun"
    shutil.copytree(cascade, begun)
    shutil.rmtree(begun / "x2")
    words = ["train", "digits-cascade", "--data", str(data), "--out", str(begun), "--steps", "2", *size(), "--resume"]
    fails(capsys, "would make it another run", *words, "--set", "network.channels=16")
    assert main([*words, "--set", "sample.guidance=1.5"]) == 0
    other = trained(["train-autoencoder", "digits-kl"], tmp_path / "kl", data, "--set", "data.size=16",
                    "network.channels=8", "network.groups=4", "train.batch_size=4", steps=1)  # fmt: skip
    words = ["train", "digits-latent", "--data", str(data), "--out", str(latent), "--steps", "2", *size(), "--resume"]
    fails(capsys, "holds another autoencoder", *words, "--autoencoder", str(other))


def test_wrong_stages_are_one_line(capsys, tmp_path):
    out = ["--out", str(tmp_path / "a"), "--steps", "1"]
    fails(capsys, "set key by key", "train", "digits-cascade", *out, "--set", "stages=foo")
    fails(capsys, "set key by key", "train", "digits-cascade", *out, "--set", "stages.base=5")
    fails(capsys, "unknown key 'stages.base.lr'", "train-autoencoder", "digits-kl", *out, "--set", "stages.base.lr=1")
    fails(capsys, "sample.strength 0.2 is more than training shows, which is 0 for none", "train", "digits-cascade", *out, "--set",
          "stages.x2.low.augmentation=none", *TINY)  # fmt: skip
    recipe = fn.recipes.load("digits").with_changes({"latent.autoencoder": "digits-kl"})
    assert recipe.latent.autoencoder == "digits-kl"


def test_a_cascade_is_steered_by_words_that_fit_it(cascade, plain, tmp_path, capsys):
    out = ["--out", str(tmp_path / "a.npz")]
    fails(capsys, "steer a single model, and this is a cascade", "sample", str(cascade), *out, "--weaker", str(plain))
    fails(capsys, "strengths from 0 to 0.5, got 0.9", "sample", str(cascade), *out, "--strength", "0.9")
    fails(capsys, "a table is for one model", "table", "steps", str(cascade), "--features", "digits")
    fails(capsys, "--spacings is for the tables steps", "table", "guidance", str(plain), "--spacings", "uniform")
    fails(capsys, "--classifier is for the table guidance", "table", "steps", str(plain), "--classifier", str(plain))
    fails(capsys, "whole numbers", "table", "steps", str(plain), "--columns", "2.5")


def test_a_network_that_is_no_denoiser_is_one_line(capsys, tmp_path, data):
    fails(capsys, "is no denoiser: take unet, dit or mlp", "train", "digits", "--steps", "1", "--out", str(tmp_path / "a"),
          "--data", str(data), "--set", "data.size=16", "network={name: kl-autoencoder}", "train.label_dropout=0")  # fmt: skip
    fails(capsys, "is no autoencoder: take kl-autoencoder", "train-autoencoder", "digits-kl", "--steps", "1", "--out",
          str(tmp_path / "b"), "--data", str(data), "--set", "data.size=16", "network={name: unet}")  # fmt: skip
    fails(capsys, "data.reduce 3: images of 16x16 are not divisible by it", "train", "digits", "--steps", "1", "--out",
          str(tmp_path / "c"), "--data", str(data), "--set", "data.size=16", "data.reduce=3")  # fmt: skip
