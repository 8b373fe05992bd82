"""Networks recorded as CUDA graphs: by a recording that any machine has, and by real ones where there is a GPU."""

import pytest
import torch

import fromnoise as fn
from fromnoise.system.hardware import compile_network
from fromnoise.system.hardware.recording import Recorded


class Tape:
    """Records as CUDA does: what is replayed reads and writes the tensors that were there when it was recorded."""

    made = 0

    def __new__(cls, run, device):
        Tape.made += 1
        assert device == torch.device("cpu")
        out = run()
        return out, lambda: out.copy_(run())


@pytest.fixture
def counted():
    """(a function that counts its calls from Python, it recorded)."""
    Tape.made = 0

    def call(x, time, label=None):
        call.seen += 1
        return x * time[:, None] + (0 if label is None else label[:, None])

    call.seen = 0
    return call, Recorded(call, Tape, "cpu")


@torch.no_grad()
def test_from_the_second_call_on_it_is_replayed(counted):
    _, recorded = counted
    for i in range(5):
        x, time, label = torch.full((2, 3), 1.0 + i), torch.tensor([1.0, 2.0]), torch.tensor([i, 7])
        out = recorded(x, time, label=label)
        assert torch.equal(out, x * time[:, None] + label[:, None])
        assert Tape.made == (i > 0)
    kept = recorded(x, time, label=label)
    recorded(x + 1, time, label=label)
    assert torch.equal(kept, out)  # the caller's own


@torch.no_grad()
def test_each_shape_type_and_name_has_its_own(counted):
    _, recorded = counted
    x, time = torch.ones(2, 3), torch.ones(2)
    kinds = [(x, {}), (x.double(), {}), (torch.ones(2, 4), {}), (x, {"label": torch.ones(2)}), (torch.ones(2, 5), {})]
    for _ in range(3):
        for given, named in kinds:
            wanted = given + named.get("label", torch.zeros(2))[:, None]
            torch.testing.assert_close(recorded(given, time, **named), wanted, rtol=0, atol=0)  # the type too
        assert torch.equal(recorded(x, time, label=None), x)
    assert Tape.made == 4  # the fifth runs as it is: each recording keeps its memory
    with pytest.raises(TypeError):
        recorded(x, time, lable=torch.ones(2))


def test_with_gradients_it_runs_as_it_is(counted):
    _, recorded = counted
    for _ in range(3):
        x = torch.ones(2, 3, requires_grad=True)
        recorded(x, torch.full((2,), 3.0)).sum().backward()
        assert torch.equal(x.grad, torch.full((2, 3), 3.0))
    assert Tape.made == 0


@torch.no_grad()
@pytest.mark.usefixtures("counted")
def test_numbers_that_are_no_tensors_are_never_recorded():
    plain = Recorded(lambda x, scale: x * scale, Tape, "cpu")
    assert [plain(torch.ones(1), i).item() for i in range(4)] == [0, 1, 2, 3]
    assert Tape.made == 0


@torch.no_grad()
def test_where_recording_fails_it_says_so_once_and_goes_on():
    def refuse(run, device):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    recorded = Recorded(lambda x: 2 * x, refuse, "cpu")
    assert recorded(torch.ones(1)).item() == 2
    with pytest.warns(UserWarning, match="without CUDA graphs.*not permitted when stream is capturing$"):
        assert recorded(torch.ones(1)).item() == 2
    assert recorded(torch.ones(1)).item() == 2


def test_on_a_cpu_auto_leaves_a_network_alone():
    network = fn.nn.UNet(in_channels=1, channels=8, mult=(1,), blocks=1, groups=4, attention=())
    compile_network(network, "auto", inference=True)
    assert network._compiled_call_impl is None


if torch.cuda.is_available():

    @pytest.mark.parametrize("name", ["unet", "dit"], ids=lambda name: f"real {name}")
    @torch.no_grad()
    def test_on_a_gpu_the_numbers_are_the_same_bit_for_bit(name):
        options = {"unet": {"channels": 32, "mult": (1, 2), "blocks": 1, "attention": (2,)},
                   "dit": {"patch": 2, "width": 48, "depth": 2, "heads": 2}}[name]  # fmt: skip
        network = (
            fn.nn.build({"name": name, "in_channels": 3, "classes": 10, "null_label": True, **options}).cuda().eval()
        )
        network.to(memory_format=torch.channels_last)
        for p in network.parameters():
            p.copy_(torch.randn_like(p) / 10)
        call = network._call_impl
        compile_network(network, "auto", inference=True)
        assert isinstance(network._compiled_call_impl, Recorded)
        for i in range(5):
            x = torch.randn(4, 3, 16, 16, device="cuda")
            time, label = torch.rand((), device="cuda").expand(4) * 999, torch.randint(11, (4,), device="cuda")
            assert torch.equal(network(x, time, label=label), call(x, time, label=label)), i
            if i == 3:  # the weights may change in place
                next(network.parameters()).mul_(2)
        assert all(network._compiled_call_impl.found.values())
