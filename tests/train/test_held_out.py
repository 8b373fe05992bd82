"""The loss of held-out examples is one number, whoever computes it."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import fromnoise as fn
from fromnoise import couplings
from fromnoise.data.examples import examples_of
from fromnoise.system.hardware import Hardware
from fromnoise.train.diffusion import Diffusion
from fromnoise.train.validation import held_out_loss

CPU = Hardware(torch.device("cpu"), torch.float32, "test")
SHAPE, N, BATCH = (1, 8, 8), 22, 12
X = torch.randn(N, *SHAPE, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


class Some(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3))
        self.calls = 0

    def forward(self, x, time):
        self.calls += 1
        return self.weight * x


def diffusing(coupling):
    options = {"group": 4} if coupling == "optimal-transport" else {}
    given = {"noise": torch.randn(X.shape, generator=torch.Generator().manual_seed(1))} if coupling == "given" else {}
    model = fn.Denoiser(Some(), fn.schedules.Cosine(T=100), "v", shape=SHAPE)
    task = Diffusion(model, fn.objectives.Simple(), seed=3, coupling=couplings.build(coupling, **options))
    return task, (X, given), task.network


def contrasting():
    torch.manual_seed(0)
    words = [f"caption {k}" for k in range(N)]
    encoder = fn.text.Learned(vocabulary=300, length=6).fitted(words)
    network = fn.nn.ImageTextNetwork(
        {"width": 16} | encoder.options, outputs=8, in_channels=1, channels=16, mult=(1, 2), groups=4
    )
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    model = fn.guidance.ImageText(network, fn.schedules.Cosine(), SHAPE, encoder)
    return fn.train.Contrasting(model, seed=0), (X, {"text": encoder(words)}), network


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("kind", [*couplings.names(), "contrasting"])
def test_it_does_not_depend_on_the_number_of_processes(kind, world):
    """Groups that are paired, or compared, are never parted; and sharded weights want equally many calls of all."""
    task, data, network = contrasting() if kind == "contrasting" else diffusing(kind)
    held_out, parts, calls = examples_of(data), [], []
    network.register_forward_hook(lambda *about: calls.append(1))

    def measured(rank, world):
        calls.clear()
        shares = SimpleNamespace(rank=rank, world=world, sum=lambda part: part)
        return held_out_loss(task, held_out, CPU, BATCH, shares) * N, len(calls)

    whole, _ = measured(0, 1)
    parts = [measured(rank, world) for rank in range(world)]
    assert sum(total for total, _ in parts) == pytest.approx(whole, rel=1e-6)
    assert len({n for _, n in parts}) == 1
