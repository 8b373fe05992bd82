"""Images transformed for training: where a smooth function goes, what is exact, what the network is told, and no leak."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import kstest

import fromnoise as fn
from fromnoise.data.augment import Augment, _taps, warped
from fromnoise.nn.conditioning import TRANSFORM

ONE = torch.eye(2, dtype=torch.float64)[None]
STILL = torch.zeros(1, 2, dtype=torch.float64)


def numbers(**named):
    """a_0..a_7 of one image, by their names."""
    names = ("mirror_x", "mirror_y", "scale", "turn", "direction", "stretch", "right", "down")
    assert named.keys() <= set(names)
    return torch.tensor([[float(named.get(name, 0)) for name in names]], dtype=torch.float64)


def images(n=3, height=9, width=13, channels=2, seed=0):
    return 2 * torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(seed)) - 1


def turning(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def blob(mean, cov, height, width):
    """exp(-(q - m)' S^-1 (q - m) / 2) at pixels q = (x, y) from the middle."""
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    off = np.stack([x, y], -1) - mean
    value = np.exp(-np.einsum("hwi,ij,hwj->hw", off, np.linalg.inv(cov), off) / 2)
    return torch.from_numpy(value).float()[None, None]


MEAN, COV = np.array([3.0, -2.0]), np.array([[4.0, 1.0], [1.0, 6.0]])


def off(image, matrix, shift):
    """How far an image is from the blob led by M and s, where what is seen lies within the borders."""
    q = np.stack(np.meshgrid(np.arange(41) - 20, np.arange(33) - 16), -1) - shift
    seen = np.abs(q @ np.linalg.inv(matrix).T)
    inside = torch.from_numpy((seen[..., 0] <= 20) & (seen[..., 1] <= 16))
    assert inside.sum() > 300
    return (image - blob(matrix @ MEAN + shift, matrix @ COV @ matrix.T, 33, 41)).abs()[..., inside].max()


PARTS = {
    "scale": (numbers(scale=1.5), np.eye(2) * 2**0.3, (0, 0)),
    "shrink": (numbers(scale=-1), np.eye(2) * 2**-0.2, (0, 0)),
    "turn": (numbers(turn=0.7), turning(0.7), (0, 0)),
    "turn back": (numbers(turn=-2.9), turning(-2.9), (0, 0)),
    "stretch x": (numbers(stretch=1.5), np.diag([2**0.3, 2**-0.3]), (0, 0)),
    "stretch": (
        numbers(direction=0.5, stretch=1.2),
        turning(0.5) @ np.diag([2**0.24, 2**-0.24]) @ turning(-0.5),
        (0, 0),
    ),
    "shift": (numbers(right=0.5, down=-0.3), np.eye(2), (0.5 * 41 / 8, -0.3 * 33 / 8)),
    "all": (
        numbers(mirror_x=1, scale=0.5, turn=0.4, direction=1, stretch=-1, right=0.3, down=0.2),
        turning(1) @ np.diag([2**-0.2, 2**0.2]) @ turning(-1) @ turning(0.4) @ np.diag([-(2**0.1), 2**0.1]),
        (0.3 * 41 / 8, 0.2 * 33 / 8),
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_blob_goes_where_the_part_leads_it(name):
    """A Gaussian of m and S becomes that of M m + s and M S M': within what reading between half pixels costs.

    That is h^2 / 8 times the curvature along each axis, h = 1/2: of this blob (trace of S^-1) / 32 = 0.014 of its height at
    most, and a little where the two filters meet another size than they were made for.
    """
    a, matrix, shift = PARTS[name]
    before = blob(MEAN, COV, 33, 41)
    got, _ = Augment(1.0)(before, a)
    assert off(got, matrix, np.array(shift)) < 0.02
    assert (got - before).abs().max() > 0.1


def test_the_filters_are_the_published_ones_and_undo_each_other():
    """To the digits of JPEG 2000's standard; halving what was doubled gives the same."""
    up, down = _taps()
    np.testing.assert_allclose(
        down[4:], [0.602949018236, 0.266864118443, -0.078223266529, -0.016864118443, 0.026748757411], atol=1e-12
    )
    np.testing.assert_allclose(up[3:], [1.115087052457, 0.591271763114, -0.057543526229, -0.091271763114], atol=1e-12)
    assert np.array_equal(down, down[::-1]) or np.allclose(down, down[::-1], atol=1e-15)
    both = np.convolve(up, down)
    assert np.allclose(
        both[len(both) // 2 % 2 :: 2], np.eye(1, len(both[len(both) // 2 % 2 :: 2]), len(both) // 4), atol=1e-14
    )


@pytest.mark.parametrize("size", [(9, 13), (8, 8), (32, 32), (3, 5), (2, 2)])
def test_whole_pixels_and_right_angles_are_exact(size):
    """The identity, whole shifts into the mirrored border, quarter turns and mirrors: to float32's last digits."""
    x = images(2, *size)
    same = partial(torch.testing.assert_close, rtol=0, atol=3e-6)
    twice = ONE.expand(2, 2, 2)
    same(warped(x, twice, STILL.expand(2, 2)), x)
    right, down = min(size[1] - 1, 3), -min(size[0] - 1, 2)
    wide = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="reflect"))
    moved = wide[:, :, 3 - down : 3 - down + size[0], 3 - right : 3 - right + size[1]]
    same(warped(x, twice, torch.tensor([[right, down]] * 2, dtype=torch.float64)), moved)
    for angle, turned in (
        (math.pi / 2, x.rot90(-1, (2, 3))),
        (-math.pi / 2, x.rot90(1, (2, 3))),
        (math.pi, x.flip(2, 3)),
    ):
        if turned.shape == x.shape:
            same(warped(x, torch.from_numpy(turning(angle)).expand(2, 2, 2), STILL.expand(2, 2)), turned)
    same(
        warped(x, torch.diag(torch.tensor([-1.0, 1.0], dtype=torch.float64)).expand(2, 2, 2), STILL.expand(2, 2)),
        x.flip(3),
    )


def test_a_mirror_image_is_warped_as_the_mirror_image_of_the_warped_one():
    x, a = images(1, 16, 16), numbers(turn=0.6, stretch=0.8, direction=0.2, right=0.4)
    mirrored = numbers(turn=-0.6, stretch=0.8, direction=-0.2, right=-0.4)
    torch.testing.assert_close(Augment(1.0)(x, a)[0].flip(3), Augment(1.0)(x.flip(3), mirrored)[0], rtol=0, atol=1e-5)


def test_mirrors_and_what_is_left_alone_are_the_same_pixels():
    x = images(5)
    a = torch.cat(
        [numbers(), numbers(mirror_x=1), numbers(mirror_y=1), numbers(mirror_x=1, mirror_y=1), numbers(turn=1)]
    )
    got, _ = Augment(0.5)(x, a)
    for i, expected in enumerate([x[0], x[1].flip(2), x[2].flip(1), x[3].flip(1, 2)]):
        assert torch.equal(got[i], expected)
    assert not torch.allclose(got[4], x[4], atol=0.1)
    assert torch.equal(x, images(5))  # the data are not written over


def test_no_pixel_leaves_the_range_of_its_channel():
    x = images(64, 16, 16, 3).sign()
    x[:, 2] = 0.25
    got, _ = Augment(1.0)(x, Augment(1.0).draw(0, range(64), 1))
    assert got.abs().max() <= 1
    assert torch.equal(got[:, 2], x[:, 2])


def test_fine_stripes_that_are_shrunk_do_not_come_back_as_coarse_ones():
    """Aliasing: of stripes of 2.2 pixels, at 2/3 of their size beyond the finest that there are, little is left."""
    x = torch.cos(2 * math.pi * torch.arange(64) / 2.2).expand(1, 1, 64, 64).contiguous()
    got = warped(x, 2 / 3 * ONE, STILL)
    assert got.square().mean() < 0.1 * x.square().mean()
    coarse = torch.cos(2 * math.pi * torch.arange(64) / 12).expand(1, 1, 64, 64).contiguous()
    assert warped(coarse, 2 / 3 * ONE, STILL).square().mean() > 0.9 * coarse.square().mean()


def test_each_part_is_drawn_with_its_probability_and_distribution():
    p, n = 0.12, 20_000
    a = Augment(p).draw(3, range(n), 5)
    assert a.shape == (n, 8)
    assert a.dtype == torch.float64
    share = (a != 0).double().mean(0)
    expected = torch.tensor([p / 2, p / 2, p, p, p, p, p, p])
    assert ((share - expected).abs() < 4.5 * (expected * (1 - expected) / n).sqrt()).all()
    assert a[:, :2].unique().tolist() == [0, 1]
    for column in (2, 5, 6, 7):
        assert kstest(a[:, column][a[:, column] != 0].numpy(), "norm").pvalue > 1e-3
    for column in (3, 4):
        assert kstest(a[:, column][a[:, column] != 0].numpy() / math.pi, "uniform", (-1, 2)).pvalue > 1e-3
    moved = a != 0
    parts = torch.stack([moved[:, 2], moved[:, 3], moved[:, 5], moved[:, 6]], 1).double()
    covariance = (parts - p).T @ (parts - p) / n
    assert (covariance - torch.eye(4) * p * (1 - p)).abs().max() < 4.5 * p / n**0.5  # each by itself
    assert torch.equal(moved[:, 4], moved[:, 5])
    assert torch.equal(moved[:, 6], moved[:, 7])
    assert Augment(1.0).draw(3, range(n), 5)[:, 2:].all()


def test_draws_are_functions_of_seed_step_and_place():
    whole = Augment(0.5).draw(1, range(8), 2)
    assert torch.equal(Augment(0.5).draw(1, range(3, 6), 2), whole[3:6])
    for other in (Augment(0.5).draw(2, range(8), 2), Augment(0.5).draw(1, range(8), 3)):
        assert not torch.equal(other, whole)
    assert Augment(1.0).parameters(torch.zeros(1, 14, dtype=torch.float64)).isfinite().all()


def test_what_is_told_says_all_of_the_transform_and_is_zero_for_none():
    """T is computed here from the nine numbers alone; mirrors, turn, stretch and so on by the names of the columns."""
    augment = Augment(0.3)
    a = augment.draw(0, range(2000), 1)
    told = augment.labels(a)
    assert told.shape == (2000, TRANSFORM)
    assert told.dtype == torch.float32
    assert torch.equal((told != 0).any(1), (a != 0).any(1))
    x = blob(MEAN, COV, 33, 41).expand(2000, -1, -1, -1)
    got, also = augment(x, a)
    assert torch.equal(also, told)
    still = (told == 0).all(1)
    assert 0.05 < still.double().mean() < 0.3
    assert torch.equal(got[still], x[still])
    assert ((got[~still] - x[~still]).abs().amax((1, 2, 3)) > 0).all()
    for row, image in list(zip(told.double().numpy(), got, strict=True))[:200]:
        log_stretch = math.log(2) / 5 * np.array([[row[5], row[6]], [row[6], -row[5]]])
        size, axes = np.linalg.eigh(log_stretch)
        matrix = axes @ np.diag(np.exp(size)) @ axes.T @ turning(math.atan2(row[4], row[3] + 1)) * 2 ** (row[2] / 5)
        matrix = matrix @ np.diag([1 - 2 * row[0], 1 - 2 * row[1]])
        shift = row[7:] * [41 / 8, 33 / 8]
        assert off(image, matrix, shift) < 0.05, row  # coarser than above: some parts shrink it a lot


def test_an_exact_model_that_is_asked_for_zeros_draws_no_transformed_image():
    """The data are one image. Told nothing, the exact denoiser of what training shows draws its transforms; told zeros,
    the exact denoiser of what training shows with zeros draws the image alone."""
    augment, x = Augment(0.3), images(1, 8, 8, 1)
    shown, told = augment(x.expand(400, -1, -1, -1), augment.draw(0, range(400), 1))
    schedule = fn.schedules.Cosine(T=100)

    def drawn(points):
        return fn.sample(fn.oracle.FiniteData(points).denoiser(schedule), 64, "ancestral", steps=100, seed=1)

    off = [(drawn(points) - x).abs().amax((1, 2, 3)) for points in (shown, shown[(told == 0).all(1)])]
    assert (off[0] > 0.1).double().mean() > 0.5
    assert off[1].max() < 1e-4


@pytest.mark.parametrize("p", [0, -0.1, 1.1, "often", True, math.nan])
def test_a_probability_is_asked_for(p):
    with pytest.raises(fn.FromNoiseError, match=r"augment must be a probability in \[0, 1\], 0 for none, got "):
        Augment(p)
