"""Every recipe trains: three steps of its own objective, schedule and options, with a narrower network."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise import recipes
from fromnoise.app.cli import main
from fromnoise.weights import native

NARROW = {
    "train.steps": 3,
    "train.batch_size": 2,
    "train.checkpoint_every": 3,
    "train.sample_every": 0,
    "data.workers": 0,
}
NARROW_NETWORK = {
    "unet": {"network.channels": 8, "network.groups": 4, "network.blocks": 1},
    "dit": {"network.width": 8, "network.heads": 2, "network.depth": 1},
}


AUTOENCODERS = [name for name in recipes.names() if recipes.load(name).kind == "autoencoder"]
DENOISERS = [name for name in recipes.names() if recipes.load(name).kind == "diffusion"]
BRANCHES = [name for name in DENOISERS if recipes.load(name).is_branch]  # trained in tests/cli/test_control_runs.py
STUDENTS = [name for name in DENOISERS if recipes.load(name).distill is not None]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of two noisy colour images with captions, one of them not square."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (root / name).mkdir()
        for i, size in enumerate([(40, 40), (50, 36)]):
            Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(root / name / f"{i}.png")
            (root / name / f"{i}.txt").write_text(f"one of the {name}")
    return root


def narrow_autoencoder(name, photos):
    recipe = recipes.load(name)
    small = {"network.channels": 8, "network.groups": 4, "network.blocks": 1, "data.name": str(photos)}
    if recipe.loss.discriminator:
        small |= {"loss.perceptual": 0.0, "loss.discriminator.channels": 8, "loss.discriminator.groups": 4}
    return recipe.with_changes(NARROW | small | {"data.channels": 3, "data.size": 32})


def narrow_image_text(photos):
    recipe = recipes.load("emoji-image-text")
    small = {"network.channels": 8, "network.mult": [1, 2], "network.attention": [], "network.groups": 4}
    recipe = recipe.with_changes(small | {"text.encoder": {"name": "learned", "vocabulary": 260, "length": 8}})
    return recipe.build((3, 32, 32), fn.text.build(recipe.text.encoder).fitted(["one of the cats"]))


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_trains(name, photos, tmp_path):
    """From a saved teacher, by the command; the ladder's rungs too; and it is drawn as often as it was made for."""
    small = NARROW | {"data.name": str(photos)} | NARROW_NETWORK["unet"]
    teacher = recipes.load("digits").with_changes({**small, "network.classes": 2, "data.channels": 3}).build()
    fn.save(teacher, tmp_path / "teacher")
    out = tmp_path / name
    changed = [f"{key}={json.dumps(value)}" for key, value in NARROW.items()]
    ladder = ["distill.way.of=4"] if name == "progressive" else ["distill.way.pairs=8"] if name == "reflow" else []
    command = ["train", name, "--teacher", str(tmp_path / "teacher"), "--data", str(photos), "--out", str(out)]
    assert main([*command, "--set", *changed, *ladder]) == 0
    for run in [out, *([out / "steps-2"] if name == "progressive" else [])]:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3]
        assert all(np.isfinite([line["loss"], line["grad_norm"]]).all() for line in lines)
        assert (fn.load(run).student is None) == (name == "reflow")
    model = fn.runs.open_model(out, "fp32")
    assert fn.runs.draw(model, 2, model.choice(), seed=0).shape[1:] == model.denoiser.image_shape
    assert main([*command, "--resume"]) == 0  # which is done, ladder and all


