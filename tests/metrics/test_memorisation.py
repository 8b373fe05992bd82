"""Near-copies: what copies its training images is found out, and what draws anew is not accused."""

import pytest
import torch

import fromnoise as fn
from fromnoise.metrics import near_copies, nearest
from fromnoise.metrics.memorisation import distances


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def in_parts(y, size):
    return [(torch.arange(i, min(i + size, len(y))), y[i : i + size]) for i in range(0, len(y), size)]


def copies(x, y, mirrored=False, **options):
    numbers = nearest(x, in_parts(y, 50), 5, mirrored)
    return near_copies(x, y[numbers], **options)


@pytest.mark.parametrize("size", [1, 7, 60, 300])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_nearest_are_the_nearest(size, mirrored):
    x, y = normal(20, 1, 4, 4), normal(60, 1, 4, 4, seed=1)
    far = torch.cdist(x.flatten(1).double(), y.flatten(1).double())
    if mirrored:
        far = torch.minimum(far, torch.cdist(x.flatten(1).double(), y.flip(-1).flatten(1).double()))
    assert torch.equal(nearest(x, in_parts(y, size), 5, mirrored), far.topk(5, 1, largest=False).indices)
    assert nearest(x, in_parts(y[:3], size), 5).shape == (20, 3)
    with pytest.raises(ValueError, match="no example"):
        nearest(x, [])


def test_copies_are_found_and_strangers_are_not():
    y = normal(200, 3, 8, 8)
    strangers = normal(50, 3, 8, 8, seed=1)
    assert not copies(strangers, y).any()
    assert copies(y[:50] + 0.1 * normal(50, 3, 8, 8, seed=2), y).all()
    mixed = torch.cat([y[:30], strangers[:20]])
    assert copies(mixed, y).tolist() == [True] * 30 + [False] * 20


def test_the_ratio_is_a_third():
    """On a line, with training points at 0 and 4: x is a copy of 0 where x / (4 - x) < 1/3, so up to 1."""
    x = torch.tensor([[0.98], [1.02], [3.02], [2.98]])
    y = torch.tensor([[0.0], [4.0]])
    assert copies(x, y + 1e-9).tolist() == [True, False, True, False]


def test_duplicates_hide_no_copy_and_make_none():
    y = normal(50, 1, 8, 8)
    twice = torch.cat([y, y, y])
    assert copies(y[:10] + 0.05, twice).all()
    assert not copies(normal(10, 1, 8, 8, seed=1), twice).any()
    one = y[:1].expand(6, -1, -1, -1)  # a set that is one image: only what is that image is its copy
    assert copies(torch.cat([y[:1], y[1:2]]), one).tolist() == [True, False]


def test_a_mirror_image_is_a_copy_where_training_showed_it():
    y = normal(60, 1, 8, 8)
    assert not copies(y[:10].flip(-1), y).any()
    numbers = nearest(y[:10].flip(-1), in_parts(y, 20), 5, mirrored=True)
    assert numbers[:, 0].tolist() == list(range(10))


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_the_optimum_on_finite_data_copies_and_that_on_a_density_does_not(sampler):
    """The exact denoiser of a finite set draws nothing but its members; that of their Gaussian draws none of them."""
    y = normal(40, 16)
    schedule = fn.schedules.Cosine(T=200)
    members = fn.oracle.FiniteData(y.double()).denoiser(schedule)
    gaussian = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 16), torch.eye(16)[None]).denoiser(schedule)
    drawn = [fn.sample(denoiser, (30, 16), sampler, 200) for denoiser in (members, gaussian)]
    assert copies(drawn[0].float(), y).all()
    assert copies(drawn[1].float(), y).float().mean() < 0.1


def test_distances_of_pixels_do_not_wrap_around():
    x, y = torch.tensor([[10, 250]], dtype=torch.uint8), torch.tensor([[[12, 249], [0, 0]]], dtype=torch.uint8)
    wanted = torch.tensor([[(4 + 1) / 2, (100 + 62500) / 2]], dtype=torch.float64).sqrt()
    torch.testing.assert_close(distances(x, y), wanted)
