"""fn.fit: one way to train anything that people have."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import fromnoise as fn
from fromnoise.data.examples import Batches, Items, Tensors, examples_of
from fromnoise.errors import TrainingError
from fromnoise.train import lr_schedules

QUIET = {"progress": False, "precision": "fp32"}


class Net(nn.Module):
    """A network of the user's own: points in the plane, with any conditions that `names` says."""

    def __init__(self, names=(), classes=None):
        super().__init__()
        torch.manual_seed(0)
        self.names = names
        self.label = nn.Embedding(classes, 8) if classes else None
        self.body = nn.Sequential(nn.Linear(3 + len(names) + 8 * bool(classes), 64), nn.SiLU(), nn.Linear(64, 2))

    def forward(self, x, time, label=None, tilt=None):
        parts = [x, time[:, None] / 1000]
        if "tilt" in self.names:
            parts.append(tilt[:, None])
        if self.label is not None:
            parts.append(self.label(label))
        return self.body(torch.cat(parts, 1))


def points(n=256, seed=0):
    """A narrow cloud, whose mean and deviation are known."""
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)) * 0.1 + torch.tensor([0.5, -0.3])


def denoiser(network=None, **options):
    return fn.Denoiser(network or Net(), fn.schedules.Cosine(T=100), "v", **options)


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


class Points(Dataset):
    """Somebody's data set: (x, {name: condition})."""

    def __init__(self, conditions=lambda i: {}):
        self.x, self.conditions = points(), conditions

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.conditions(i)


def test_a_fitted_model_draws_from_its_data():
    model = denoiser()
    fitted = fn.fit(model, points(), steps=600, batch_size=128, lr=5e-3, ema=0.99, **QUIET)
    assert fitted.model is model
    assert not model.training
    assert (fitted.progress.step, fitted.progress.images, fitted.out, fitted.stopped) == (600, 600 * 128, None, 0)
    drawn = fn.sample(model, 500)
    torch.testing.assert_close(drawn.mean(0), torch.tensor([0.5, -0.3]), atol=0.08, rtol=0)
    assert drawn.std(0).max() < 0.3


def test_without_out_nothing_is_written_and_nothing_global_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    before = torch.backends.cuda.matmul.fp32_precision, torch.get_num_threads(), torch.get_rng_state()
    fn.fit(denoiser(fn.nn.UNet(channels=8, groups=4, mult=(1,), attention=(), dropout=0.1)),
           torch.zeros(4, 3, 8, 8), steps=2, batch_size=2, **QUIET)  # fmt: skip
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), expected)
    assert list(tmp_path.iterdir()) == []
    assert (torch.backends.cuda.matmul.fp32_precision, torch.get_num_threads()) == before[:2]


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fn.fit(denoiser(fn.nn.UNet(channels=8, groups=4, mult=(1,), attention=(), dropout=0.1)),
           torch.zeros(4, 3, 8, 8), steps=2, batch_size=2, **QUIET)  # fmt: skip
    drawn = torch.rand(3)
    model = fn.nn.UNet(channels=8, groups=4, mult=(1,), attention=(), dropout=0.1)  # which draws its weights
    del model
    torch.manual_seed(5)
    fn.nn.UNet(channels=8, groups=4, mult=(1,), attention=(), dropout=0.1)
    assert torch.equal(drawn, torch.rand(3))
    assert expected.shape == drawn.shape


FORMS = {
    "tensor": lambda: points(),
    "array": lambda: points().numpy(),
    "float64": lambda: points().double(),
    "tensor data set": lambda: TensorDataset(points()),
    "with labels nobody asked for": lambda: TensorDataset(points(), torch.arange(256) % 4),
    "own data set": Points,
    "list of arrays": lambda: list(points().numpy()),
}


@pytest.mark.parametrize("form", FORMS)
def test_data_of_any_form_trains_the_same(form, tmp_path):
    fn.fit(denoiser(), points(), steps=3, batch_size=16, out=tmp_path / "one", **QUIET)
    fn.fit(denoiser(), FORMS[form](), steps=3, batch_size=16, out=tmp_path / "two", **QUIET)
    assert [line["loss"] for line in lines(tmp_path / "one")] == [line["loss"] for line in lines(tmp_path / "two")]


