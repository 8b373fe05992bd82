"""Evaluation: the same figures whatever happened on the way, and tables in the shape of the paper's."""

import csv
import io
import math
import shutil

import pytest
import torch

import fromnoise as fn
from fromnoise.app import evaluation, runs
from fromnoise.app.evaluation.parts import Parts
from fromnoise.app.evaluation.report import short, warnings
from fromnoise.data.images import InMemory
from fromnoise.metrics.features import Extractor, Features
from fromnoise.train.distributed import Processes


class Toy(Extractor):
    """Three features of an image."""

    suffix, dimensions, hash, about = "-toy", 3, "1" * 64, {"kind": "toy"}
    calls = 0

    def __call__(self, pixels):
        type(self).calls += 1
        x = pixels.float().flatten(1)
        return Features(torch.stack([x.mean(1), x.std(1), x[:, 0]], 1), x[:, :4].softmax(1))


def images(n=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return InMemory("toys", torch.randint(0, 256, (n, 1, 8, 8), generator=generator, dtype=torch.uint8))


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    net = fn.nn.UNet(
        in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, attention=(), classes=3, null_label=True
    )
    torch.nn.init.normal_(net.out.weight, std=0.2)
    fn.save(fn.Denoiser(net, fn.schedules.Cosine(T=30), "v", "fixed_small", (1, 8, 8)), tmp_path / "model")
    return runs.open_model(tmp_path / "model", "fp32")


def choice(**options):
    usual = {
        "sampler": fn.samplers.DDIM(),
        "steps": 4,
        "spacing": "uniform",
        "steering": fn.guidance.Steering(clip=True),
        "label": None,
    }
    return runs.SamplingPlan(**(usual | options))


class Telling(Toy):
    """Its classes are those of a model, and it is sure of the class that the first pixel says."""

    classes = ("dark", "middle", "bright")

    def __call__(self, pixels):
        kind = (pixels[:, 0, 0, 0].long() * 3 // 256).clamp_max(2)
        return Features(super().__call__(pixels).pool, torch.nn.functional.one_hot(kind, 3).float())


def test_class_accuracy_is_the_share_that_is_what_was_asked_for(model, tmp_path):
    model.denoiser.class_names = Telling.classes
    for label, wanted in ((None, torch.arange(25) % 3), ("bright", torch.full((25,), 2))):
        how = choice(label=label)
        samples = runs.draw(model, 25, how, seed=0, batch_size=25)
        kind = Telling()(samples).probabilities.argmax(1)
        found = evaluation.evaluate(model, how, reference(), "toy", Telling(), n=25, folder=tmp_path / "eval")
        assert found["figures"]["class accuracy"]["value"] == pytest.approx((kind == wanted).double().mean().item())
    model.denoiser.class_names = ("others",) * 3
    found = evaluation.evaluate(model, choice(), reference(), "toy", Telling(), n=25, folder=tmp_path / "eval")
    assert "class accuracy" not in found["figures"]


def test_the_table_of_guidance(model, tmp_path):
    """Every entry is what `evaluate` says of the same steering; a column is the same mixture of scores for both."""
    model.denoiser.class_names = Telling.classes
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.denoiser.network.parameters():  # else a label makes no difference
            p.add_(0.2 * torch.randn_like(p))
    network = fn.nn.HalfUNet(outputs=3, in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4)
    classifier = fn.guidance.NoisyClassifier(network, model.denoiser.schedule, (1, 8, 8), Telling.classes).eval()
    args = (model, reference(), "toy", Telling(), tmp_path / "eval", 12, 12, (0, 1.5))
    table = evaluation.GuidanceTable(*args, classifier=classifier)
    table.check()
    cells = list(table.run(12, Processes()))[-1]
    assert [(c.row, c.column) for c in cells] == [
        ("classifier-free", 0), ("classifier", 0), ("classifier-free", 1.5), ("classifier", 1.5)
    ]  # fmt: skip
    assert cells[0].value == pytest.approx(cells[1].value)  # both draw without a class
    assert cells[2].value != cells[3].value
    own = fn.guidance.Steering(0.0, True, classifier=classifier, classifier_scale=1.5)
    how = runs.SamplingPlan(cells[3].choice.sampler, cells[3].choice.steps, cells[3].choice.spacing, own)
    found = evaluation.evaluate(model, how, reference(), "toy", Telling(), n=12, folder=tmp_path / "other")
    assert found["value"] == pytest.approx(cells[3].value)
    assert cells[3].more["class accuracy"] == found["figures"]["class accuracy"]["value"]
    text = table.as_markdown(cells)
    assert text.count("| classifier-free |") == text.count("| classifier |") == 2
    table.draw(cells, tmp_path / "g.png")
    assert (tmp_path / "g.png").stat().st_size > 5000
    assert table.as_csv(cells).count("\n") == 5


def test_accuracy_over_the_levels_starts_clean_and_ends_at_chance():
    """A classifier that looks at the mean: right on clean images, blind where only noise is left."""

    class Bright(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x, time):
            mean = 50 * x.mean((1, 2, 3))
            return torch.stack([-mean, mean], 1)

    labels = torch.arange(400) % 2
    pixels = (labels.view(-1, 1, 1, 1) * 255).expand(-1, 1, 4, 4).to(torch.uint8)
    data = InMemory("toys", pixels, labels, ("dark", "bright"))
    classifier = fn.guidance.NoisyClassifier(Bright(), fn.schedules.Cosine(T=100), (1, 4, 4), ("dark", "bright"))
    found = evaluation.accuracy_over_levels(classifier, data, n=400, levels=10)
    assert found.shares[0] == 1
    assert found.shares[-1] == pytest.approx(0.5, abs=0.1)
    assert 0 < found.times[0] < found.times[-1] == 100
    assert len(found.shares) == 10


ORDERLESS = ("frechet", "kernel", "precision-recall")  # of sets of one size; the inception score deals to parts


def reference(n=40):
    return evaluation.reference(images(n), "toy", Toy())


def evaluate(model, folder, n=25, how=None, **options):
    return evaluation.evaluate(model, how or choice(), reference(), "toy", Toy(), n=n, folder=folder, **options)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    original = Parts.__init__
    monkeypatch.setattr(Parts, "__init__", lambda self, *a, size=10: original(self, *a, size=size))


def test_the_figures_are_those_of_the_samples(model, tmp_path):
    found = evaluate(model, tmp_path / "eval")
    samples = runs.draw(model, 25, choice(), seed=0, batch_size=25)
    same = evaluation.evaluate(
        model, choice(), reference(25), "toy", Toy(), n=25, folder=tmp_path / "eval", metrics=ORDERLESS
    )
    truth = fn.metrics.compare(samples, images(25), Toy(), ORDERLESS)
    assert {k: v["value"] for k, v in same["figures"].items()} == pytest.approx(truth, rel=1e-6)
    assert (found["figure"], found["n"], found["value"]) == ("FD-toy-25", 25, found["figures"]["FD-toy"]["value"])
    assert found["features"] == {"name": "toy", "sha256": "1" * 64, "dimensions": 3, "kind": "toy"}
    assert found["reference"] | {"sha256": ""} == {
        "data": "toys",
        "split": "train",
        "n": 40,
        "shape": "1x8x8",
        "sha256": "",
    }
    assert found["sampling"]["sampler"] == {"name": "ddim", "eta": 0.0}
    assert found["sampling"]["nfe"] == 4
    assert found["sampling"]["clip"] is True
    assert found["model"]["ema"] is False  # a saved model has no averaged weights
    assert found["model"]["precision"] == "fp32"


def test_network_calls_are_counted(model, tmp_path):
    found = evaluate(
        model, tmp_path / "eval", how=choice(steering=fn.guidance.Steering(2.0, True), sampler=fn.samplers.Heun())
    )
    assert found["sampling"]["nfe"] == 2 * (2 * 4 - 1)  # two calls a step but the last, each for both labels


def test_a_killed_evaluation_goes_on(model, tmp_path, monkeypatch):
    whole = evaluate(model, tmp_path / "whole", batch_size=10)
    original, made = runs.draw, []

    def dies(*args, **options):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(args)
        return original(*args, **options)

    monkeypatch.setattr(runs, "draw", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, tmp_path / "killed", batch_size=10)
    made.clear()
    again = evaluate(model, tmp_path / "killed", batch_size=10)
    assert len(made) == 1  # of three parts two were there
    assert again["figures"] == whole["figures"]
    made.clear()
    assert evaluate(model, tmp_path / "killed", batch_size=10)["figures"] == whole["figures"]
    assert made == []


def test_large_batches_take_several_parts_at_once(model, tmp_path, monkeypatch):
    small = evaluate(model, tmp_path / "small", n=45, batch_size=5)
    original, asked = runs.draw, []
    monkeypatch.setattr(runs, "draw", lambda model, n, *args: asked.append(n) or original(model, n, *args))
    large = evaluate(model, tmp_path / "large", n=45, batch_size=20)
    assert asked == [20, 20, 5]
    assert {k: v["value"] for k, v in large["figures"].items()} == pytest.approx(
        {k: v["value"] for k, v in small["figures"].items()}, rel=1e-3
    )
    assert large["sampling"]["nfe"] == small["sampling"]["nfe"]
    parts = sorted((tmp_path / "large").rglob("part-*"))
    assert len(parts) == 5
    shutil.rmtree(parts[1])
    shutil.rmtree(parts[4])
    asked.clear()
    assert evaluate(model, tmp_path / "large", n=45, batch_size=20)["n"] == 45
    assert asked == [20, 5]  # in the batches of the first time, since the last digits depend on the batch
    assert evaluate(model, tmp_path / "large", n=45, batch_size=20)["figures"] == large["figures"]
    assert asked == [20, 5]


def test_a_part_that_was_damaged_is_sampled_again(model, tmp_path, capsys):
    whole = evaluate(model, tmp_path / "eval", batch_size=10)
    ruined = [(path, change) for path in sorted((tmp_path / "eval").rglob("part-*/*")) for change in (cut, flip)]
    assert len(ruined) >= 12
    for path, change in ruined:
        path.write_bytes(change(path.read_bytes()))
        found = evaluate(model, tmp_path / "eval", batch_size=10)
        assert found["figures"] == whole["figures"]
        assert found["sampling"]["nfe"] == whole["sampling"]["nfe"]
        assert f"{path.parent}: " in (said := capsys.readouterr().err)
        assert "drawn again" in said


def cut(content: bytes) -> bytes:
    return content[:-3]  # more than the last newline, without which a manifest says the same


def flip(content: bytes) -> bytes:
    return content[:-20] + bytes([content[-20] ^ 4]) + content[-19:]


def test_more_samples_go_on_from_fewer_and_other_choices_do_not(model, tmp_path):
    evaluate(model, tmp_path / "eval", n=15, batch_size=10)
    (folder,) = (tmp_path / "eval").iterdir()
    before = (folder / "part-000000" / "pixels.safetensors").stat().st_mtime_ns
    grown = evaluate(model, tmp_path / "eval", n=25, batch_size=10)
    assert (folder / "part-000000" / "pixels.safetensors").stat().st_mtime_ns == before
    assert grown["figures"] == evaluate(model, tmp_path / "fresh", n=25, batch_size=10)["figures"]
    assert evaluate(model, tmp_path / "eval", n=15)["n"] == 15  # and fewer from more
    for other in (
        choice(steps=5),
        choice(steering=fn.guidance.Steering()),
        choice(steering=fn.guidance.Steering(2.0, True)),
        choice(label="1"),
        choice(sampler=fn.samplers.DDIM(0.5)),
    ):
        count = len(list((tmp_path / "eval").iterdir()))
        evaluate(model, tmp_path / "eval", n=4, how=other)
        assert len(list((tmp_path / "eval").iterdir())) == count + 1
    evaluate(model, tmp_path / "eval", n=4, seeds=(1,))
    assert len(list((tmp_path / "eval").iterdir())) == count + 2


def test_several_seeds_give_a_spread(model, tmp_path):
    found = evaluate(model, tmp_path / "eval", seeds=(3, 4, 5))
    alone = [evaluate(model, tmp_path / "eval", seeds=(s,))["value"] for s in (3, 4, 5)]
    figure = found["figures"]["FD-toy"]
    assert figure["seeds"] == alone
    assert figure["value"] == pytest.approx(sum(alone) / 3)
    assert figure["spread"] == pytest.approx(torch.tensor(alone, dtype=torch.float64).std().item())
    assert len(set(alone)) == 3


def test_the_reference_is_summarised_once_for_its_content(monkeypatch):
    first = evaluation.reference(images(seed=9), "toy", Toy())
    before = Toy.calls
    again = evaluation.reference(images(seed=9), "toy", Toy())
    assert Toy.calls == before
    assert again.about == first.about
    one, other = first.summary.tensors(), again.summary.tensors()
    assert all(torch.equal(one[k], other[k]) for k in one)
    evaluation.reference(images(seed=10), "toy", Toy())
    assert Toy.calls > before


def test_names_say_how_many():
    assert [short(n) for n in (25, 999, 1000, 1500, 49_999, 50_000)] == ["25", "999", "1k", "1500", "49999", "50k"]


def test_too_few_for_the_features_is_said_with_the_number():
    assert warnings(4, Toy(), 100) == []
    assert "3 samples for 3 features" in warnings(3, Toy(), 100)[0]
    assert "take more than 3" in warnings(3, Toy(), 100)[0]
    assert "2 reference images" in warnings(100, Toy(), 2)[0]


def test_images_from_anywhere_have_the_same_figures(model, tmp_path):
    samples = runs.draw(model, 25, choice(), seed=0, batch_size=25)
    found = evaluation.measure(InMemory("theirs", samples), reference(25), "toy", Toy(), ORDERLESS)
    ours = evaluation.evaluate(
        model, choice(), reference(25), "toy", Toy(), n=25, folder=tmp_path / "eval", metrics=ORDERLESS
    )
    assert {k: v["value"] for k, v in found["figures"].items()} == pytest.approx(
        {k: v["value"] for k, v in ours["figures"].items()}
    )
    assert found["samples"] == "theirs"
    with pytest.raises(fn.FromNoiseError, match="need at least 2"):
        evaluation.measure(InMemory("theirs", samples[:1]), reference(), "toy", Toy())


def table(model, folder, **options):
    usual = {"n": 12, "n_long": 6, "columns": (3, 5, 1000), "spacings": ("ddim", "quadratic")}
    return evaluation.StepsTable(model, reference(), "toy", Toy(), folder, **(usual | options))


def test_a_table_has_every_entry_that_the_chain_allows(model, tmp_path):

    made = table(model, tmp_path / "eval")
    told = []
    states = [list(cells) for cells in made.run(6, Processes(), told.append)]
    cells = states[-1]
    assert [len(s) for s in states] == list(range(1, 21))  # it grows entry by entry: 5 rows, 2 columns, 2 spacings
    assert [c.column for c in cells] == [3] * 10 + [5] * 10  # the cheap ones first; 1000 is above the chain's 30
    assert sum(told) == pytest.approx(made.cost(6))
    assert all(math.isfinite(c.value) for c in cells)
    eta = {c.row: c for c in cells if (c.spacing, c.column) == ("ddim", 5)}
    alone = evaluate(
        model,
        tmp_path / "other",
        n=12,
        how=choice(sampler=fn.samplers.DDIM(0.5), steps=5, spacing="ddim", steering=fn.guidance.Steering()),
    )
    assert eta["eta 0.5"].value == pytest.approx(alone["value"])
    large = evaluate(
        model,
        tmp_path / "other",
        n=12,
        how=choice(sampler=fn.samplers.Ancestral("fixed_large"), steps=5, spacing="ddim"),
    )
    assert eta["sigma-hat"].value == pytest.approx(large["value"])
    rows = list(csv.DictReader(io.StringIO(made.as_csv(cells))))
    assert len(rows) == 20
    assert rows[0]["figure"] == "FD-toy-12"
    text = made.as_markdown(cells)
    assert text.count("\n| eta") == 8
    assert f"| eta 0.5 | {eta['eta 0.5'].value:.2f}"[:12] in text
    assert "| " in made.as_markdown([])  # nothing measured yet
    # It is on the disk: asking again samples nothing.
    assert [c.value for c in list(table(model, tmp_path / "eval").run(6, Processes()))[-1]] == [c.value for c in cells]


def test_the_papers_figures_stand_beside_the_same_data(model, tmp_path):
    made = table(model, tmp_path / "eval")
    made.reference.about["data"] = "cifar10"
    cell = next(
        c
        for c in table(model, tmp_path / "eval", columns=(10,)).cells
        if (c.spacing, c.row) == ("quadratic", "sigma-hat")
    )
    assert made.paper(cell) == 367.43
    assert made.paper(next(c for c in made.cells if c.spacing == "ddim")) is None
    made.reference.about["data"] = "toys"
    assert made.paper(cell) is None


def test_every_sampler_stands_in_the_table_of_samplers_within_its_budget(model, tmp_path):
    pytest.importorskip("torchdiffeq", reason="the ode extra is not installed")
    from fromnoise.train.distributed import Processes

    made = evaluation.SamplersTable(
        model, reference(), "toy", Toy(), tmp_path / "eval", n=4, n_long=3, columns=(3, 8, 1000), spacings=("uniform",)
    )
    cells = list(made.run(4, Processes()))[-1]
    rows = {c.row.split(",")[0] for c in cells}
    assert rows == {name for name in fn.samplers.names() if not fn.samplers.get(name).student}
    for c in cells:
        assert c.nfe <= c.column  # counted by a hook on the network
        if c.column == 8 and not c.row.startswith("ode"):
            assert c.nfe > 8 - 5  # the budget is used, up to a step of the most expensive one
    assert next(c for c in cells if (c.row, c.column) == ("heun", 8)).choice.steps == 4
    assert next(c for c in cells if (c.row, c.column) == ("ddim", 1000)).choice.steps == 30  # the chain's length
    assert {c.n for c in cells if c.column == 1000 and c.row == "ddim"} == {3}
    adaptive = [c for c in cells if c.row.startswith("ode")]
    assert [c.nfe for c in adaptive] == sorted(c.nfe for c in adaptive)  # tighter tolerances cost more
    assert made.as_markdown(cells).count("\n| ode, tolerance") == 3
