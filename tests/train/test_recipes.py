"""Every recipe trains: three steps of its own objective, schedule and options, with a narrower network."""

import json

import numpy as np
import pytest
from PIL import Image

import fromnoise as fn

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


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of two noisy colour images, one of them not square."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (root / name).mkdir()
        for i, size in enumerate([(40, 40), (50, 36)]):
            Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize("name", fn.recipes.names())
def test_it_trains(name, photos, tmp_path):
    recipe = fn.recipes.load(name)
    changes = NARROW | {"data.name": str(photos)} | NARROW_NETWORK[recipe.network["name"]]
    changes |= {"network.head_channels": 4} if "head_channels" in recipe.network else {}
    changes |= {"data.size": 64} if recipe.data.size == 256 else {}  # 256x256 asks for more memory and time
    assert fn.runs.train(recipe.with_changes(changes), tmp_path / name) == 0
    lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(np.isfinite([line["loss"], line["grad_norm"]]).all() for line in lines)
    model = fn.load(tmp_path / name)
    assert model.classes == (2 if recipe.network.get("classes") else 0)
    drawn = fn.sample(model, 2, "ancestral", steps=2)
    assert drawn.isfinite().all()


@pytest.mark.parametrize("name", fn.recipes.names())
def test_it_says_what_to_expect(name):
    recipe = fn.recipes.load(name)
    assert recipe.recipe == name
    assert len(recipe.expected) > 20
    assert recipe.reproduced
    sampler = fn.samplers.build(recipe.sample.sampler)
    fn.features.get(recipe.evaluate.features)
    schedule = fn.schedules.build(recipe.schedule)
    assert (
        schedule.steps(recipe.sample.steps, recipe.sample.spacing or sampler.usual_spacing).steps <= recipe.sample.steps
    )