def test_a_loader_and_an_iterable_of_batches_train():
    loader = DataLoader(TensorDataset(points()), batch_size=32, shuffle=True)
    assert fn.fit(denoiser(), loader, steps=20, batch_size=32, **QUIET).progress.step == 20
    batches = [points(16, seed) for seed in range(3)]
    assert fn.fit(denoiser(), batches[:0] or iter_of(batches), steps=7, batch_size=16, **QUIET).progress.step == 7
    with pytest.raises(fn.FromNoiseError, match="batches of 32, but batch_size is 16"):
        fn.fit(denoiser(), loader, steps=2, batch_size=16, **QUIET)
    with pytest.raises(fn.FromNoiseError, match="an iterator can be read once"):
        fn.fit(denoiser(), iter(batches), steps=9, batch_size=16, **QUIET)


def iter_of(batches):
    class Again:
        def __iter__(self):
            return iter(batches)

    return Again()


def test_images_in_uint8_and_as_pillow_and_in_a_folder_are_one(tmp_path):
    pixels = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")

    class Pillow(Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return Image.open(tmp_path / f"{i}.png"), i % 2

    def losses(data):
        seen = []
        torch.manual_seed(0)
        network = fn.nn.UNet(channels=8, groups=4, mult=(1,), attention=(), mid_attention=False)
        model = fn.Denoiser(network, "cosine", "v", shape=(3, 8, 8))
        fn.fit(model, data, steps=3, batch_size=3, callbacks=[lambda line: seen.append(line["loss"])], **QUIET)
        return seen

    expected = losses(pixels)
    assert losses(Pillow()) == expected
    assert losses(str(tmp_path)) == expected
    assert losses(tmp_path) == expected
    np.testing.assert_allclose(losses(pixels / 127.5 - 1), expected, rtol=1e-5)


def test_conditions_of_any_name_reach_the_network_and_teach_it():
    """x is the condition itself: without it the loss cannot fall below the data's variance."""

    class Shown(Dataset):
        def __len__(self):
            return 256

        def __getitem__(self, i):
            tilt = np.float32(np.sin(i))
            return np.array([tilt, -tilt], np.float32), {"tilt": tilt}

    model = denoiser(Net(("tilt",)), shape=(2,))
    fn.fit(model, Shown(), steps=800, batch_size=64, lr=5e-3, ema=0.99, **QUIET)
    asked = torch.linspace(-0.9, 0.9, 32)
    drawn = fn.sample(model, 32, cond={"tilt": asked})
    error = (drawn - torch.stack([asked, -asked], 1)).abs().mean()
    assert error < 0.15  # without the condition it is some 0.7


def test_conditions_are_hidden_each_by_itself():
    seen = []

    class Watching(Net):
        def forward(self, x, time, label=None, tilt=None):
            seen.append((label.clone(), tilt.clone()))
            return super().forward(x, time, label, tilt)

    network = Watching(("tilt",), classes=3)
    network.null_label = 2
    data = Points(lambda i: {"label": i % 2, "tilt": np.float32(1.0)})
    model = denoiser(network)
    fn.fit(model, data, steps=40, batch_size=64, condition_dropout={"label": 0.25, "tilt": 0.5}, **QUIET)
    label, tilt = (torch.cat(column) for column in zip(*seen, strict=True))
    n = len(label)
    assert abs((label == 2).double().mean() - 0.25) < 4 * (0.25 * 0.75 / n) ** 0.5
    assert abs((tilt == 0).double().mean() - 0.5) < 4 * (0.25 / n) ** 0.5
    both = ((label == 2) & (tilt == 0)).double().mean()
    assert abs(both - 0.125) < 4 * (0.125 / n) ** 0.5  # independent
    assert model.null_cond.keys() == {"label", "tilt"}


def test_resume_is_exact(tmp_path):
    def go(out, steps, **options):
        return fn.fit(denoiser(), Points(), steps=steps, batch_size=16, lr=1e-2, ema=0.9, out=tmp_path / out,
                      validation=0.1, checkpoint_every=4, **options, **QUIET)  # fmt: skip

    whole = go("whole", 9)
    go("part", 4)
    with pytest.raises(fn.FromNoiseError, match="holds a run already: continue it with resume=True"):
        go("part", 9)
    part = go("part", 9, resume=True)
    for a, b in zip(whole.model.parameters(), part.model.parameters(), strict=True):
        assert torch.equal(a, b)
    skip = ("seconds", "images_per_second")
    one, two = ([{k: v for k, v in line.items() if k not in skip} for line in lines(tmp_path / out)] for out in ("whole", "part"))  # fmt: skip
    assert one == two
    assert [line["step"] for line in one if "validation_loss" in line] == [4, 8, 9]
    assert part.progress.validation == one[-1]["validation_loss"]


def test_held_out_loss_is_the_mean_over_held_out_examples_and_chooses_the_best(tmp_path):
    """Of a network that gives 0 the loss of v is E |alpha eps - sigma x0|^2, whatever the draws: close to its mean."""

    class Nothing(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x, time):
            return 0 * x + 0 * self.unused

    held_out = torch.full((4000, 2), 0.5)
    fitted = fn.fit(denoiser(Nothing()), points(), validation=held_out, steps=1, batch_size=500, out=tmp_path, **QUIET)
    level = fn.schedules.Cosine(T=100).level(torch.arange(1, 101))
    expected = (level.alpha**2 + level.sigma**2 * 0.25).mean().item()
    assert fitted.progress.validation == pytest.approx(expected, rel=0.06)
    from fromnoise.weights.checkpoint import Checkpoints

    store = Checkpoints(tmp_path / "kept", keep=1)
    for step, (loss, validation) in enumerate([(3.0, 0.5), (2.0, 0.1), (1.0, 0.4)], start=1):
        store.save(step, {"model": {"w": torch.ones(1)}}, {"state": {"loss": loss, "validation": validation}})
    assert store.steps() == [2, 3]


def test_the_objectives_parts_are_in_the_log(tmp_path):
    torch.manual_seed(0)
    network = fn.nn.UNet(in_channels=1, out_channels=2, channels=8, groups=4, mult=(1,), attention=())
    model = fn.Denoiser(network, fn.schedules.Cosine(T=20), "eps", "learned_range", (1, 8, 8))
    fn.fit(model, torch.rand(8, 1, 8, 8), objective="hybrid", steps=2, batch_size=4, out=tmp_path, **QUIET)
    for line in lines(tmp_path):
        assert line["loss"] == pytest.approx(line["simple"] + 0.001 * line["vlb"], rel=1e-5)


@pytest.mark.parametrize("name", lr_schedules.names())
def test_learning_rates(name, tmp_path):
    options = {"lr_schedule": name, "warmup": 3, "lr": 1e-2}
    fn.fit(denoiser(), points(), steps=10, batch_size=8, out=tmp_path, **options, **QUIET)
    rates = [line["lr"] for line in lines(tmp_path)]
    schedule = lr_schedules.build(name)
    expected = [1e-2 * min(1, k / 3) * schedule.factor(k, 10, 3) for k in range(1, 11)]
    assert rates == pytest.approx(expected)
    assert rates[0] == pytest.approx(1e-2 / 3, rel=1e-6)


def test_learning_rates_in_closed_form():
    cosine, root = lr_schedules.Cosine(end=0.1), lr_schedules.InverseSqrt(after=100)
    assert [cosine.factor(k, 110, 10) for k in (10, 60, 110)] == pytest.approx([1.0, 0.55, 0.1])
    assert [root.factor(k, None, 0) for k in (1, 100, 400, 10_000)] == pytest.approx([1, 1, 0.5, 0.1])
    with pytest.raises(fn.FromNoiseError, match="must know its end"):
        fn.fit(denoiser(), points(), minutes=1, lr_schedule="cosine", **QUIET)


def test_a_callback_sees_every_step_and_may_end_the_training():
    seen = []

    def enough(line):
        seen.append(line["step"])
        return line["step"] == 4

    assert fn.fit(denoiser(), points(), steps=9, batch_size=8, callbacks=[enough], **QUIET).progress.step == 4
    assert seen == [1, 2, 3, 4]


def test_a_model_of_own_class_is_saved_and_loaded_into_an_own_object(tmp_path):
    class Normed(Net):
        """With buffers and tied weights, which files must hold too."""

        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)
            self.twice = self.body[0].weight

        def forward(self, x, time):
            return super().forward(self.norm(x), time)

    model = denoiser(Normed())
    fn.fit(model, points(), steps=5, batch_size=16, lr=1e-2, ema=0.5, out=tmp_path / "run", **QUIET)
    expected = fn.sample(model, 3)
    fn.save(model, tmp_path / "model")
    for path in ("model", "run"):
        with pytest.raises(fn.FromNoiseError, match=r"of the class Normed, .* fn\.load\(path, network=Normed\("):
            fn.load(tmp_path / path)
        assert torch.equal(fn.sample(fn.load(tmp_path / path, network=Normed()), 3), expected)
    with pytest.raises(fn.FromNoiseError, match="weights do not fit this Net: Unexpected key"):
        fn.load(tmp_path / "model", network=Net())
    with pytest.raises(fn.FromNoiseError, match="weights do not fit this UNet"):
        fn.load(tmp_path / "model", network=fn.nn.UNet(channels=8, groups=4, mult=(1,)))


