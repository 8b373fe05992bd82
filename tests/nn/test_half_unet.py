"""The classifier's network."""

import torch

import fromnoise as fn

SMALL = {"outputs": 5, "in_channels": 2, "channels": 8, "mult": (1, 2), "blocks": 1, "groups": 4, "heads": 2}


def test_logits_of_any_size_that_fits():
    network = fn.nn.HalfUNet(**SMALL)
    assert network(torch.randn(3, 2, 8, 12), torch.zeros(3)).shape == (3, 5)
    assert fn.nn.HalfUNet(**SMALL, patch=2)(torch.randn(3, 2, 8, 12), torch.zeros(3)).shape == (3, 5)


def test_every_parameter_is_used_and_learns():
    for options in ({}, {"resample": "residual", "scale_shift": True}, {"resample": "4x4"}, {"patch": 2}):
        torch.manual_seed(0)
        network = fn.nn.HalfUNet(**SMALL | options)
        with torch.no_grad():
            for p in network.parameters():
                p.add_(0.1 * torch.randn_like(p))
        network(torch.randn(3, 2, 8, 8), torch.linspace(1, 900, 3)).square().sum().backward()
        assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_it_is_told_the_time_and_looks_at_each_image_alone():
    torch.manual_seed(0)
    network = fn.nn.HalfUNet(**SMALL).eval()
    for module in network.modules():
        if hasattr(module, "conv2"):
            torch.nn.init.normal_(module.conv2.weight, std=0.1)
    x, t = torch.randn(4, 2, 8, 8), torch.tensor([3.0, 900.0, 3.0, 900.0])
    y = network(x, t)
    assert not torch.allclose(y[0], network(x[:1], t[1:2])[0])
    torch.testing.assert_close(
        torch.cat([network(x[i : i + 1], t[i : i + 1]) for i in range(4)]), y, rtol=1e-4, atol=1e-5
    )


def test_it_is_the_way_down_of_the_u_net():
    half = fn.nn.HalfUNet(**SMALL)
    whole = fn.nn.UNet(**{k: v for k, v in SMALL.items() if k != "outputs"})
    shared = {k: v.shape for k, v in half.state_dict().items() if k.split(".")[0] in ("stem", "time", "down", "mid")}
    assert shared == {k: v.shape for k, v in whole.state_dict().items() if k in shared}
    assert len(shared) > 20


def test_the_image_that_a_u_net_is_shown():
    import pytest

    torch.manual_seed(0)
    network = fn.nn.UNet(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, image_channels=1, patch=2)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x, t, image, strength = torch.randn(2, 1, 8, 8), torch.zeros(2), torch.randn(2, 1, 8, 8), torch.tensor([0.0, 500.0])
    y = network(x, t, image=image, strength=strength)
    assert y.shape == x.shape
    assert not torch.allclose(y, network(x, t, image=-image, strength=strength))
    assert not torch.allclose(y, network(x, t, image=image, strength=strength.flip(0)))
    y.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    for given, said in (
        ({}, "needs an image"),
        ({"image": image}, "needs a strength"),
    ):
        with pytest.raises(fn.FromNoiseError, match=said):
            network(x, t, **given)
    with pytest.raises(fn.FromNoiseError, match="takes no image beside x"):
        fn.nn.UNet(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4)(x, t, image=image)
