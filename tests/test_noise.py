"""Counted randomness: a function of its arguments, normal, independent."""

import scipy.stats
import torch

from fromnoise import rng
from fromnoise.system.rng import Stream


def test_noise_is_a_function_of_seed_index_and_call():
    whole = rng.normal(7, range(10), 3, (2, 5))
    assert torch.equal(whole[4:6], rng.normal(7, [4, 5], 3, (2, 5)))
    assert torch.equal(whole, rng.normal(7, range(10), 3, (2, 5)))
    for other in (rng.normal(8, range(10), 3, (2, 5)), rng.normal(7, range(10), 4, (2, 5)),
                  rng.normal(7, range(10, 20), 3, (2, 5)), rng.normal(7, range(10), 3, (2, 5), Stream.TRAIN_NOISE)):  # fmt: skip
        assert not (whole == other).any()


def test_order_of_calls_does_not_matter():
    first = rng.uniform(1, range(5), 2, Stream.TRAIN_TIME)
    rng.normal(1, range(3), 9, (1001,))
    rng.permutation(1, 4, 100)
    assert torch.equal(first, rng.uniform(1, range(5), 2, Stream.TRAIN_TIME))


def test_noise_is_normal_and_independent():
    x = rng.normal(0, range(200), 0, (500,), dtype=torch.float64)
    assert scipy.stats.kstest(x.flatten().numpy(), "norm").pvalue > 1e-3
    correlation = torch.corrcoef(x) - torch.eye(200, dtype=torch.float64)
    assert correlation.abs().max().item() < 5.5 / 500**0.5
    calls = torch.stack([rng.normal(0, [0], call, (2000,))[0] for call in range(30)])
    assert (torch.corrcoef(calls) - torch.eye(30)).abs().max().item() < 5 / 2000**0.5


def test_seeds_may_be_any_integers():
    assert not torch.equal(rng.normal(-1, [0], 0, (3,)), rng.normal(1, [0], 0, (3,)))
    assert rng.normal(2**64 + 5, [0], 0, (3,)).isfinite().all()


def test_uniform_and_permutation():
    u = rng.uniform(3, range(20_000), 0, Stream.TRAIN_TIME)
    assert scipy.stats.kstest(u.numpy(), "uniform").pvalue > 1e-3
    order = rng.permutation(3, 0, 1000)
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != rng.permutation(3, 1, 1000).tolist()