@pytest.mark.parametrize("name", [name for name in DENOISERS if name not in (*STUDENTS, *BRANCHES)])
def test_it_trains(name, photos, tmp_path):
    recipe = fn.recipes.load(name)
    changes = NARROW | {"data.name": str(photos)} | NARROW_NETWORK[recipe.network["name"]]
    changes |= {"network.head_channels": 4} if "head_channels" in recipe.network else {}
    changes |= {"data.size": 64} if recipe.data.size == 256 else {}  # 256x256 asks for more memory and time
    if recipe.latent is not None:
        channels = recipe.data.channels
        network = narrow_autoencoder(recipe.latent.autoencoder, photos).build(channels)
        native.save(network, tmp_path / name / "autoencoder")
        changes |= {"data.channels": channels}
    if name == "emoji-unclip":
        native.save(narrow_image_text(photos), tmp_path / name / "image-text")
    assert fn.runs.train(recipe.with_changes(changes), tmp_path / name) == 0
    for part in recipe.stages or (".",):
        run = tmp_path / name / part
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3]
        assert all(np.isfinite([line["loss"], line["grad_norm"]]).all() for line in lines)
        assert fn.load(run).classes == (2 if recipe.network.get("classes") else 0)
    model = fn.runs.open_model(tmp_path / name, "fp32")
    drawn = fn.runs.draw(model, 2, model.choice(fn.runs.SampleOptions(sampler="ancestral", steps=2)), seed=0)
    assert drawn.shape[1:] == model.denoiser.image_shape


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_an_autoencoder_trains(name, photos, tmp_path):
    assert fn.runs.train(narrow_autoencoder(name, photos), tmp_path / name) == 0
    lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(np.isfinite([line["loss"], line["error"], line["penalty"]]).all() for line in lines)
    network = native.load_autoencoder(tmp_path / name)
    assert network.decode(network.encode(torch.zeros(1, 3, 32, 32))).shape == (1, 3, 32, 32)
    assert len(recipes.load(name).expected) > 10


def test_sit_xl_2_has_the_network_of_dit_xl_2():
    """But for the second half of the last layer, which their code has and throws away."""
    with torch.device("meta"):
        model = fn.recipes.load("sit-xl-2").build()
    trained = sum(p.numel() for p in model.network.parameters())
    unused = 2 * 2 * 4 * (1152 + 1)
    assert trained + unused + 256 * 1152 == 675_129_632
    assert model.parameterization == fn.parameterizations.Flow()
    assert isinstance(model.schedule, fn.schedules.Rectified)


def test_dit_xl_2_is_built_without_memory():
    with torch.device("meta"):
        model = fn.recipes.load("dit-xl-2").build()
    assert model.shape == (4, 32, 32)
    trained = sum(p.numel() for p in model.network.parameters())
    assert trained + 256 * 1152 == 675_129_632  # their code counts the fixed places of 256 tokens too


@pytest.mark.parametrize("name", DENOISERS)
def test_it_says_what_to_expect(name):
    recipe = fn.recipes.load(name)
    assert recipe.recipe == name
    assert len(recipe.expected) > 20
    assert recipe.reproduced
    sampler = fn.samplers.build(recipe.sample.sampler)
    fn.features.get(recipe.evaluate.features)
    schedule = fn.schedules.build(recipe.schedule)
    assert (
        schedule.steps(recipe.sample.steps, recipe.sample.spacing or sampler.default_spacing).steps
        <= recipe.sample.steps
    )


def test_what_a_recipe_names_is_checked_when_it_is_made():
    recipe = fn.recipes.load("digits")
    for key, wrong, says in [
        ("parameterization", "epz", r"unknown parameterization 'epz' \(did you mean eps\?\)"),
        ("parameterization", {"name": "emd"}, r"unknown parameterization 'emd' \(did you mean edm\?\)"),
        ("parameterization", {"data_std": 0.5}, "a parameterization needs a name; choose from edm"),
        ("variance", "fixed_smal", r"unknown variance 'fixed_smal' \(did you mean fixed-small\?\)"),
        ("train.optimizer", "moon", r"unknown optimizer 'moon' \(did you mean muon\?\); choose from adamw, muon"),
    ]:
        with pytest.raises(fn.FromNoiseError, match=says):
            recipe.with_changes({key: wrong})


@pytest.mark.parametrize("name", ["fixed-large", "fixed_large"])
def test_files_spell_a_variance_with_underscores(name):
    recipe = fn.recipes.load("digits").with_changes({"variance": name})
    assert recipe.model_dump(mode="json")["variance"] == "fixed_large"
    assert recipe.build((1, 8, 8)).variance == fn.variances.FixedLarge()


def test_a_parameterisation_with_options():
    changes = {"parameterization": {"name": "edm", "data_std": 0.3}, "schedule": {"name": "edm", "T": 9}}
    recipe = fn.recipes.load("digits").with_changes(changes)
    assert recipe.build((1, 8, 8)).parameterization == fn.parameterizations.EDM(data_std=0.3)
