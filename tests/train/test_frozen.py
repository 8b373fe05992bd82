"""What requires no gradient stays as it is: in the weights, the averages, the optimiser's state and the checkpoints."""

import pytest
import torch
from torch import nn

import fromnoise as fn
from fromnoise.system.disk import storage
from fromnoise.weights.describing import put_average


class Own(nn.Module):
    """A network of a person's, part of which was learned elsewhere."""

    def __init__(self):
        super().__init__()
        self.learned, self.head = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x, time):
        return self.head(torch.relu(self.learned(x)))


def model():
    torch.manual_seed(0)
    network = Own()
    network.learned.requires_grad_(False)
    return fn.Denoiser(network, fn.schedules.Linear(T=20), shape=(4,))


def ready(network):
    """All parameters, as people write it."""
    return torch.optim.Adam(network.parameters(), lr=1e-2, weight_decay=0.1)


OPTIONS = {"batch_size": 8, "ema": 0.5, "progress": False}
X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("optimizer", ["adamw", "muon", torch.optim.SGD, ready])
def test_a_frozen_part_stays(optimizer, tmp_path):
    """Weight decay included; whoever loads the run gets it too, frozen or not."""
    denoiser = model()
    before = denoiser.network.learned.weight.clone()
    head = denoiser.network.head.weight.clone()
    made = ready(denoiser.network) if optimizer is ready else optimizer
    options = OPTIONS | ({} if optimizer is ready else {"lr": 1e-2, "weight_decay": 0.1})
    fn.fit(denoiser, X, steps=3, optimizer=made, out=tmp_path, **options)
    assert torch.equal(denoiser.network.learned.weight, before)
    assert not torch.equal(denoiser.network.head.weight, head)
    checkpoint = next((tmp_path / "checkpoints").iterdir())
    averages = storage.read_tensors(checkpoint, "ema")
    assert averages.keys() == denoiser.network.state_dict().keys()  # a whole model
    assert torch.equal(averages["learned.weight"], before)
    assert storage.read_tensors(checkpoint, "model").keys() == denoiser.network.state_dict().keys()
    assert not any("learned" in name for name in storage.read_tensors(checkpoint, "optimizer"))
    for ema in (True, False):
        found = fn.load(tmp_path, ema, network=Own()).network
        assert torch.equal(found.learned.weight, before)
        assert torch.equal(found.head.weight, denoiser.network.head.weight) == ema


@pytest.mark.parametrize("optimizer", ["adamw", "muon", ready])
def test_a_run_with_a_frozen_part_goes_on_exactly(optimizer, tmp_path):
    def fitted(denoiser, **options):
        made = ready(denoiser.network) if optimizer is ready else optimizer
        fn.fit(denoiser, X, optimizer=made, **OPTIONS, **options)
        return denoiser.network.state_dict()

    whole = fitted(model(), steps=6)
    fitted(model(), steps=2, out=tmp_path)
    again = fitted(model(), steps=6, out=tmp_path, resume=True)
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def test_the_size_of_the_gradient_is_that_of_what_is_trained():
    denoiser = model()
    seen = []
    fn.fit(denoiser, X, steps=1, **OPTIONS, callbacks=lambda line: seen.append(line["grad_norm"]))
    free = model()
    free.network.learned.requires_grad_(True)
    fn.fit(free, X, steps=1, **OPTIONS, callbacks=lambda line: seen.append(line["grad_norm"]))
    assert 0 < seen[0] < seen[1]


def test_a_frozen_part_may_be_in_half_precision_and_not_all_may_be_frozen():
    denoiser = model()
    denoiser.network.register_parameter(
        "unused", nn.Parameter(torch.zeros(2, dtype=torch.float16), requires_grad=False)
    )
    fn.fit(denoiser, X, steps=1, **OPTIONS)
    denoiser.network.requires_grad_(False)
    with pytest.raises(fn.FromNoiseError, match="has no parameter that can be trained"):
        fn.fit(denoiser, X, steps=1, **OPTIONS)


def test_averages_that_are_not_the_models_are_refused(tmp_path):
    denoiser = fn.Denoiser(Own(), fn.schedules.Linear(T=20))
    whole = {name: torch.zeros_like(value) for name, value in denoiser.network.state_dict().items()}
    put_average(denoiser, whole, tmp_path)
    missing = {name: value for name, value in whole.items() if name != "head.bias"}
    for averages in (whole | {"tail.weight": torch.zeros(4, 4)}, whole | {"head.weight": torch.zeros(4, 3)}, missing):
        with pytest.raises(fn.FromNoiseError, match="its averaged weights do not fit"):
            put_average(denoiser, averages, tmp_path)
