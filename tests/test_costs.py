"""What a network call, a training step and a sampling step cost, counted: operations, copies, casts, bytes, waits.

Seconds drift with the machine; these counts are the same on every run, so that a change which adds a pass, a layout
change or a cast is noticed. A bound that a change lowers may be lowered here; one that it raises wants a reason.
"""

import copy
from collections import Counter
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import fromnoise as fn
from fromnoise.data.images import InMemory
from fromnoise.system.hardware import Hardware
from fromnoise.train import Conditioning, Diffusion, TrainConfig, Trainer

LAST = torch.channels_last
FORMATS = [torch.float32, torch.bfloat16]


class Costs(TorchDispatchMode):
    """Every operation inside the block.

    Attributes:
        ops: how often each ran.
        reordered: convolutions that were shown another layout than channels_last.
        copied: shapes that were copied or cast.
        written: bytes of new tensors.
        waits: how often Python read a number that depends on a state or an image, for which a GPU's queue must empty.
    """

    def __init__(self):
        super().__init__()
        self.ops, self.reordered, self.copied, self.written, self.waits = Counter(), [], [], 0, 0
        self.computed = {}  # storages of such numbers, held, so that none is mistaken for another

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function._overloadpacket.__name__
        self.ops[name] += 1
        computed = any(self._is_computed(a) for a in torch.utils._pytree.tree_leaves((args, kwargs)))
        self.waits += computed and name == "_local_scalar_dense"
        for tensor in torch.utils._pytree.tree_leaves(out) if computed else ():
            if isinstance(tensor, Tensor):
                self.computed[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        if name == "convolution" and args[0].shape[1] > 4 and not args[0].is_contiguous(memory_format=LAST):
            self.reordered.append(tuple(args[0].shape))
        if name in ("clone", "copy_", "_to_copy", "contiguous"):
            self.copied.append(tuple(args[0].shape))
        if not function.is_view and not name.endswith("_"):
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, Tensor) and not any(tensor is a for a in args):
                    self.written += tensor.numel() * tensor.element_size()
        return out

    def _is_computed(self, value):
        """Whether it is an image or a state, the only tensors of four dimensions, or comes from one."""
        return isinstance(value, Tensor) and (value.dim() == 4 or value.untyped_storage()._cdata in self.computed)

    @property
    def total(self):
        return sum(self.ops.values())


@cache
def built(name):
    return fn.recipes.load(name).build()


def model(name, dtype, inference, side=None):
    """A recipe's denoiser on the CPU in this format, with an input, a level and a condition.

    A `side` of 16 leaves even the lowest level several places, and a CPU takes long over bfloat16. In training the same
    code runs at every size; without gradients it depends on it (`_streaming_is_faster`).
    """
    denoiser = copy.deepcopy(built(name))
    hardware = Hardware(torch.device("cpu"), dtype, "test")
    hardware.prepare(denoiser.network, inference)
    denoiser.train(not inference)
    x = torch.randn(2, denoiser.shape[0], *[side or n for n in denoiser.shape[1:]]).to(memory_format=LAST)
    cond = {"label": torch.tensor([1, 2])} if denoiser.classes else None
    return denoiser, hardware, (x, denoiser.schedule.level(torch.tensor([500, 400])), cond)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("name", "most"), [("ddpm-cifar10", 1450), ("thesis-mnist", 400), ("digits", 560)])
def test_a_network_call_neither_reorders_nor_copies_nor_casts(name, most, dtype):
    denoiser, _, given = model(name, dtype, inference=True)
    with torch.no_grad(), Costs() as costs:
        output = denoiser(*given).output
    assert output.is_contiguous(memory_format=LAST) or output.shape[1] == 1
    assert costs.reordered == []
    image = given[0].shape
    activations = [s for s in costs.copied if len(s) == 4 and s[0] == 2 and s != image]
    assert activations == []
    weights = {tuple(p.shape) for p in denoiser.network.parameters() if p.dim() > 1}
    assert weights.isdisjoint(costs.copied)  # they were cast once
    assert costs.copied.count(tuple(image)) <= 2  # to the network's type and back
    assert costs.total <= most


@pytest.mark.parametrize("name", ["ddpm-cifar10", "thesis-mnist"])
def test_a_training_pass_casts_each_weight_once_and_copies_no_activation(name):
    denoiser, hardware, given = model(name, torch.bfloat16, inference=False, side=16)
    with Costs() as costs, hardware.autocast():
        loss = denoiser(*given).output.square().mean()
    shapes = Counter(tuple(p.shape) for p in denoiser.network.parameters() if p.dim() == 4)
    casts = Counter(s for s in costs.copied if s in shapes)
    assert all(casts[s] <= n for s, n in shapes.items())
    with Costs() as back:
        loss.backward()
    for part in (costs, back):
        assert part.reordered == []
        image = given[0].shape
        assert [s for s in part.copied if len(s) == 4 and s[0] == 2 and s != image and s not in shapes] == []


