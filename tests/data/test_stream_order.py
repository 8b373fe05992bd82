"""The order of streamed shards: counted, the same for any number of processes, every example once an epoch."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fromnoise.data._lanes import Lanes

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)


def row(sizes, seed=0, batch=8, lanes=4, steps=range(1, 40), parts=1):
    """The examples of each step, as so many processes see them together."""
    each = batch // parts
    orders = [Lanes(np.array(sizes), seed, batch, lanes) for _ in range(parts)]  # a process has its own
    return np.array([np.concatenate([orders[p].numbers(step, range(p * each, (p + 1) * each)) for p in range(parts)])
                     for step in steps])  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(0, 5), st.sampled_from([12, 24]), st.integers(1, 24))
def test_any_number_of_processes_sees_the_same_batches(sizes, seed, batch, lanes):
    whole = row(sizes, seed, batch, lanes, range(1, 12))
    for parts in (2, 3, 4):
        assert np.array_equal(row(sizes, seed, batch, lanes, range(1, 12), parts), whole)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(1, 200), st.integers(1, 16))
def test_any_step_is_found_at_once(sizes, step, batch):
    """What a run sees after it resumed is the tail of what it would have seen, with nothing replayed."""
    steps = range(step, step + 5)
    going_on = Lanes(np.array(sizes), 3, batch, 16)
    before = [going_on.numbers(k, range(batch)) for k in range(1, step + 5)]
    assert np.array_equal(row(sizes, 3, batch, 16, steps), before[step - 1 :])


@settings(max_examples=50, deadline=None)
@given(SIZES, st.integers(1, 16), st.integers(1, 16))
def test_each_example_is_seen_once_an_epoch(sizes, batch, lanes):
    """At the end of every epoch each was seen as often as there were epochs, but for fewer than one for each lane."""
    order, n = Lanes(np.array(sizes), 0, batch, lanes), sum(sizes)
    shown = [[] for _ in range(order.lanes)]
    for step in range(1, 3 * n // batch + 3):
        for place, number in enumerate(order.numbers(step, range(batch)).tolist()):
            shown[place // order.group].append(number)
    for epoch in (1, 2, 3):
        each = epoch * n // order.lanes  # what each lane has shown by the end of it
        counts = Counter(number for lane in shown for number in lane[:each])
        missing = sum(max(0, epoch - counts[i]) for i in range(n))
        assert missing == epoch * n - order.lanes * each < order.lanes
        assert max(counts.values(), default=0) <= epoch


def test_epochs_and_seeds_have_orders_of_their_own():
    sizes = [50] * 8
    first, second = (row(sizes, 0, 16, 4, range(k, k + 25)) for k in (1, 26))
    assert sorted(first.ravel()) == sorted(second.ravel()) == list(range(400))
    assert (first == second).mean() < 0.1
    assert (first == row(sizes, 1, 16, 4, range(1, 26))).mean() < 0.1
    alone = row(
        [1] * 400, 0, 400, 1, range(1, 3)
    )  # of one image a shard: the order of the shards alone, in blocks of one
    assert (alone[0] == alone[1]).mean() < 0.1


def test_a_batch_is_mixed_from_as_many_shards_as_there_are_lanes():
    sizes = [100] * 64
    shards = row(sizes, 0, 64, 16, range(1, 90)) // 100
    kinds = [len(set(batch)) for batch in shards.tolist()]
    assert 16 <= np.mean(kinds) <= 32
    inside = row(sizes, 0, 64, 1, range(1, 90)).ravel() % 100
    assert abs(np.corrcoef(inside[:-1], inside[1:])[0, 1]) < 0.1  # within a shard they do not come in a row


@pytest.mark.parametrize(("processes", "share"), [(1, 1.0), (2, 0.57), (4, 0.33), (8, 0.2)])
def test_a_process_opens_its_share_of_the_shards(processes, share):
    order = Lanes(np.full(487, 100), 0, 64, 16)
    steps = range(1, 487 * 100 // 64)
    opened, needed = set(), 0
    for step in steps:
        numbers = order.numbers(step, range(64 // processes)) // 100
        opened |= set(numbers.tolist())
        known = order.shards(step, range(64 // processes)) + order.shards(step, range(64 // processes), 1)
        assert set(numbers.tolist()) <= set(known), "what a step reads was known a round before"
        needed = max(needed, len(order.shards(step, range(64 // processes))))
    assert len(opened) <= share * 487
    assert needed <= 16 // processes + 2


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(1, 12), st.integers(1, 40))
def test_what_is_fetched_ahead_is_what_is_read(sizes, batch, step):
    order, ends = Lanes(np.array(sizes), 0, batch, 4), np.cumsum(sizes)
    read = set(np.searchsorted(ends, order.numbers(step, range(batch)), side="right").tolist())
    rounds = order.round_of(step + 1) - order.round_of(step)
    known = {shard for ahead in range(rounds + 1) for shard in order.shards(step, range(batch), ahead)}
    assert read <= known
    assert all(sizes[shard] for shard in known)


def test_lanes_divide_the_batch():
    assert [Lanes(np.array([5]), 0, batch, 16).lanes for batch in (1, 7, 24, 64, 34, 31)] == [1, 7, 12, 16, 2, 1]


def test_a_hundred_thousand_shards_of_a_billion_examples():
    order = Lanes(np.full(100_000, 10_000), 0, 2048, 64)
    late = order.numbers(10**7, range(2048))  # the twentieth epoch
    assert len(set(late.tolist())) == 2048
    assert 0 <= late.min() < late.max() < 10**9
    assert len(set((late // 10_000).tolist())) >= 64
