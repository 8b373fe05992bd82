"""The optimisers against torch's own."""

import pytest
import torch

import fromnoise as fn
from fromnoise.train.config import TrainConfig
from fromnoise.train.optimizer import Muon, _by_gram, _by_steps, optimizer, orthogonal


def test_orthogonal_keeps_the_singular_vectors_and_flattens_the_values():
    generator = torch.Generator().manual_seed(0)
    for shape in ((2, 5, 20), (2, 20, 5), (1, 7, 7)):
        g = torch.randn(shape, generator=generator)
        u, _, v = torch.linalg.svd(g, full_matrices=False)
        inside = u.mT @ orthogonal(g) @ v.mT
        values = torch.diagonal(inside, dim1=1, dim2=2)
        assert (inside - torch.diag_embed(values)).abs().max() < 1e-4
        assert values.min() > 0.6
        assert values.max() < 1.3


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_is_torchs(layout):
    """The same steps as torch.optim.Muon, which needs matrices and computes in bf16."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(6, 10, 3).to(memory_format=layout)
    start = network.weight.detach().permute(0, 2, 3, 1).reshape(10, -1).clone()
    theirs = torch.nn.Parameter(start.clone())
    ours = Muon(dict(network.named_parameters()), TrainConfig(lr=0.01, weight_decay=0.1))
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        grad = torch.randn(10, 6, 3, 3)
        network.weight.grad = grad.to(memory_format=layout)
        theirs.grad = grad.permute(0, 2, 3, 1).reshape(10, -1)
        ours.step(0.01)
        reference.step()
    moved = network.weight.detach().permute(0, 2, 3, 1).reshape(10, -1) - start
    expected = theirs.detach() - start
    # A contiguous weight is the matrix [out, in h w]: the same singular values, columns in another order.
    assert (moved - expected).norm() < 0.02 * expected.norm()


def test_the_state_does_not_depend_on_the_layout():
    """A run that goes on on a machine with the other memory layout has the same momentum."""
    torch.manual_seed(0)
    one = torch.nn.Conv2d(6, 10, 3)
    two = torch.nn.Conv2d(6, 10, 3)
    two.load_state_dict(one.state_dict())
    two.to(memory_format=torch.channels_last)
    a, b = (Muon(dict(n.named_parameters()), TrainConfig(lr=0.01)) for n in (one, two))
    grads = [torch.randn(10, 6, 3, 3) for _ in range(2)]
    one.weight.grad = two.weight.grad = grads[0]
    a.step(0.01)
    b.load({k: v.clone() for k, v in a.state().items()})
    two.load_state_dict(one.state_dict())
    for network, muon in ((one, a), (two, b)):
        network.weight.grad = grads[1]
        muon.step(0.01)
    torch.testing.assert_close(one.weight, two.weight, rtol=0, atol=1e-5)


def test_the_ends_and_the_vectors_stay_with_adamw():
    network = fn.nn.UNet(channels=8, mult=(1, 2), blocks=1, groups=4, attention=(), classes=3)
    muon = optimizer(dict(network.named_parameters()), TrainConfig(optimizer="muon"))
    assert isinstance(muon, Muon)
    assert set(muon.matrices) | set(muon.rest.parameters) == set(dict(network.named_parameters()))
    assert {"stem.weight", "out.weight", "label.weight", "norm.weight", "mid.0.conv1.bias"} <= set(muon.rest.parameters)
    assert {"mid.0.conv1.weight", "time.0.weight"} <= set(muon.matrices)


@pytest.mark.parametrize("shape", [(3, 7, 40), (2, 5, 5)])
def test_the_gram_matrix_alone_gives_what_the_whole_iteration_gives(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x / x.flatten(1).norm(dim=1)[:, None, None]
    torch.testing.assert_close(_by_gram(x), _by_steps(x), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(_by_gram(x.float()).double(), _by_steps(x), atol=1e-4, rtol=1e-4)