def bytes_of_a_step(dtype, inference):
    denoiser, hardware, given = model("ddpm-cifar10", dtype, inference)
    with Costs() as costs:
        if inference:
            with torch.no_grad():
                denoiser(*given)
        else:
            with hardware.autocast():
                loss = denoiser(*given).output.square().mean()
            loss.backward()
    return costs.written


def test_half_precision_writes_half_the_bytes():
    """Where a pass went through float32, it would not."""
    assert bytes_of_a_step(torch.bfloat16, True) < 0.72 * bytes_of_a_step(torch.float32, True)


def test_bytes_written_by_a_network_call():
    """In units of what its convolutions write: normalisation, SiLU, sums and joins are all the rest."""
    denoiser, _, given = model("ddpm-cifar10", torch.float32, inference=True)
    convolved = 0

    def count(module, inputs, output):
        nonlocal convolved
        convolved += output.numel() * 4

    for module in denoiser.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad(), Costs() as costs:
        denoiser(*given)
    assert costs.written < 3.9 * convolved


class Toy:
    """A trainer whose steps are counted."""

    def __init__(self, folder, **options):
        torch.manual_seed(0)
        network = fn.nn.UNet(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, attention=(2,), dropout=0.1)
        denoiser = fn.Denoiser(network, "linear", "v", shape=(1, 8, 8))
        images = InMemory("toy", torch.randint(256, (64, 1, 8, 8), dtype=torch.uint8))
        config = TrainConfig(steps=6, batch_size=4, lr=1e-3, **options)
        task = Diffusion(denoiser, fn.objectives.Simple(), Conditioning(denoiser, images, 0.0, 0), 0)
        hardware = Hardware(torch.device("cpu"), torch.float32, "test")
        self.trainer = Trainer(task, images, config, 0, folder, hardware)
        self.seen = []

    def run(self):
        costs = Costs()

        def each(line):
            self.seen.append((costs.ops, costs.waits))
            costs.ops, costs.waits = Counter(), 0

        self.trainer.callbacks = [each]
        with costs:
            self.trainer.run()
        return self.seen


def test_a_training_step_asks_for_no_number_but_those_of_its_log(tmp_path):
    """Which it reads together, as a list: `test_second_device` counts that one."""
    assert [waits for _, waits in Toy(tmp_path).run()] == [0] * 6


def test_outside_the_network_a_training_step_is_a_few_operations_on_all_weights_together(tmp_path):
    toy = Toy(tmp_path)
    inside = Costs()
    x, t = torch.randn(4, 1, 8, 8).to(memory_format=LAST), torch.full((4,), 5.0)
    with inside:
        toy.trainer.trained.network(x, t).square().mean().backward()
    ops, _ = toy.run()[-1]
    assert sum(ops.values()) - inside.total < 220
    assert ops["_fused_adamw_"] == ops["_foreach_lerp_"] == 1


@pytest.mark.parametrize("name", ["ddim", "unipc", "dpm-solver", "ancestral"])
def test_sampling_waits_once_in_a_batch(name):
    denoiser = fn.Denoiser(Zero(), "linear", shape=(3, 8, 8))

    def waits(steps):
        with Costs() as costs:
            fn.sample(denoiser, 2, name, steps)
        return costs.waits

    assert waits(10) == waits(20) == 1  # at the end, whether all was finite


class Zero(torch.nn.Module):
    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return torch.zeros_like(x)


def test_gradient_checkpointing_keeps_less_for_the_backward_pass_and_the_same_gradients():
    def run(again):
        torch.manual_seed(0)
        network = fn.nn.UNet(channels=16, mult=(1, 2), blocks=2, groups=4, attention=(2,), dropout=0.2)
        for p in network.parameters():
            torch.nn.init.normal_(p, std=0.1)
        if again:
            fn.nn.recompute_blocks(network)
        kept = 0

        def pack(x):
            nonlocal kept
            kept += x.numel() * x.element_size() * (not isinstance(x, torch.nn.Parameter))
            return x

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = network(torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16), torch.tensor([3.0, 700.0]))
        held = kept
        loss.square().sum().backward()
        return held, [p.grad for p in network.parameters()]

    (plain, first), (less, second) = run(False), run(True)
    assert less < plain / 3
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_gradient_checkpointing_of_a_network_without_blocks():
    with pytest.raises(fn.FromNoiseError, match="no blocks"):
        fn.nn.recompute_blocks(torch.nn.Linear(2, 2))
