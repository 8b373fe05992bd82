"""Figures of sets of images, against closed forms and plain loops."""

import itertools
import math

import pytest
import torch

import fromnoise as fn
from fromnoise.metrics import Statistics, Summary
from fromnoise.metrics.comparison import figures
from fromnoise.metrics.features import Features


def vectors(n, d=5, seed=0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.eye(d, dtype=torch.float64) + torch.linspace(0, 1, d * d, dtype=torch.float64).view(d, d)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mixing + shift


def test_streamed_moments_are_those_of_the_whole_also_far_from_the_origin():
    x = vectors(1000, shift=1e6)
    parts = [Statistics(5), Statistics(5)]
    for i, part in enumerate(x.split([1, 400, 3, 596])):
        parts[i % 2].add(part)
    parts[1].merge(parts[0])
    parts[1].merge(Statistics(5))
    assert parts[1].n == 1000
    torch.testing.assert_close(parts[1].mean, x.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(parts[1].covariance, (x - 1e6).T.cov(), rtol=1e-8, atol=0)


def summary(features, n=None, first=0):
    """SampleOptions for were the classes 0..9 in turn, where there are classes."""
    found = Summary(n or len(features.pool))
    found.add(first, features, torch.arange(first, first + len(features.pool)) % 10)
    return found


def test_a_summary_survives_files_and_does_not_depend_on_who_saw_what():
    pool = vectors(60).float()
    probabilities = vectors(60, 4, seed=1).softmax(1)
    spatial = vectors(60, 3, seed=2).float()
    whole = summary(Features(pool, probabilities, spatial))
    cut = [slice(40, 60), slice(0, 13), slice(13, 40)]
    shares = [summary(Features(pool[c], probabilities[c], spatial[c]), 60, c.start) for c in cut]
    shares = [Summary.of(share.tensors()) for share in shares]
    shares[0].merge(shares[1])
    shares[0].merge(shares[2])
    assert shares[0].count == 60
    assert torch.equal(shares[0].kept, pool)
    one, other = whole.tensors(), shares[0].tensors()
    for key in one.keys() - {"first", "lengths", "kept"}:
        torch.testing.assert_close(one[key], other[key], rtol=1e-12, atol=1e-12)


def test_only_the_first_images_are_kept(monkeypatch):
    monkeypatch.setattr("fromnoise.metrics.figures.KEEP", 25)
    found = Summary(60)
    pool = vectors(60).float()
    for first in (30, 0, 20, 10):
        found.add(first, Features(pool[first : first + 10]))
    assert torch.equal(found.kept, pool[:25])


def test_features_that_are_not_numbers_name_the_image():
    pool = vectors(10).float()
    pool[7, 2] = math.nan
    with pytest.raises(fn.FromNoiseError, match="image 107: its features are not finite"):
        summary(Features(pool), 200, 100)


def test_frechet_of_streamed_samples_is_that_of_their_gaussians():
    one, other = vectors(400).float(), vectors(300, seed=1, shift=0.3).float()
    found = fn.metrics.Frechet()(summary(Features(one)), summary(Features(other)))
    a, b = one.double(), other.double()
    cross = torch.linalg.eigvals(a.T.cov() @ b.T.cov()).real.clamp(min=0).sqrt().sum()
    truth = (a.mean(0) - b.mean(0)).square().sum() + a.T.cov().trace() + b.T.cov().trace() - 2 * cross
    assert found == {"FD": pytest.approx(truth.item(), rel=1e-9)}


def test_frechet_approaches_the_distance_of_the_distributions():
    # N(0, I) and N(m, 4 I): |m|^2 + d, up to the sampling error of 200,000 vectors.
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(200_000, 3, generator=generator)
    other = 2 * torch.randn(200_000, 3, generator=generator) + torch.tensor([1.0, -2.0, 0.5])
    found = fn.metrics.Frechet()(summary(Features(one)), summary(Features(other)))
    assert found["FD"] == pytest.approx(5.25 + 3, rel=0.02)


def test_kernel_distance_is_the_sum_over_pairs():
    one, other = vectors(6, 3), vectors(5, 3, seed=1)

    def k(a, b):
        return (float(a @ b) / 3 + 1) ** 3

    within = sum(k(a, b) for a, b in itertools.permutations(one, 2)) / 30
    within += sum(k(a, b) for a, b in itertools.permutations(other, 2)) / 20
    between = sum(k(a, b) for a in one for b in other) / 30
    assert fn.metrics.mmd(one, other).item() == pytest.approx(within - 2 * between, rel=1e-12)


def test_kernel_distance_has_no_bias():
    values = torch.stack([fn.metrics.mmd(vectors(20, 3, 2 * i), vectors(20, 3, 2 * i + 1)) for i in range(400)])
    assert abs(values.mean()) < 4 * values.std() / 20
    pools = [Features(vectors(50, 3, seed).float()) for seed in (0, 1)]
    subsets = fn.metrics.Kernel(subsets=300, size=20)(*(summary(p) for p in pools))
    assert subsets["KID"] == pytest.approx(fn.metrics.mmd(pools[0].pool.double(), pools[1].pool.double()).item(), abs=4 * subsets["KID deviation"] / 300**0.5)  # fmt: skip


def test_neighbours_are_those_of_plain_loops(monkeypatch):
    monkeypatch.setattr("fromnoise.metrics.precision_recall._ROWS", 7)  # several chunks
    fake, real, k, robust = vectors(30, 2), vectors(25, 2, seed=1, shift=1.5), 3, 5

    def radius(x, i, k):
        return sorted(float((x[i] - y).norm()) for y in x)[k]

    def d(a, b):
        return float((a - b).norm())

    truth = {
        "precision": sum(any(d(f, r) <= radius(real, j, k) for j, r in enumerate(real)) for f in fake) / 30,
        "recall": sum(any(d(f, r) <= radius(fake, i, k) for i, f in enumerate(fake)) for r in real) / 25,
        "density": sum(d(f, r) < radius(real, j, robust) for f in fake for j, r in enumerate(real)) / (robust * 30),
        "coverage": sum(min(d(f, r) for f in fake) < radius(real, j, robust) for j, r in enumerate(real)) / 25,
    }
    assert fn.metrics.neighbours(fake, real, k, robust) == pytest.approx(truth, abs=1e-12)
    assert 0 < truth["precision"] < 1


def test_a_mode_that_is_missed_lowers_recall_and_a_wild_one_precision():
    left, right, wild = vectors(200, 2), vectors(200, 2, seed=1, shift=40.0), vectors(200, 2, seed=2, shift=-40.0)
    real = torch.cat([left, right])
    missed = fn.metrics.neighbours(vectors(400, 2, seed=3), real)
    assert missed["precision"] > 0.9
    assert missed["recall"] == pytest.approx(0.5, abs=0.05)
    assert missed["coverage"] == pytest.approx(0.5, abs=0.05)
    strange = fn.metrics.neighbours(torch.cat([vectors(200, 2, seed=4), wild]), left)
    assert strange["precision"] == pytest.approx(0.5, abs=0.05)
    assert strange["recall"] > 0.9
    assert fn.metrics.neighbours(real[:5], real) == {}  # too few for five neighbours


def test_inception_score_by_parts_is_that_of_the_whole():
    p = vectors(97, 6).softmax(1)
    one = summary(Features(vectors(97).float(), p))
    where = torch.from_numpy(fn.rng.permutation(0, 0, 97)) * 10 // 97
    assert sorted(where.bincount().tolist()) == [9, 9, 9, 10, 10, 10, 10, 10, 10, 10]
    scores = []
    for i in range(10):
        part = p[where == i]
        scores.append((part * (part / part.mean(0)).log()).sum(1).mean().exp())
    found = fn.metrics.InceptionScore()(one, one)
    every = torch.stack(scores)
    assert found == {"IS": pytest.approx(every.mean().item(), rel=1e-12), "IS deviation": pytest.approx(every.std(correction=0).item(), rel=1e-9)}  # fmt: skip
    mean, deviation = fn.metrics.inception_score.score(p)
    assert (mean.item(), deviation.item()) == (pytest.approx(found["IS"]), pytest.approx(found["IS deviation"]))


class Toy(fn.features.Extractor):
    """The mean and deviation of each image."""

    suffix, dimensions, hash, about = "-toy", 2, "0" * 64, {}

    def __call__(self, pixels):
        x = pixels.float().flatten(1)
        return Features(torch.stack([x.mean(1), x.std(1)], 1))


def test_figures_are_called_after_their_features():
    images = torch.randint(0, 256, (40, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = fn.metrics.compare(images, images, Toy())
    assert found["FD-toy"] == pytest.approx(0, abs=1e-6)
    assert found["precision"] == found["recall"] == 1
    assert set(found) == {"FD-toy", "KID-toy", "KID-toy deviation", "precision", "recall", "density", "coverage"}

    class Inception(Toy):
        suffix = ""

    features = Features(vectors(40).float(), vectors(40, 3).softmax(1), vectors(40, 2).float())
    both = summary(features), summary(features)
    named = figures(*both, Inception())
    assert {"FID", "sFID", "IS", "IS deviation", "KID", "KID deviation"} <= set(named)
    assert set(figures(*both, Toy(), ["frechet"])) == {"FD-toy", "sFD-toy"}


def test_sizes_that_differ_are_refused():
    images = torch.zeros(4, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(fn.FromNoiseError, match="the samples are 4x4 and the images of images 8x8"):
        fn.metrics.compare(images, torch.zeros(4, 1, 8, 8, dtype=torch.uint8), Toy())


@pytest.mark.parametrize("name", fn.metrics.names())
def test_every_metric_takes_its_best_value_for_the_reference_itself(name):
    features = Features(vectors(300).float(), torch.eye(10)[torch.arange(300) % 10].double(), vectors(300, 3).float())
    worse = Features(vectors(300, seed=1, shift=3).float(), torch.eye(10)[torch.arange(300) % 2].double(), vectors(300, 3, shift=3).float())  # fmt: skip
    metric = fn.metrics.build(name)
    best, bad = metric(summary(features), summary(features)), metric(summary(worse), summary(features))
    assert best.keys() == bad.keys()
    assert best
    higher = {"IS", "precision", "recall", "density", "coverage", "class accuracy"}
    for key in best:
        if "deviation" not in key:
            assert best[key] > bad[key] if key in higher else best[key] < bad[key], key
