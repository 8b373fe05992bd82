"""The loss at ranges of noise: its parts make the whole, whatever the batch is divided into."""

import json

import pytest
import torch

import fromnoise as fn
from fromnoise.train.by_level import RANGES, gathered, read

WANTED = {"loss_noise": (-torch.inf, -4), "loss_noisy": (-4, 0), "loss_clear": (0, 4), "loss_clean": (4, torch.inf)}


def figures(loss, t):
    """What the log would have of one batch."""
    return gathered(["loss"], read([loss.mean()], (t.log_snr.double().expand(len(loss)), loss)))


def test_parts_make_the_whole():
    schedule = fn.schedules.Cosine(T=1000)
    t = schedule.level(torch.tensor([1, 20, 150, 400, 450, 700, 990, 1000]))
    loss = torch.arange(1.0, 9.0)
    found = figures(loss, t)
    inside = {name: (t.log_snr > low) & (t.log_snr <= high) for name, (low, high) in WANTED.items()}
    assert sum(int(own.sum()) for own in inside.values()) == len(loss)
    assert found.keys() == {"loss", *RANGES}
    assert found["loss"] == pytest.approx(4.5)
    for name, own in inside.items():
        assert found[name] == pytest.approx(loss[own].mean().item())


def test_a_range_without_examples_has_no_figure():
    assert figures(torch.ones(3), fn.schedules.Cosine().level(990)) == {"loss": 1.0, "loss_noise": pytest.approx(1.0)}


def test_what_has_no_levels_has_its_numbers_alone():
    assert gathered(["a", "b"], read([torch.tensor(1.0), torch.tensor(2.0)], None)) == {"a": 1.0, "b": 2.0}


def test_levels_without_signal_or_noise_belong_to_the_outer_ranges():
    straight = fn.schedules.build("rectified")
    t = fn.Level(*(torch.stack(part) for part in zip(*((a.time, a.alpha, a.sigma) for a in
        (straight.chain[0], straight.chain[straight.chain.steps])), strict=True)))  # fmt: skip
    found = figures(torch.tensor([2.0, 3.0]), t)
    assert found == {"loss": 2.5, "loss_noise": 2.0, "loss_clean": 3.0}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_log_has_them(tmp_path, accumulate):
    """A network that predicts nothing: of eps the loss is |eps|^2 at every level, and a range's is its examples' own."""
    torch.manual_seed(0)
    network = torch.nn.Linear(2, 2)
    torch.nn.init.zeros_(network.weight), torch.nn.init.zeros_(network.bias)

    class Nothing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x, time):
            return 0 * self.inner(x)

    denoiser = fn.Denoiser(Nothing(), "cosine", "eps", shape=(2,))
    fn.fit(denoiser, torch.zeros(64, 2), steps=3, batch_size=64, lr=1e-9, out=tmp_path, progress=False,
           accumulate=accumulate)  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert set(RANGES) <= line.keys()
        step = line["step"]
        eps = fn.rng.normal(0, range(64), step, (2,), fn.rng.Stream.TRAIN_NOISE)
        u = fn.rng.uniform(0, range(64), step, fn.rng.Stream.TRAIN_TIME)
        t, _ = fn.times.build("uniform").draw(u, denoiser.schedule)
        loss = eps.square().mean(1)
        assert line["loss"] == pytest.approx(loss.mean().item(), rel=1e-5)
        for name, (low, high) in WANTED.items():
            own = (t.log_snr > low) & (t.log_snr <= high)
            assert line[name] == pytest.approx(loss[own].mean().item(), rel=1e-5)
