"""Our group normalisation against torch's, forward and backward, in every layout and type."""

import pytest
import torch
import torch.nn.functional as F

from fromnoise.nn.norm import GroupNormSiLU


def native(x, norm):
    y = F.group_norm(x, norm.groups, norm.weight, norm.bias, norm.eps)
    return F.silu(y) if norm.silu else y


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize(
    ("channels", "groups", "size"), [(8, 4, (6, 5)), (12, 12, (4, 4)), (32, 8, (7, 7)), (6, 1, (1, 3))]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_float32(silu, channels, groups, size, layout):
    torch.manual_seed(0)
    norm = GroupNormSiLU(groups, channels, silu=silu)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (2 * torch.randn(3, channels, *size) + 0.7).to(memory_format=layout)
    grad = torch.randn(x.shape).to(memory_format=layout)
    results = []
    for function in (lambda v: norm(v), lambda v: native(v, norm)):
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        norm.zero_grad()
        y = function(leaf)
        y.backward(grad)
        results.append((y, leaf.grad, norm.weight.grad.clone(), norm.bias.grad.clone()))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bfloat16_is_close_to_float32(layout):
    torch.manual_seed(0)
    norm = GroupNormSiLU(8, 32)
    x = (torch.randn(2, 32, 8, 8) + 1).to(memory_format=layout)
    grad = torch.randn(x.shape).to(memory_format=layout)
    exact, rounded = x.clone().requires_grad_(), x.bfloat16().requires_grad_()
    native(exact, norm).backward(grad)
    y = norm(rounded)
    y.backward(grad.bfloat16())
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=layout)
    assert (y.float() - native(x, norm)).norm() / y.float().norm() < 0.01
    assert (rounded.grad.float() - exact.grad).norm() / exact.grad.norm() < 0.02


def test_groups_must_divide_channels():
    with pytest.raises(ValueError, match="10 channels do not divide into 4 groups"):
        GroupNormSiLU(4, 10)