def test_registering_a_class_elsewhere_does_not_make_a_file_that_cannot_be_loaded(tmp_path):
    from fromnoise.registry import register

    @register("mine")
    class Mine(Net):
        pass

    fn.save(denoiser(Mine()), tmp_path / "model")
    with pytest.raises(fn.FromNoiseError, match="of the class Mine"):
        fn.load(tmp_path / "model")
    assert isinstance(fn.load(tmp_path / "model", network=Mine()).network, Mine)


STRANGER = """
import sys, torch, fromnoise as fn

class MyNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.SiLU(), torch.nn.Linear(64, 2))
    def forward(self, x, time):
        return self.body(torch.cat([x, time[:, None] / 1000], 1))

class MyData(torch.utils.data.Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, i):
        angle = torch.tensor(i / 1000 * 6.2832)
        return torch.stack([angle.cos(), angle.sin()])
"""


def test_a_strangers_script_in_two_processes(tmp_path):
    first = (
        STRANGER
        + """
denoiser = fn.Denoiser(MyNet(), "cosine", "v")
fn.fit(denoiser, MyData(), steps=20, lr=1e-3, batch_size=64)
fn.save(denoiser, sys.argv[1])
print(fn.sample(denoiser, 4).tolist())
"""
    )
    second = STRANGER + "\nprint(fn.sample(fn.load(sys.argv[1], network=MyNet()), 4).tolist())\n"
    said = []
    for code in (first, second):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""  # no terminal, no bar
        said.append(done.stdout)
    assert said[0] == said[1]


