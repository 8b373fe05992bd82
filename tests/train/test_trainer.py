"""Exact resume, counted randomness, refusal of what is not a number, and what is left on the disk."""

import errno
import json
import os
import shutil

import pytest
import safetensors.torch
import torch

import fromnoise as fn
from fromnoise.data.images import InMemory
from fromnoise.system.disk import storage
from fromnoise.system.hardware import Hardware
from fromnoise.train import TrainConfig, Trainer
from fromnoise.train.conditions import Conditioning
from fromnoise.train.diffusion import Diffusion
from fromnoise.train.ema import EMA
from fromnoise.train.progress import Watcher
from fromnoise.weights.checkpoint import Checkpoints

CPU = Hardware(torch.device("cpu"), torch.float32, "test")


def images(n=13, size=8):
    generator = torch.Generator().manual_seed(0)
    return InMemory("toy", torch.randint(0, 256, (n, 1, size, size), generator=generator, dtype=torch.uint8))


def network(seed=0, dropout=0.1):
    torch.manual_seed(seed)
    return fn.nn.UNet(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, attention=(2,), dropout=dropout)


def trainer(folder, steps=8, dropout=0.1, data=None, **options):
    watcher = options.pop("watcher", Watcher())
    flip, workers = options.pop("flip", True), options.pop("workers", 0)
    options = {
        "steps": steps,
        "batch_size": 4,
        "lr": 1e-2,
        "warmup": 3,
        "checkpoint_every": 3,
        "keep": 50,
        "ema": 0.9,
    } | options
    data = data or images()
    plain = fn.Denoiser(network(dropout=dropout), fn.schedules.Linear(T=50), "v", shape=(1, 8, 8))
    denoiser, objective = options.pop("denoiser", plain), options.pop("objective", fn.objectives.Simple())
    time, config = options.pop("times", None), TrainConfig(**options)
    task = Diffusion(denoiser, objective, Conditioning(denoiser, data, config.label_dropout, 7), 7, time)
    return Trainer(task, data, config, seed=7, folder=folder, hardware=CPU, watcher=watcher, flip=flip, workers=workers)


def everything():
    """A trainer's options with every kind of state: Muon, a learned schedule and variance, importance sampling."""
    torch.manual_seed(0)
    net = fn.nn.UNet(in_channels=1, out_channels=2, channels=8, mult=(1, 2), blocks=1, groups=4, attention=(2,))
    schedule = fn.schedules.Learned(T=3, width=8)
    return {
        "optimizer": "muon",
        "denoiser": fn.Denoiser(net, schedule, "v", "learned_range", (1, 8, 8)),
        "objective": fn.objectives.Vlb(),
        "times": fn.times.Importance(history=2),
    }


def end_state(folder):
    path = Checkpoints(folder / "checkpoints").newest_whole(pytest.fail)
    state = {
        stem: storage.read_tensors(path, stem)
        for stem in ("model", "ema", "optimizer", "times")
        if (path / f"{stem}.safetensors").exists()
    }
    return state, storage.read_text(path, "state")


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["images"], line["loss"], line["grad_norm"], line["lr"]) for line in lines]


def assert_same(one, two):
    (a, progress_a), (b, progress_b) = end_state(one), end_state(two)
    for stem in a:
        assert a[stem].keys() == b[stem].keys()
        for key in a[stem]:
            assert torch.equal(a[stem][key], b[stem][key]), f"{stem} {key}"
    assert {**progress_a, "seconds": 0} == {**progress_b, "seconds": 0}
    assert losses(one) == losses(two)


