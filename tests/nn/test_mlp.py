"""The network of points."""

import pytest
import torch
from conftest import plane_mixture

import fromnoise as fn


def test_it_is_what_its_docstring_says():
    torch.manual_seed(0)
    network = fn.nn.MLP(3, 5, width=8, depth=2, classes=4).double()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn_like(p))
    x, t, label = torch.randn(6, 3, dtype=torch.float64), torch.linspace(0, 900, 6), torch.arange(6) % 4
    w = {k: v.detach() for k, v in network.named_parameters()}

    def silu(v):
        return v * torch.sigmoid(v)

    def layer(v, name):
        return v @ w[name + ".weight"].T + w[name + ".bias"]

    features = network.sinusoidal(t).double()
    emb = silu(layer(silu(layer(features, "time.0")), "time.2") + w["label.weight"][label])
    h = layer(x, "stem")
    for block in ("blocks.0", "blocks.1"):
        both = layer(emb, f"{block}.time")
        h = h + layer(silu((1 + both[:, :8]) * layer(h, f"{block}.inner") + both[:, 8:]), f"{block}.out")
    torch.testing.assert_close(network(x, t, label), layer(silu(h), "out"))


def test_a_state_of_any_shape_is_one_vector():
    torch.manual_seed(0)
    flat, shaped = fn.nn.MLP(24, 48, width=8, depth=1), fn.nn.MLP(2, 4, (3, 4), width=8, depth=1)
    torch.nn.init.normal_(flat.out.weight)
    shaped.load_state_dict(flat.state_dict())
    x, t = torch.randn(5, 2, 3, 4), torch.rand(5)
    y = shaped(x, t)
    assert y.shape == (5, 4, 3, 4)
    assert torch.equal(y.flatten(1), flat(x.flatten(1), t))


def test_options_that_cannot_be_and_states_of_another_shape():
    for options in ({"in_channels": 0}, {"sides": (4, 0)}, {"width": 0}, {"depth": 0}):
        with pytest.raises(fn.FromNoiseError, match="at least 1; got"):
            fn.nn.MLP(**options)
    with pytest.raises(fn.FromNoiseError, match=r"with sides \[\], and these have \[8\]: network.sides=\[8\] is"):
        fn.nn.MLP(2)(torch.zeros(1, 2, 8), torch.zeros(1))
    with pytest.raises(fn.FromNoiseError, match="takes points of 2 numbers, got 3"):
        fn.nn.MLP(2)(torch.zeros(1, 3), torch.zeros(1))


def test_it_drops_out_in_training_only():
    torch.manual_seed(0)
    network = fn.nn.MLP(width=64, dropout=0.5)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.1)
    x, t = torch.randn(4, 2), torch.zeros(4)
    assert not torch.equal(network(x, t), network(x, t))
    network.eval()
    assert torch.equal(network(x, t), network(x, t))


def test_it_learns_a_mixture_of_the_plane():
    """The loss of its eps is that of E[eps | x_t], which is the least there is, and a little more."""
    truth, schedule = plane_mixture(), fn.schedules.Cosine(T=100)
    exact = truth.denoiser(schedule)
    torch.manual_seed(0)
    denoiser = fn.Denoiser(fn.nn.MLP(2, width=64, depth=2), schedule, shape=(2,))
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)

    def batch(n):
        x0 = truth.sample(n, generator)
        t = schedule.draw(torch.rand(n, generator=generator, dtype=torch.float64))
        eps = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return fn.gaussian.diffuse(x0, eps, t), t, eps

    for step in range(500):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 500)
        x, t, eps = batch(512)
        loss = (denoiser(x.float(), t).output - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, t, eps = batch(20_000)
    with torch.no_grad():
        best, own = exact(x, t).eps, denoiser.eval()(x.float(), t).output.double()
    least = (best - eps).square().mean().item()
    assert least < (own - eps).square().mean().item() < least + 0.02
    assert least < 0.75 < eps.square().mean().item()
    assert (own - best).square().mean().item() < 0.02
