"""What every conditioning augmentation promises."""

import math

import pytest
import torch

import fromnoise as fn
from fromnoise import augmentations
from fromnoise.augmentations.low_res import LowResolution, rounded


def every():
    return pytest.mark.parametrize(
        "augmentation", list(map(augmentations.build, augmentations.names())), ids=augmentations.names()
    )


@every()
def test_strength_0_leaves_the_image(augmentation):
    z = torch.rand(4, 2, 6, 5)
    torch.testing.assert_close(augmentation.apply(z, torch.zeros(4, dtype=torch.float64), torch.randn(4, 2, 6, 5)), z)


@every()
def test_strengths_lie_in_range_and_rise_with_u(augmentation):
    strength = augmentation.strength(torch.linspace(0, 0.999, 200, dtype=torch.float64))
    assert bool(((strength >= 0) & (strength <= 1)).all())
    assert bool((strength.diff() >= 0).all())


@every()
def test_each_example_has_a_strength_of_its_own(augmentation):
    z, noise = torch.rand(3, 1, 6, 6), torch.randn(3, 1, 6, 6)
    strength = torch.tensor([0.0, 0.3, 0.6], dtype=torch.float64)
    together = augmentation.apply(z, strength, noise)
    for i in range(3):
        alone = augmentation.apply(z[i : i + 1], strength[i : i + 1], noise[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


@every()
def test_described_and_built_again(augmentation):
    from fromnoise import registry

    spec = registry.spec(augmentation)
    assert registry.spec(augmentations.build(spec)) == spec


def test_noise_is_a_level_of_a_variance_preserving_path():
    noise = augmentations.build({"name": "noise", "most": 0.8})
    x = noise.apply(torch.full((1, 1, 200, 200), 2.0), torch.tensor([1 / 3]), torch.randn(1, 1, 200, 200))
    assert x.mean().item() == pytest.approx(2 * math.cos(math.pi / 6), abs=0.02)
    assert x.std().item() == pytest.approx(math.sin(math.pi / 6), abs=0.01)


def test_blur_is_a_gaussian_of_that_width():
    """Of a point: its variance in each direction is s^2, up to the 7 pixels of the kernel; a flat image stays."""
    blur = augmentations.build("blur")
    point = torch.zeros(1, 1, 31, 31, dtype=torch.float64)
    point[0, 0, 15, 15] = 1.0
    x = blur.apply(point, torch.tensor([0.9]), point)[0, 0]
    place = torch.arange(31, dtype=torch.float64) - 15
    assert x.sum().item() == pytest.approx(1)
    for dim in (0, 1):
        assert (x.sum(dim) * place**2).sum().item() == pytest.approx(0.81, abs=0.01)
    flat = torch.full((1, 2, 5, 5), 0.3)
    torch.testing.assert_close(blur.apply(flat, torch.tensor([0.5]), flat), flat)


def test_blur_spares_its_share():
    strength = augmentations.build("blur").strength(torch.arange(1000, dtype=torch.float64) / 1000)
    assert (strength == 0).sum() == 500
    assert strength[strength > 0].min() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("spec", "said"),
    [({"name": "noise", "most": 0.0}, "most must lie"), ({"name": "blur", "low": 0.7}, "0 < low <= high <= 1")],
)
def test_wrong_options_are_one_line(spec, said):
    with pytest.raises(fn.FromNoiseError, match=said):
        augmentations.build(spec)


def test_what_a_model_is_told():
    low = LowResolution(2, augmentations.build("none"))
    x = rounded(torch.rand(2, 1, 6, 4) * 2 - 1)
    z = low.shrunk(x)
    assert low.shape((1, 6, 4)) == (1, 3, 2)
    means = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    assert (z - means).abs().max() <= 0.5 / 127.5 + 1e-6
    torch.testing.assert_close(rounded(z), z)
    told = low.condition(z, torch.tensor([0.25, 0.0], dtype=torch.float64), torch.randn(z.shape))
    assert told["image"].shape == x.shape
    assert told["strength"].tolist() == [250.0, 0.0]
    flat = low.enlarged(torch.full((1, 1, 3, 2), 0.5), torch.zeros(1))["image"]
    torch.testing.assert_close(flat, torch.full((1, 1, 6, 4), 0.5))