class Named(Net):
    """Takes its label by another name."""

    def forward(self, x, time, y=None):
        return super().forward(x, time)


class Any(Net):
    def forward(self, x, time, **conditions):
        return super().forward(x, time)


def frozen():
    return denoiser(Net().requires_grad_(False))


MISTAKES = {
    "half precision": (lambda m: fn.fit(denoiser(Net().bfloat16()), points(), steps=1), r"half precision.*network\.float"),
    "nothing to train": (lambda m: fn.fit(frozen(), points(), steps=1), "no parameter that can be trained"),
    "another name": (lambda m: fn.fit(denoiser(Named()), (points(), torch.zeros(256)), steps=1, batch_size=4),
                     "has the condition 'label'.* takes y"),
    "a name of ours": (lambda m: fn.fit(denoiser(Any()), (points(), {"eps": torch.zeros(256)}), steps=1, batch_size=4),
                       "cannot be called eps"),
    "held out of another shape": (lambda m: fn.fit(denoiser(), points(), validation=torch.zeros(4, 3), steps=1),
                                  "examples of 3, and data of 2"),
    "held out without": (lambda m: fn.fit(m, (points(), torch.zeros(256)), validation=points(), steps=1),
                         "validation has the conditions none, but data has label"),
    "no batch is whole": (lambda m: fn.fit(m, iter_of([points(3), points(5)]), steps=1, batch_size=8), "batches of 5"),
    "resume where": (lambda m: fn.fit(m, points(), steps=1, resume=True), "name the folder with out"),
    "precision": (lambda m: fn.fit(m, points(), steps=1, precision="fp16"), "unknown precision 'fp16'"),
    "compile": (lambda m: fn.fit(m, points(), steps=1, compile="yes"), "unknown compile 'yes'"),
    "one number": (lambda m: fn.fit(m, torch.zeros(4), steps=1), r"it must be \[N, \.\.\.\]"),
    "no end": (lambda m: fn.fit(m, points()), "give steps or minutes"),
    "a typo": (lambda m: fn.fit(m, points(), steps=1, batchsize=3), r"no argument 'batchsize' \(did you mean batch_size"),
    "a value": (lambda m: fn.fit(m, points(), steps=0), "steps: input should be greater than or equal to 1, got 0"),
    "the network": (lambda m: fn.fit(m.network, points(), steps=1), r"model: a Net; give fn\.Denoiser"),
    "a class": (lambda m: fn.fit(Net, points(), steps=1), "model: the class Net; give"),
    "a number": (lambda m: fn.fit(m, 3, steps=1), "data: a int; give a tensor"),
    "no folder": (lambda m: fn.fit(m, "nowhere", steps=1), "no such folder"),
    "strings": (lambda m: fn.fit(m, ["a", "b"], steps=1), r"data\[0\] is a str: an example is"),
    "whole numbers": (lambda m: fn.fit(m, torch.arange(8).view(4, 2), steps=1), "x is int64; give uint8"),
    "0..255 as floats": (lambda m: fn.fit(m, 255 * torch.rand(4, 3, 8, 8), steps=1), "values up to 2.*: x / 127.5 - 1"),
    "nan": (lambda m: fn.fit(m, torch.full((4, 2), float("nan")), steps=1), "not finite"),
    "a shape": (lambda m: fn.fit(denoiser(shape=(3,)), points(), steps=1), "examples of 2, and the denoiser's shape is 3"),
    "unknown condition": (lambda m: fn.fit(m, Points(lambda i: {"tild": 1.0}), steps=1, batch_size=4),
                          r"condition 'tild' \(did you mean tilt\?\), but the network takes label, tilt"),
    "share": (lambda m: fn.fit(m, points(), steps=1, validation=1.5), "between 0 and 1"),
    "ragged": (lambda m: fn.fit(m, [np.zeros(2), np.zeros(3)], steps=1, batch_size=2), r"data\[1\]: has shape 3"),
    "empty": (lambda m: fn.fit(m, [], steps=1), "no example in it"),
    "lengths": (lambda m: fn.fit(m, (points(), torch.zeros(3)), steps=1), "256 examples, but 3 values"),
    "objective": (lambda m: fn.fit(m, points(), objective="simpel", steps=1), "did you mean simple"),
    "null": (lambda m: fn.fit(denoiser(Net(classes=4)), (points(), torch.arange(256) % 4), steps=1, condition_dropout=0.5),
             "null_label"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name):
    wrong, says = MISTAKES[name]
    with pytest.raises(fn.FromNoiseError, match=says) as error:
        wrong(denoiser(shape=(2,)))
    assert "\n" not in str(error.value)
    assert "--" not in str(error.value)


def test_what_people_have_becomes_examples():
    assert isinstance(examples_of(points()), Tensors)
    assert isinstance(examples_of((points(), torch.zeros(256))), Tensors)
    assert isinstance(examples_of(Points()), Items)
    assert isinstance(examples_of(DataLoader(TensorDataset(points()), 4)), Batches)
    x, conditions = examples_of((points(), {"tilt": np.arange(256.0)})).examples([3, 1])
    assert torch.equal(x, points()[[3, 1]])
    assert conditions["tilt"].tolist() == [3, 1]
    rest, held = examples_of(points()).split(0.25, 7)
    assert (len(rest), len(held)) == (192, 64)
    both = torch.cat([rest.examples(range(192))[0], held.examples(range(64))[0]])
    assert torch.equal(both.sort(0).values, points().sort(0).values)


def test_a_loss_that_is_no_number_says_what_a_python_user_can_do():
    class Broken(Net):
        def forward(self, x, time):
            return super().forward(x, time) * float("nan")

    with pytest.raises(TrainingError, match="step 1: the loss is nan"):
        fn.fit(denoiser(Broken()), points(), steps=2, batch_size=8, **QUIET)


OPTIMIZERS = {
    "a class": lambda p: torch.optim.SGD,
    "a function": lambda p: lambda parameters: torch.optim.SGD(parameters, lr=0.05),
    "an object": lambda p: torch.optim.SGD(p, lr=0.05),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_of_torch_takes_its_steps(name, tmp_path):
    """theta <- theta - lr grad, by hand from the first step's gradient."""
    model = denoiser()
    before = [p.detach().clone() for p in model.network.parameters()]
    given = OPTIMIZERS[name](model.network.parameters())
    options = {"lr": 0.05} if name == "a class" else {}
    fn.fit(model, points(), steps=1, batch_size=16, optimizer=given, ema=0, clip=1e6, out=tmp_path, **options, **QUIET)
    moved = (
        torch.cat([(a - b).flatten() for a, b in zip(before, model.network.parameters(), strict=True)]).norm().item()
    )
    (line,) = lines(tmp_path)
    assert moved == pytest.approx(0.05 * line["grad_norm"], rel=1e-4)
    assert line["lr"] == pytest.approx(0.05)
    if name != "a class":
        with pytest.raises(fn.FromNoiseError, match="a learning rate of its own"):
            fn.fit(denoiser(), points(), steps=1, optimizer=given, lr=1.0, **QUIET)


def test_a_recipe_is_built_for_data_of_any_shape():
    recipe = fn.recipes.load("digits")
    plain = recipe.with_changes({"train.label_dropout": 0.0, "network.classes": None, "network.channels": 8})
    for shape in ((2, 16), (1, 8, 8), (1, 8, 8, 8)):
        model = plain.build(shape)
        fn.fit(model, torch.zeros(4, *shape), steps=1, batch_size=2, **QUIET)
        assert fn.sample(model, 2, "ddim", 2).shape == (2, *shape)
    assert plain.with_changes({"network": "mlp"}).build((1, 4, 4)).network(
        torch.zeros(2, 1, 4, 4), torch.zeros(2)
    ).shape == (2, 1, 4, 4)


def test_only_a_true_answer_ends_the_training():
    for answer in (lambda line: line["step"], lambda line: torch.zeros(2), lambda line: "yes"):
        assert fn.fit(denoiser(), points(), steps=3, batch_size=8, callbacks=[answer], **QUIET).progress.step == 3
    assert fn.fit(denoiser(), points(), steps=3, batch_size=8, callbacks=lambda line: True, **QUIET).progress.step == 1


def test_going_on_with_another_model_is_refused(tmp_path):
    fn.fit(denoiser(), points(), steps=1, batch_size=8, out=tmp_path, **QUIET)
    for other in (
        fn.Denoiser(Net(), fn.schedules.Cosine(T=100), "eps"),
        fn.Denoiser(Net(), fn.schedules.Cosine(T=50), "v"),
        fn.Denoiser(Net(), fn.schedules.Cosine(T=100), "v", "fixed_small"),
    ):
        with pytest.raises(fn.FromNoiseError, match="is of another (parameterization|schedule|variance)"):
            fn.fit(other, points(), steps=2, batch_size=8, out=tmp_path, resume=True, **QUIET)


def test_saving_replaces_nothing_but_a_saved_model(tmp_path):
    model, place = denoiser(shape=(2,)), tmp_path / "project"
    fn.save(model, place)
    fn.save(model, place)  # over itself
    (place / "thesis.txt").write_text("years of work")
    with pytest.raises(fn.FromNoiseError, match="holds thesis.txt, which would be lost"):
        fn.save(model, place)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(fn.FromNoiseError, match="is a file"):
        fn.save(model, tmp_path / "file")
    fn.fit(model, points(), steps=1, batch_size=8, out=tmp_path / "run", **QUIET)
    with pytest.raises(fn.FromNoiseError, match="holds checkpoints"):
        fn.save(model, tmp_path / "run")
    assert (place / "thesis.txt").read_text() == "years of work"


def test_pillow_images_are_read_as_those_of_a_folder():
    deep = Image.fromarray(np.full((4, 4), 30000, np.uint16))
    clear = Image.fromarray(np.zeros((4, 4, 4), np.uint8), "RGBA")
    x, _ = examples_of([deep, deep]).examples([0])
    assert x.unique().tolist() == [30000 >> 8]
    x, _ = examples_of([clear, clear]).examples([0])
    assert x.unique().tolist() == [255]  # transparency is laid on white


class Pair(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x, time):
        return self.layer(x), time


class Lazy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.LazyLinear(2)

    def forward(self, x, time):
        return self.layer(x)


@pytest.mark.parametrize(
    ("network", "options", "said"),
    [
        (Pair, {}, "network gives a tuple, and must give one tensor"),
        (Lazy, {}, r"layer\.weight has no shape yet: call the network once"),
        (None, {"objective": fn.objectives.Simple}, "objective is the class Simple"),
        (None, {"objective": 3}, "objective must be a name, .* or an object of the class Objective; got 3"),
        (None, {"times": 3}, "must be a name, .* or an object of the class TimeSampling; got 3"),
        (None, {"lr_schedule": fn.train.lr_schedules.get("cosine")}, "lr_schedule is the class Cosine"),
        (None, {"seed": None}, "seed must be a whole number"),
        (None, {"workers": -1}, "workers must be a whole number of at least 0"),
        (None, {"lr": float("inf")}, "lr: must be finite"),
    ],
)
def test_first_mistakes_of_fit_are_one_line(network, options, said):
    model = fn.Denoiser(network(), fn.schedules.Cosine(), shape=(2,)) if network else denoiser(shape=(2,))
    with pytest.raises(fn.FromNoiseError, match=said) as error:
        fn.fit(model, points(), steps=1, batch_size=8, **options, **QUIET)
    assert "\n" not in str(error.value)
