"""What a step needs is made ready one step ahead: the same, in order, and errors come out where it is read."""

import itertools
import threading
import time

import pytest
import torch
from train.test_trainer import assert_same, images, trainer

from fromnoise.data.examples import Batches
from fromnoise.data.feed import Feed
from fromnoise.errors import FromNoiseError
from fromnoise.train import suitable
from fromnoise.train.pipeline import Ahead, Pipeline


def names():
    return [t.name for t in threading.enumerate() if t.name == "fromnoise-ahead"]


def test_items_come_in_order_and_the_thread_ends():
    with Ahead(lambda: iter(range(5))) as items:
        assert list(items) == [0, 1, 2, 3, 4]
    with Ahead(lambda: iter(range(10**9))) as items:
        assert [next(items) for _ in range(3)] == [0, 1, 2]
    assert names() == []


def test_it_is_ahead_by_two_at_most():
    """One that is held, and one that waits to be put."""
    made = []

    def make():
        for i in range(100):
            made.append(i)
            yield i

    with Ahead(make) as items:
        assert next(items) == 0
        end = time.monotonic() + 30
        while len(made) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.3)
        assert made == [0, 1, 2]


def test_an_error_comes_out_where_it_is_read():
    def make():
        yield 1
        raise RuntimeError("a file broke")

    with Ahead(make) as items:
        assert next(items) == 1
        with pytest.raises(RuntimeError, match="a file broke"):
            next(items)
    assert names() == []


@pytest.mark.parametrize("flip", [True, False])
def test_being_ahead_changes_nothing(tmp_path, monkeypatch, flip):
    """Bit for bit, with dropout, accumulation, mirrored images, and a run that stops and goes on."""
    trainer(tmp_path / "plain", accumulate=2, flip=flip).run()
    monkeypatch.setattr(Pipeline, "from_step", lambda self, first: Ahead(lambda: self._steps(first, self.hardware.put)))
    trainer(tmp_path / "ahead", accumulate=2, flip=flip, steps=5).run()
    again = trainer(tmp_path / "ahead", accumulate=2, flip=flip)
    assert again.resume()
    again.run()
    assert names() == []
    assert_same(tmp_path / "plain", tmp_path / "ahead")


def test_a_broken_data_set_is_one_error_and_no_thread_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "from_step", lambda self, first: Ahead(lambda: self._steps(first, self.hardware.put)))
    data = images()
    read, count = data.batch, iter(range(10))

    def breaking(indices):
        if next(count) == 3:
            raise RuntimeError("a file broke")
        return read(indices)

    data.batch = breaking
    with pytest.raises(RuntimeError, match="a file broke"):
        trainer(tmp_path, data=data).run()
    assert names() == []


def test_images_are_normalised_and_mirrored_where_they_are():
    from fromnoise.data.feed import as_state

    pixels = torch.tensor([[[[0, 128, 255]]], [[[0, 128, 255]]]], dtype=torch.uint8)
    expected = torch.tensor([[-1.0, 1 / 255, 1.0], [1.0, 1 / 255, -1.0]])
    torch.testing.assert_close(as_state(pixels, torch.tensor([False, True]))[:, 0, 0], expected)
    ready = torch.tensor([[0.5, -0.25]])
    assert as_state(ready, None) is ready


def test_processes_take_their_parts_of_the_same_batches():
    """Of an iterable, which each reads for itself."""
    x, label = torch.arange(24.0).view(24, 1), torch.arange(24)
    whole = [(x[i : i + 8], label[i : i + 8]) for i in (0, 8, 16)]
    batches = Batches([*whole, (x[:3], label[:3])], "data")
    parts = [itertools.islice(Feed(batches, 0, 8, part).from_step(1), 4) for part in (range(4), range(4, 8))]
    for k, ((a, of_a), (b, of_b)) in enumerate(zip(*parts, strict=True)):
        rows = [8 * (k % 3) + i for i in range(8)]
        assert torch.cat([a, b]).flatten().tolist() == rows
        assert torch.cat([of_a["label"], of_b["label"]]).tolist() == rows


def test_a_batch_is_held_to_the_memory_of_its_machine(monkeypatch):
    monkeypatch.setenv("FROMNOISE_MEMORY", "16")
    with pytest.raises(FromNoiseError, match="batch_size 8,192"):
        suitable.check_batch(8192, (3, 256, 256))
    suitable.check_batch(8192, (3, 256, 256), 8 / 1024)