@pytest.fixture
def folder_of_images(tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for i, image in enumerate(images().pixels):
        Image.fromarray(image[0].numpy()).save(tmp_path / "images" / f"{i:02}.png")
    return tmp_path / "images"


@pytest.mark.parametrize("accumulate", [1, 4])
def test_resume_is_exact_at_every_step(tmp_path, accumulate):
    """N steps = k + (N - k) bit for bit: weights, averages, moments, metrics."""
    trainer(tmp_path / "whole", accumulate=accumulate).run()
    for k in range(1, 8):
        folder = tmp_path / str(k)
        trainer(folder, steps=k, accumulate=accumulate).run()
        again = trainer(folder, accumulate=accumulate)
        assert again.resume()
        again.run()
        assert_same(tmp_path / "whole", folder)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_is_exact_with_every_kind_of_state(tmp_path, accumulate):
    trainer(tmp_path / "whole", accumulate=accumulate, **everything()).run()
    state = end_state(tmp_path / "whole")[0]
    assert state["times"]["counts"].sum() == 8 * 4
    assert "momentum.mid.0.conv1.weight" in state["optimizer"]
    assert "exp_avg.schedule.bottom" in state["optimizer"]
    fresh = dict(everything()["denoiser"].schedule.named_parameters())
    for name, p in fresh.items():  # the bound trains the schedule
        assert not torch.equal(state["model"][f"schedule.{name}"], p)
    for k in (2, 5, 7):
        folder = tmp_path / str(k)
        trainer(folder, steps=k, accumulate=accumulate, **everything()).run()
        again = trainer(folder, accumulate=accumulate, **everything())
        assert again.resume()
        again.run()
        assert_same(tmp_path / "whole", folder)


@pytest.mark.parametrize("clip", [1e-3, 1e3])
def test_the_gradient_is_clipped_to_its_norm_and_only_then(tmp_path, clip):
    made, seen = trainer(tmp_path, steps=4, clip=clip), []
    step = made.trained.optimizer.step

    def watched(lr):
        seen.append(torch.nn.utils.get_total_norm([w.grad for w in made.trained.weights.values()]).item())
        step(lr)

    made.trained.optimizer.step = watched
    made.run()
    norms = [norm for *_, norm, _ in losses(tmp_path)]
    assert seen == pytest.approx([min(norm, clip) for norm in norms], rel=1e-4)
    assert max(norms) > 1e-3


def test_gradient_checkpointing_makes_the_same_run(tmp_path):
    """With dropout and parts of a batch; a run may be resumed with or without it."""
    trainer(tmp_path / "plain", accumulate=2).run()
    trainer(tmp_path / "again", accumulate=2, steps=4, gradient_checkpointing=True).run()
    again = trainer(tmp_path / "again", accumulate=2)
    assert again.resume()
    again.run()
    assert_same(tmp_path / "plain", tmp_path / "again")


def test_a_checkpoint_of_another_network_is_one_line(tmp_path):
    trainer(tmp_path, steps=3).run()
    wider = fn.Denoiser(fn.nn.UNet(in_channels=1, channels=16, mult=(1,), groups=4), "linear", shape=(1, 8, 8))
    with pytest.raises(fn.FromNoiseError, match="another network"):
        trainer(tmp_path, denoiser=wider).resume()


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_is_exact_when_images_are_streamed(tmp_path, folder_of_images, workers):
    from fromnoise.data import DataConfig, load

    def start(folder, steps):
        data = load(DataConfig(name=str(folder_of_images), memory=0))
        return trainer(folder, steps=steps, data=data, workers=workers)

    trainer(tmp_path / "memory").run()
    start(tmp_path / "whole", 8).run()
    assert_same(tmp_path / "memory", tmp_path / "whole")
    start(tmp_path / "part", 5).run()
    again = start(tmp_path / "part", 8)
    again.resume()
    again.run()
    assert_same(tmp_path / "whole", tmp_path / "part")


@pytest.mark.parametrize("forgotten", ["ema", "optimizer", "progress", "model", "times"])
def test_a_resume_that_forgets_one_state_is_noticed(tmp_path, forgotten):
    """The negative control: the comparison above can fail."""

    def start(folder, **options):
        return trainer(tmp_path / folder, **options, **(everything() if forgotten == "times" else {}))

    start("whole").run()
    start("part", steps=4).run()
    again, fresh = start("part"), start("other")
    again.resume()
    if forgotten == "ema":
        again.trained.ema.load(fresh.trained.ema.state())
    elif forgotten == "optimizer":
        again.trained.optimizer = fresh.trained.optimizer.__class__(again.trained.weights, again.config)
    elif forgotten == "times":
        again.task.times = fn.times.Importance(history=2)
    elif forgotten == "model":
        again.trained.network.load_state_dict(network(seed=3).state_dict())
    else:
        again.progress.images = 0
    again.run()
    with pytest.raises(AssertionError):
        assert_same(tmp_path / "whole", tmp_path / "part")


def test_micro_batches_do_not_change_the_draws(tmp_path):
    """Accumulation 1, 2 and 4: the same losses within float32, dropout (seeded for each part) left out."""
    for parts in (1, 2, 4):
        trainer(tmp_path / str(parts), accumulate=parts, dropout=0.0).run()
    one = torch.tensor([row[2] for row in losses(tmp_path / "1")])
    for parts in (2, 4):
        other = torch.tensor([row[2] for row in losses(tmp_path / str(parts))])
        torch.testing.assert_close(one, other, rtol=1e-4, atol=0)


def test_training_lowers_the_loss_and_another_seed_is_another_run(tmp_path):
    one = InMemory("one", torch.full((4, 1, 8, 8), 255, dtype=torch.uint8))
    trainer(tmp_path / "a", steps=60, dropout=0.0, ema=0.99, data=one).run()
    rows = losses(tmp_path / "a")
    assert sum(r[2] for r in rows[-10:]) < 0.8 * sum(r[2] for r in rows[:10])
    assert [r[0] for r in rows] == list(range(1, 61))
    assert rows[0][4] == pytest.approx(1e-2 / 3)
    other = trainer(tmp_path / "b", steps=2)
    other.seed = 8
    other.run()
    assert losses(tmp_path / "b")[0][2] != rows[0][2]


def test_the_average_looks_at_every_weight_and_at_none_that_is_empty():
    for bad in (None, 0, 1):
        weights = {"a": torch.nn.Parameter(torch.ones(3)), "b": torch.nn.Parameter(torch.ones(2, dtype=torch.float64)),
                   "c": torch.nn.Parameter(torch.empty(0))}  # fmt: skip
        ema = EMA(weights, 0.5)
        if bad is not None:
            weights["ab"[bad]].data[0] = float("nan")
        ema.update(1)
        if bad is None:
            ema.settle()
            continue
        before = [a.clone() for a in ema._average]
        with pytest.raises(fn.errors.TrainingError, match=f"step 1: the update made {'ab'[bad]} infinite"):
            ema.settle()
        assert all(map(torch.equal, before, ema._average))


def test_ema_is_the_average_of_the_weights():
    layer = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    ema = EMA(dict(layer.named_parameters()), 0.5)
    expected = 1.0
    for step in range(1, 12):
        with torch.no_grad():
            layer.weight.fill_(float(step))
        ema.update(step)
        ema.settle()
        d = min(0.5, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * step
    assert ema.average[0].item() == pytest.approx(expected, rel=1e-6)
    before = layer.weight.clone()
    with ema.applied():
        assert layer.weight.item() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(layer.weight, before)


class Poison(fn.objectives.Simple):
    """A loss that is not a number at step 3."""

    calls = 0

    def __call__(self, *args, **kwargs):
        Poison.calls += 1
        terms = super().__call__(*args, **kwargs)
        return {"loss": terms["loss"] * (float("nan") if Poison.calls == 3 else 1.0)}


def test_nan_stops_the_run_and_never_reaches_weights(tmp_path):
    Poison.calls = 0
    poisoned = trainer(tmp_path, checkpoint_every=1)
    poisoned.task.objective = Poison()
    with pytest.raises(fn.errors.TrainingError, match=r"step 3: the loss is nan and the gradient of \S+ is not finite"):
        poisoned.run()
    assert all(p.isfinite().all() for p in poisoned.trained.network.parameters())
    assert all(p.isfinite().all() for p in poisoned.trained.ema.average)
    state, progress = end_state(tmp_path)
    assert progress["step"] == 2
    assert all(t.isfinite().all() for stem in state.values() for t in stem.values())


def test_nan_may_be_skipped_where_asked_counted_and_capped(tmp_path):
    Poison.calls = 0
    poisoned = trainer(tmp_path, skip_nonfinite=1)
    poisoned.task.objective = Poison()
    assert poisoned.run() == 0
    assert end_state(tmp_path)[1]["skipped"] == 1
    assert all(p.isfinite().all() for p in poisoned.trained.network.parameters())


def test_keep_holds_the_last_and_the_best(tmp_path):
    store = Checkpoints(tmp_path, keep=2)
    for step, loss in enumerate([3.0, 1.0, 2.0, 2.5, 2.6], start=1):
        store.save(step, {"model": {"w": torch.ones(2)}}, {"state": {"loss": loss}})
    assert store.steps() == [2, 4, 5]


def flip_bit(path, where):
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "name", ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["cut", "bit", "missing"])
def test_damage_is_detected_and_the_previous_one_used(tmp_path, name, damage):
    trainer(tmp_path, steps=6).run()
    path = tmp_path / "checkpoints" / "step-00000006" / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "bit":
        flip_bit(path, len(path.read_bytes()) // 2)
    else:
        path.unlink()
    said = []
    again = trainer(tmp_path, watcher=Watcher(say=said.append))
    assert again.resume()
    assert again.progress.step == 3
    assert "damaged checkpoint skipped" in said[0]
    again.run()
    trainer(tmp_path / "whole").run()
    assert_same(tmp_path / "whole", tmp_path)


def test_every_single_bit_counts(tmp_path):
    storage.write_folder(tmp_path / "x", {"model": {"w": torch.randn(5)}}, {"state": {"loss": 1}})
    for path in sorted((tmp_path / "x").iterdir()):
        for where in range(len(path.read_bytes())):
            if path.name == "manifest.json" and path.read_bytes()[where : where + 1] in b" \n":
                continue  # another white space changes nothing that is read
            flip_bit(path, where)
            with pytest.raises(storage.Damaged):
                storage.verify_folder(tmp_path / "x")
            flip_bit(path, where)
    storage.verify_folder(tmp_path / "x")


def test_nothing_whole_left_is_an_error(tmp_path):
    trainer(tmp_path, steps=6).run()
    for folder in (tmp_path / "checkpoints").iterdir():
        (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(fn.FromNoiseError, match="every checkpoint is damaged"):
        trainer(tmp_path).resume()


@pytest.mark.parametrize("call", ["fsync", "mkdir", "rename"])
def test_a_kill_at_any_write_leaves_a_whole_checkpoint(tmp_path, monkeypatch, call):
    """Every fsync, folder and rename of a save fails in turn; resume finds a whole checkpoint each time."""
    from pathlib import Path

    owner = {"fsync": os, "mkdir": Path, "rename": Path}[call]
    real = getattr(owner, call)
    trainer(tmp_path / "start", steps=3).run()
    for nth in range(1, 16):
        folder = tmp_path / f"{call}-{nth}"
        shutil.copytree(tmp_path / "start", folder)
        again = trainer(folder, steps=6)
        again.resume()
        count = 0

        class Killed(BaseException):
            pass

        def dying(*args, **kwargs):
            nonlocal count
            count += 1
            if count == nth:
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, call, dying)
        try:
            again.run()
            finished = True
        except Killed:
            finished = False
        monkeypatch.setattr(owner, call, real)
        last = trainer(folder, steps=6)
        assert last.resume()
        assert last.progress.step in (3, 6)
        last.run()
        assert end_state(folder)[1]["step"] == 6
        assert [row[0] for row in losses(folder)] == [1, 2, 3, 4, 5, 6]
        if finished:
            break
    else:
        pytest.fail("more calls than expected")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, monkeypatch, number):
    trainer(tmp_path, steps=3).run()
    again = trainer(tmp_path, steps=6)
    again.resume()

    def full(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(fn.errors.TrainingError, match=r"needs [\d,]+ bytes .* the one of step 3 is intact") as error:
        again.run()
    assert error.value.exit_code == 1
    monkeypatch.undo()
    assert end_state(tmp_path)[1]["step"] == 3
    assert not list((tmp_path / "checkpoints").glob(".writing*"))


def test_batches_must_divide():
    with pytest.raises(fn.FromNoiseError, match="does not divide"):
        trainer(None, batch_size=5, accumulate=2)


def test_options_are_saved_and_what_cannot_be_is_refused(tmp_path):
    learned = fn.schedules.Learned(T=5, width=3)
    with torch.no_grad():
        learned.bottom.sub_(1)
    for denoiser in (fn.Denoiser(network(), fn.schedules.EDM(T=9), {"name": "edm", "data_std": 0.2}, shape=(1, 8, 8)),
                     fn.Denoiser(network(), learned, "v", shape=(1, 8, 8))):  # fmt: skip
        fn.save(denoiser, tmp_path / "model")
        again = fn.load(tmp_path / "model")
        x, t = torch.randn(2, 1, 8, 8), 3.0
        with torch.no_grad():
            torch.testing.assert_close(
                again(x, again.schedule.level(t)).x0, denoiser.eval()(x, denoiser.schedule.level(t)).x0
            )
    denoiser.variance = fn.variances.Optimal(lambda t: t.sigma)
    with pytest.raises(fn.FromNoiseError, match="optimal is made from data and cannot be saved"):
        fn.save(denoiser, tmp_path / "model")


def test_a_saved_denoiser_is_the_same_one(tmp_path):
    schedule = fn.schedules.Cosine(T=30)
    denoiser = fn.Denoiser(network().eval(), schedule, "x0", "fixed_small", (1, 8, 8))
    fn.save(denoiser, tmp_path / "model")
    again = fn.load(tmp_path / "model")
    x, level = torch.randn(2, 1, 8, 8), schedule.level(5)
    assert torch.equal(denoiser(x, level).x0, again(x, level).x0)
    assert (again.shape, again.variance.name, again.schedule.T) == ((1, 8, 8), "fixed_small", 30)
    fn.save(again, tmp_path / "model")  # over itself
    flip_bit(tmp_path / "model" / "model.safetensors", 1000)
    with pytest.raises(fn.FromNoiseError, match="was changed"):
        fn.load(tmp_path / "model")
    with pytest.raises(fn.FromNoiseError, match="no such run"):
        fn.load(tmp_path / "nothing")
    with pytest.raises(fn.FromNoiseError, match="what can be saved is a Denoiser"):
        fn.save(torch.nn.Identity(), tmp_path / "x")


def test_bf16_follows_fp32_and_keeps_its_weights_in_float32(tmp_path):
    """Ten steps of a network computed in bf16: the losses within 3 % of float32's, the weights and states float32."""
    trainer(tmp_path / "fp32", steps=10, dropout=0.0).run()
    low = trainer(tmp_path / "bf16", steps=10, dropout=0.0)
    low.hardware = Hardware(torch.device("cpu"), torch.bfloat16, "test")
    low.run()
    assert {p.dtype for p in low.trained.network.parameters()} == {torch.float32}
    pairs = zip(losses(tmp_path / "fp32"), losses(tmp_path / "bf16"), strict=True)
    assert all(b[2] == pytest.approx(a[2], rel=0.03) for a, b in pairs)
    assert [r[2] for r in losses(tmp_path / "fp32")] != [r[2] for r in losses(tmp_path / "bf16")]
    seen = []
    network = low.hardware.prepare(low.trained.network, inference=True)
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].dtype))
    drawn = fn.sample(low.task.denoiser, 2, steps=2)
    assert (seen[0], drawn.dtype) == (torch.bfloat16, torch.float32)
