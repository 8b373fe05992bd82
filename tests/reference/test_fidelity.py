"""torch-fidelity's figures of the same features."""

import pytest
import torch

import fromnoise as fn
from fromnoise.features import Features
from fromnoise.metrics import Summary

pytest.importorskip("torch_fidelity", reason="the fid extra is not installed")


def features(n, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    pool = torch.randn(n, 32, generator=generator).relu() + shift
    return Features(pool, torch.randn(n, 10, generator=generator).double().softmax(1))


@pytest.fixture
def two():
    return features(500, 0), features(400, 1, 0.05)


def summaries(*sets):
    found = [Summary(len(s.pool)) for s in sets]
    for summary, s in zip(found, sets, strict=True):
        summary.add(0, s)
    return found


def test_frechet(two):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    theirs = fid_statistics_to_metric(*(fid_features_to_statistics(s.pool.double()) for s in two), verbose=False)
    ours = fn.metrics.Frechet()(*summaries(*two))
    assert ours["FD"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9, abs=1e-9)


def test_inception_score(two):
    from torch_fidelity.metric_isc import isc_features_to_metric

    dealt = torch.from_numpy(fn.noise.permutation(0, 0, 500)).argsort()  # ours are dealt to the parts at random
    theirs = isc_features_to_metric(two[0].probabilities[dealt].log(), splits=10, shuffle=False)
    ours = fn.metrics.InceptionScore()(*summaries(*two))
    assert ours["IS"] == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    assert ours["IS deviation"] == pytest.approx(theirs["inception_score_std"], rel=1e-6)


def test_kernel():
    from torch_fidelity.metric_kid import kid_features_to_metric

    one, other = features(300, 0), features(300, 1, 0.05)
    theirs = kid_features_to_metric(
        one.pool.double(), other.pool.double(), kid_subsets=1, kid_subset_size=300, verbose=False
    )
    ours = fn.metrics.Kernel(size=300)(*summaries(one, other))
    assert ours["KID"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)


def test_precision_and_recall(two):
    from torch_fidelity.metric_prc import prc_features_to_metric

    theirs = prc_features_to_metric(two[0].pool.double(), two[1].pool.double(), prc_neighborhood=3, prc_batch_size=100, save_cpu_ram=False, verbose=False)  # fmt: skip
    ours = fn.metrics.neighbours(two[0].pool, two[1].pool)
    assert ours["precision"] == pytest.approx(theirs["precision"], abs=1e-6)
    assert ours["recall"] == pytest.approx(theirs["recall"], abs=1e-6)
    assert 0.1 < ours["precision"] < 1
