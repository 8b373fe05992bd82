"""Layers that take a shorter way to what their definition says."""

import pytest
import torch
import torch.nn.functional as F

import fromnoise as fn
from fromnoise.nn.dropout import Dropout
from fromnoise.nn.layers import Sinusoidal, doubled_conv


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 1, 3), (5, 13, 9), (600, 1, 1)])
def test_a_convolution_of_the_doubled_image_with_its_gradients(layout, size):
    n, h, w = size
    g = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(s, generator=g, dtype=torch.float64) for s in ((n, 3, h, w), (4, 3, 3, 3), (4,)))
    inputs = [v.to(memory_format=layout) if v.dim() == 4 else v for v in (x, weight, bias)]
    found = []
    for function in (
        doubled_conv,
        lambda x, w, b: F.conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), w, b, padding=1),
    ):
        leaves = [v.clone(memory_format=torch.preserve_format).requires_grad_() for v in inputs]
        y = function(*leaves)
        y.backward(torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape))
        found.append([y.detach(), *(v.grad for v in leaves)])
    for own, plain in zip(*found, strict=True):
        torch.testing.assert_close(own, plain, atol=1e-10, rtol=1e-10)


def test_under_autocast_the_sums_keep_the_weights_precision():
    """In bf16 the sums of two or four weights would be rounded a second time. What a CPU's kernel itself rounds is its
    own affair: it is given sums that were made otherwise."""
    g = torch.Generator().manual_seed(0)
    x, weight = torch.randn(8, 16, 16, 16, generator=g), torch.randn(16, 16, 3, 3, generator=g)
    with torch.autocast("cpu", torch.bfloat16):
        y = doubled_conv(x, weight, None)

    def of_sums(w):
        rows = torch.stack([w[:, :, 2], w[:, :, 1] + w[:, :, 2], w[:, :, 0] + w[:, :, 1], w[:, :, 0]], 2)
        kernel = torch.stack([rows[..., 2], rows[..., 1] + rows[..., 2], rows[..., 0] + rows[..., 1], rows[..., 0]], 3)
        return F.conv_transpose2d(x.bfloat16(), kernel.bfloat16().transpose(0, 1), stride=2, padding=1)

    assert (y != of_sums(weight.double())).float().mean() < 0.01
    assert (y != of_sums(weight.bfloat16())).float().mean() > 0.2  # rounded before and after the sum


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_keeps_its_share_and_the_mean(layout, p):
    torch.manual_seed(0)
    x = torch.ones(6, 16, 50, 51).to(memory_format=layout).requires_grad_()
    y = Dropout(p)(x)
    assert y.stride() == x.stride()
    n = x.numel()
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)
    assert sorted(y.unique().tolist()) == pytest.approx([0, 1 / (1 - p)], rel=1e-4)
    y.backward(torch.ones_like(y))
    assert torch.equal(x.grad, y.detach())


def test_dropped_elements_are_independent_in_every_direction():
    """Four elements share 64 random bits: neighbours in memory, rows, channels and images must not go together."""
    torch.manual_seed(0)
    kept = (Dropout(0.3)(torch.ones(8, 16, 32, 32).to(memory_format=torch.channels_last)) > 0).double() - 0.7
    for axis in range(4):
        for away in (1, 2, 3, 4):
            a, b = kept.narrow(axis, 0, kept.shape[axis] - away), kept.narrow(axis, away, kept.shape[axis] - away)
            assert abs((a * b).mean().item()) < 5 * 0.21 / a.numel() ** 0.5


def test_dropout_follows_the_seed_and_rests_in_evaluation():
    layer, x = Dropout(0.4), torch.randn(3, 5, 7)
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    assert layer.eval()(x) is x or torch.equal(layer(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()


def test_what_no_memory_holds_is_refused_before_any_is_taken():
    """Buffers as weights, and sizes that 64 bits do not hold."""
    with torch.device("meta"):
        assert Sinusoidal(10**12).bits.is_meta
    with pytest.raises(fn.FromNoiseError, match="unet does not fit into memory: make it smaller"):
        fn.nn.build({"name": "unet", "channels": 10**10})
