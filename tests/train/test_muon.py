"""Muon against torch's own and against its formula, matrix by matrix; what it costs, counted."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fromnoise as fn
from fromnoise.train.config import TrainConfig
from fromnoise.train.optimizers import Muon, build
from fromnoise.train.optimizers.newton_schulz import by_gram, by_steps, orthogonal


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
    muon = build("muon", dict(network.named_parameters()), TrainConfig())
    assert isinstance(muon, Muon)
    assert set(muon.matrices) | set(muon.rest.parameters) == set(dict(network.named_parameters()))
    assert {"stem.weight", "out.weight", "label.weight", "norm.weight", "mid.0.conv1.bias"} <= set(muon.rest.parameters)
    assert {"mid.0.conv1.weight", "time.0.weight"} <= set(muon.matrices)


@pytest.mark.parametrize("shape", [(3, 7, 40), (2, 5, 5)])
def test_the_gram_matrix_alone_gives_what_the_whole_iteration_gives(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x / x.flatten(1).norm(dim=1)[:, None, None]
    torch.testing.assert_close(by_gram(x), by_steps(x), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(by_gram(x.float()).double(), by_steps(x), atol=1e-4, rtol=1e-4)


class Matrices(torch.nn.Module):
    """Some of equal shape, in every layout that a weight has, and a vector."""

    def __init__(self, copies=3):
        super().__init__()
        of = {"a": (6, 10), "b": (10, 6), "c": (8, 4, 3, 3), "d": (5, 2, 3), "e": (4, 3, 2, 2, 2), "f": (7,)}
        last = {4: torch.channels_last, 5: torch.channels_last_3d}
        for name, shape in of.items():
            for i in range(copies):
                p = torch.randn(shape)
                p = p.contiguous(memory_format=last[p.dim()]) if p.dim() in last and i % 2 else p
                self.register_parameter(f"{name}{i}", torch.nn.Parameter(p))
        self.register_parameter("turned", torch.nn.Parameter(torch.randn(6, 10).T))


def by_hand(start, grads, lr, decay):
    """The docstring's equation for one matrix, float64: after every gradient of the list."""
    p, m = start.double(), torch.zeros_like(start, dtype=torch.float64)
    rows = p.shape[0]
    for g in grads:
        m = 0.95 * m + g.double()
        x = (g.double() + 0.95 * m).reshape(rows, -1)
        x = x if x.shape[0] <= x.shape[1] else x.T
        x = x / x.norm()
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        x = x if rows == x.shape[0] else x.T
        p = (1 - lr * decay) * p - lr * 0.2 * max(x.shape) ** 0.5 * x.reshape(p.shape)
    return p


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_all_matrices_together_are_each_alone(decay):
    torch.manual_seed(3)
    network, lr = Matrices(), 0.05
    weights = dict(network.named_parameters())
    start = {name: p.detach().clone() for name, p in weights.items()}
    muon = Muon(weights, TrainConfig(lr=lr, weight_decay=decay))
    grads = [{name: torch.randn_like(p) for name, p in weights.items()} for _ in range(3)]
    for each in grads:
        for name, p in weights.items():
            p.grad = each[name].clone()
        muon.step(lr)
    assert len(muon.matrices) == 16
    for name in muon.matrices:
        moved = weights[name].detach().double() - start[name]
        expected = by_hand(start[name], [g[name] for g in grads], lr, decay) - start[name]
        # to 1e-4 of the step: five products in float32, of which the condition number is what the gradient's is
        assert (moved - expected).norm() < 1e-4 * expected.norm(), name


def test_a_matrix_without_a_gradient_stays():
    weights = dict(Matrices().named_parameters())
    muon, still = Muon(weights, TrainConfig(weight_decay=0.1)), weights["a1"].detach().clone()
    muon.step(0.1)
    for name, p in weights.items():
        p.grad = None if name == "a1" else torch.ones_like(p)
    muon.step(0.1)
    assert torch.equal(weights["a1"], still)
    assert "momentum.a1" not in muon.state()


def test_a_network_of_matrices_alone():
    muon = Muon({"w": torch.nn.Parameter(torch.eye(3))}, TrainConfig())
    muon.matrices["w"].grad = torch.eye(3)
    muon.step(0.1)
    assert muon.state().keys() == {"momentum.w"}
    muon.load(muon.state())


class Launches(TorchDispatchMode):
    """Operations that are not views: each is a kernel or more."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


def test_ten_matrices_of_a_shape_cost_as_many_operations_as_two():
    def launches(copies):
        muon = Muon(weights := dict(Matrices(copies).named_parameters()), TrainConfig(weight_decay=0.1))
        for p in weights.values():
            p.grad = torch.randn_like(p)
        muon.step(0.1)  # which makes the momentum
        with Launches() as seen:
            muon.step(0.1)
        return seen.count

    assert launches(10) == launches(2) < 260  # five shapes, and AdamW
