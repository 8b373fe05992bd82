"""The transformer: published parameter counts, what a fresh one does, and where its tokens are."""

import math

import pytest
import torch

import fromnoise as fn
from fromnoise.nn.dit import positions

SMALL = {"depth": 2, "width": 16, "heads": 2}


def stirred(network, scale=0.1):
    """With no parameter left at zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(scale * torch.randn_like(p))
    return network.eval()


@pytest.mark.parametrize(
    ("size", "millions"),  # Peebles and Xie 2023: patches of 8, 4, 2
    [("S", (33, 33, 33)), ("B", (131, 130, 130)), ("L", (459, 458, 458)), ("XL", (676, 675, 675))],
)
def test_parameter_counts_are_the_published_ones(size, millions):
    found = []
    for patch in (8, 4, 2):
        with torch.device("meta"):
            net = fn.nn.DiT(in_channels=4, out_channels=8, size=size, patch=patch, classes=1000, null_label=True)
        assert net(torch.zeros(1, 4, 32, 32, device="meta"), torch.zeros(1, device="meta")).shape == (1, 8, 32, 32)
        found.append(sum(p.numel() for p in net.parameters()))
    assert tuple(round(n / 1e6) for n in found) == millions
    if size == "XL":  # their code's own count has the fixed places, which are parameters there
        assert (found[-1], found[-1] + positions(16, 16, 1152).numel()) == (674_834_720, 675_129_632)


def test_a_size_is_needed_and_can_be_changed():
    with pytest.raises(fn.FromNoiseError, match=r"needs a size \(S, B, L, XL\), or depth, width and heads"):
        fn.nn.DiT(depth=2, width=16)
    with pytest.raises(fn.FromNoiseError, match="unknown DiT size '8'; choose from S, B, L, XL"):
        fn.nn.DiT(size=8)
    with pytest.raises(fn.FromNoiseError, match="divisible by 4 and by its 5 heads; 16 is not"):
        fn.nn.DiT(depth=1, width=16, heads=5)
    with torch.device("meta"):
        network = fn.nn.DiT(size="S", depth=1)
    assert len(network.blocks) == 1
    assert network.stem.out_channels == 384


def test_a_fresh_network_predicts_zero_and_a_fresh_block_is_the_identity():
    network = fn.nn.DiT(**SMALL, classes=3)
    assert not network(torch.randn(2, 3, 8, 8), torch.zeros(2), torch.tensor([0, 2])).any()
    h = torch.randn(2, 5, 16)
    for block in network.blocks:
        assert torch.equal(block(h, torch.randn(2, 16)), h)


def test_fresh_weights_are_those_of_the_papers_code():
    torch.manual_seed(0)
    network = fn.nn.DiT(in_channels=4, depth=1, width=256, heads=4, classes=999, null_label=True)
    for weight in (network.time[0].weight, network.time[2].weight, network.label.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    for weight in (network.stem.weight.flatten(1), network.blocks[0].qkv.weight, network.blocks[0].mlp[2].weight):
        assert weight.std().item() == pytest.approx((2 / sum(weight.shape)) ** 0.5, rel=0.05)
    assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_every_parameter_is_used_and_learns(patch):
    network = stirred(fn.nn.DiT(**SMALL, patch=patch, out_channels=6, classes=7))
    output = network(torch.randn(7, 3, 8, 12), torch.linspace(3.0, 700.0, 7), torch.arange(7))
    assert output.shape == (7, 6, 8, 12)
    output.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_positions_are_the_columns_sinusoids_and_then_the_rows():
    rows, cols, width = 3, 5, 16
    expected = torch.zeros(rows * cols, width, dtype=torch.float64)
    for row in range(rows):
        for col in range(cols):
            for i in range(4):
                f = 10000 ** (-i / 4)
                expected[row * cols + col, [i, 4 + i, 8 + i, 12 + i]] = torch.tensor(
                    [math.sin(col * f), math.cos(col * f), math.sin(row * f), math.cos(row * f)], dtype=torch.float64
                )
    torch.testing.assert_close(positions(rows, cols, width), expected, rtol=0, atol=1e-14)


def test_a_token_is_a_square_and_returns_to_its_place():
    network = fn.nn.DiT(in_channels=2, depth=1, width=16, heads=2, patch=2)
    with torch.no_grad():
        network.out.weight.normal_()
    x = torch.randn(1, 2, 4, 6, requires_grad=True)
    output = network(x, torch.zeros(1))  # a fresh block does not mix tokens
    for row, col in [(0, 0), (1, 0), (3, 2), (2, 5)]:
        (grad,) = torch.autograd.grad(output[0, 1, row, col], x, retain_graph=True)
        seen = grad[0].abs().sum(0) > 0
        corner = torch.zeros(4, 6, dtype=torch.bool)
        corner[row // 2 * 2 : row // 2 * 2 + 2, col // 2 * 2 : col // 2 * 2 + 2] = True
        assert torch.equal(seen, corner)
    with torch.no_grad():  # pixel (1, 0) of channel 1 in a square is output number (1 * 2 + 0) * 2 + 1
        network.out.weight.zero_()
        network.out.bias.copy_(torch.arange(8.0) == 5)
        drawn = network(x, torch.zeros(1))
    assert drawn[0, 1, 1::2, ::2].eq(1).all()
    assert drawn.sum() == 6


def test_time_matters_and_examples_do_not_mix():
    network = stirred(fn.nn.DiT(**SMALL))
    x, t = torch.randn(3, 3, 8, 8), torch.tensor([0.0, 10.0, 500.0])
    with torch.no_grad():
        whole = network(x, t)
        for i in range(3):
            torch.testing.assert_close(whole[i : i + 1], network(x[i : i + 1], t[i : i + 1]), rtol=1e-4, atol=1e-5)
        assert (network(x, t + 50) - whole).abs().max() > 1e-3


def test_labels_matter_and_none_is_the_null_label():
    network = stirred(fn.nn.DiT(**SMALL, classes=3, null_label=True))
    assert (network.classes, network.null_label) == (3, 3)
    x, t = torch.randn(1, 3, 8, 8).expand(2, -1, -1, -1), torch.ones(2)
    first, second = network(x, t, torch.tensor([0, 2]))
    assert not torch.allclose(first, second)
    assert torch.equal(network(x, t), network(x, t, torch.tensor([3, 3])))
    with pytest.raises(fn.FromNoiseError, match="needs a label"):
        fn.nn.DiT(**SMALL, classes=3)(x, t)
    with pytest.raises(fn.FromNoiseError, match="takes no label"):
        fn.nn.DiT(**SMALL)(x, t, torch.tensor([0, 2]))


def test_sizes_that_do_not_fit_name_the_one_that_does():
    with pytest.raises(fn.FromNoiseError, match=r"30x27 do not fit.*divisible by 4; 32x28 fits"):
        fn.nn.DiT(**SMALL, patch=4)(torch.zeros(1, 3, 30, 27), torch.zeros(1))


def test_layout_and_type_make_little_difference():
    network = stirred(fn.nn.DiT(**SMALL))
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([7.0, 901.0])
    with torch.no_grad():
        expected = network(x, t)
        last = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), t)
        half = network.bfloat16()(x.bfloat16(), t)
    torch.testing.assert_close(last, expected, rtol=0, atol=1e-5)
    assert half.dtype == torch.bfloat16
    assert (half.float() - expected).norm() / expected.norm() < 0.02


def test_it_is_twice_differentiable():
    network = stirred(fn.nn.DiT(**SMALL)).double()
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    with fn.nn.twice_differentiable():
        assert torch.autograd.gradgradcheck(lambda x: network(x, torch.ones(1)).square().sum(), x)
