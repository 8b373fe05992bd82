"""What a run asks of the machine, counted."""

import resource
import subprocess
import sys

import pytest
import torch

import fromnoise as fn
from fromnoise.nn.layers import NearestUp
from fromnoise.nn.norm import GroupNormSiLU
from fromnoise.system.hardware import compile_network, peak_memory

FAULTS = """
import resource, sys, torch
from fromnoise.system.hardware import tune
if sys.argv[1] == "tuned":
    tune("fp32")
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    before = faults()
    held = [torch.zeros(12_000_000) for _ in range(3)]
    return faults() - before
print(min(step() for _ in range(12)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is the C library of Linux that gives memory back")
def test_the_memory_of_one_step_serves_the_next():
    # The best of twelve steps, as the heap needs a few to settle. 48 MB: above 32, untuned memory always goes back.
    def fewest_faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    pages = 3 * 12_000_000 * 4 // resource.getpagesize()
    assert fewest_faults("tuned") < pages / 100
    assert fewest_faults("left") > pages / 2


def network():
    torch.manual_seed(0)
    net = fn.nn.UNet(channels=8, mult=(1, 2), blocks=1, groups=4, attention=(2,))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return net.eval()


class Up(torch.nn.Module):
    """What translating was once slow or wrong for: normalisation and up-sampling, in a network that takes seconds."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.up = GroupNormSiLU(4, 8), NearestUp(8, 3)

    def forward(self, x, t):
        return self.up(self.norm(x) + t[:, None, None, None])


def test_a_translated_part_computes_the_same():
    plain, fast = Up(), Up()
    compile_network(fast, "on", inference=True)
    x, t = torch.randn(4, 8, 12, 12).to(memory_format=torch.channels_last), torch.linspace(0, 1, 4)
    with torch.no_grad():
        torch.testing.assert_close(plain(x, t), fast(x, t), atol=1e-4, rtol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("inference", [True, False])
def test_a_translated_network_computes_the_same(inference):
    plain, fast = network(), network()
    compile_network(fast, "on", inference)
    assert list(fast.state_dict()) == list(plain.state_dict())
    x, t = torch.randn(16, 3, 16, 16), torch.linspace(0, 999, 16)
    with torch.set_grad_enabled(not inference):
        one, other = plain(x, t), fast(x, t)
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    if not inference:
        one.square().sum().backward()
        other.square().sum().backward()
        for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, atol=1e-3 * a.grad.abs().max().item(), rtol=1e-3)


@pytest.mark.parametrize("how", ["auto", "off"])
def test_on_a_cpu_nothing_is_translated_unasked(how):
    net = network()
    for inference in (True, False):
        compile_network(net, how, inference)
    assert net._compiled_call_impl is None


def test_without_a_compiler_the_way_out_is_named(monkeypatch):
    from torch._inductor import cpp_builder, exc

    def missing():
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    with pytest.raises(fn.FromNoiseError, match=r"needs a C\+\+ compiler"):
        compile_network(network(), "on", True)


def test_peak_memory_has_seen_the_largest_tensor():
    held = torch.ones(50_000_000)
    assert float(peak_memory(held.device).split()[1]) > 0.2
