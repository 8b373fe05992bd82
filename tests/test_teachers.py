"""Which teachers and options a distillation refuses, and that a student means the same wherever it is asked."""

import pytest
import torch
from PIL import Image
from test_distill import COSINE, consistency, losses, teacher, way

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.app.runs.plan import student_sampling
from fromnoise.recipes.distillation import for_teacher, rungs


def student_of(name, **options):
    """A model of that meaning with classes."""
    made = teacher(classes=2, null_label=True, numbers=("guidance",) if name == "guided" else ())
    made.student = fn.students.build({"name": name, **options})
    return made


@pytest.mark.parametrize("name", ["consistency-distillation", "guidance", "mean-flow", "reflow"])
@pytest.mark.parametrize("kind", [{"name": "consistency"}, {"name": "progressive", "steps": 4, "of": 8}])
def test_a_teacher_that_is_asked_for_x0_gives_it(name, kind):
    with pytest.raises(fn.FromNoiseError, match="teacher: .*E.x_0.*: take its own teacher"):
        way(name, student_of(**kind))


@pytest.mark.parametrize("name", ["consistency-training", "easy-consistency"])
def test_a_teacher_that_is_only_the_start_may_be_any(name):
    assert way(name, student_of("consistency")).teacher is not None


@pytest.mark.parametrize("name", fn.distill.names())
@pytest.mark.parametrize("wrong", ["runs/digits", torch.nn.Linear(2, 2), fn.Denoiser])
def test_a_teacher_is_a_denoiser(name, wrong):
    with pytest.raises(fn.FromNoiseError, match="teacher (must be a Denoiser, got|is the class Denoiser)"):
        fn.distill.get(name)(wrong)
    if fn.distill.get(name).needs_teacher:
        with pytest.raises(fn.FromNoiseError, match=r"teacher must be a Denoiser, got NoneType: fn.load\(folder\)"):
            fn.distill.get(name)(None)


def test_guidance_is_not_learned_of_a_guided_teacher():
    plain = teacher(classes=2, null_label=True)
    for guided in (fn.guidance.steer(plain, 2.0), fn.guidance.steer(plain, 2.0, clip=True)):
        with pytest.raises(fn.FromNoiseError, match="teacher: it is guided already"):
            fn.distill.Guidance(guided)
    fn.distill.Guidance(fn.guidance.steer(plain, clip=True))
    fn.distill.Guidance(fn.guidance.WithVariance(plain, fn.variances.FixedSmall()))


def test_a_guided_student_is_told_a_scale_wherever_it_is_asked(tmp_path):
    """In likelihoods, edits and as a teacher too: the scale that it knows nearest to none."""
    student = student_of("guided", low=1.5)
    with torch.no_grad():
        student.network.numbers["guidance"].weight.add_(0.1)
    x, t, cond = torch.randn(2, 2), COSINE.level(500), {"label": torch.tensor([0, 1])}
    told = student(x, t, cond | {"guidance": torch.full((2,), 1.5)}).x0
    assert torch.equal(student(x, t, cond).x0, told)
    assert not torch.equal(student(x, t, cond | {"guidance": torch.full((2,), 2.0)}).x0, told)
    pairs = fn.data.reflow_pairs(student, 4, steps=2)
    made = fn.distill.Reflow(student)
    fn.fit(made.student_of(student), pairs, objective=made, coupling="given", steps=1, batch_size=4, progress=False)


def test_what_is_trained_as_a_denoiser_is_one():
    student = consistency()
    fn.fit(student, torch.randn(8, 2), steps=1, batch_size=4, progress=False)
    assert student.student is None


def test_paths_of_what_is_no_denoiser_are_not_measured():
    with pytest.raises(fn.FromNoiseError, match="the straightness of paths: this is a consistency model"):
        fn.paths.measure(consistency(), 4, steps=3)


def test_spacings_of_students():
    """A name and its object are one; what would be left aside is refused."""
    karras = fn.spacings.Karras()
    for options in ({}, {"n": 4}):
        kind = fn.students.build({"name": "consistency", **options})
        one, other = (kind.chain(COSINE, 2, spacing).levels.log_snr for spacing in ("karras", karras))
        assert torch.equal(one, other)
    walked = fn.students.build({"name": "progressive", "steps": 2, "of": 8, "spacing": "log-snr"})
    one, other = (walked.chain(COSINE, 2, spacing).levels.log_snr for spacing in ("uniform", "log-snr"))
    assert torch.equal(one, other)
    with pytest.raises(fn.FromNoiseError, match="spacing karras: this model uses .*with spacing log-snr: leave it"):
        walked.chain(COSINE, 2, "karras")
    with pytest.raises(fn.FromNoiseError, match="unknown spacing 'karas'"):
        walked.chain(COSINE, 2, "karas")


def test_pairs_close_up_no_further_than_float32_tells():
    made = way("easy-consistency", teacher(classes=2, null_label=True), q=256.0, double_every=1)
    t = COSINE.at(torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64))
    for step in (1, 3, 100, 10**9):
        one, other, weight = made.pair(made.teacher, t, step)
        assert (one.sigma.float() > other.sigma.float()).all()
        assert weight.isfinite().all()
    huge = way("easy-consistency", teacher(), q=1e300, double_every=1)
    assert losses(huge, huge.student_of(huge.teacher), step=50).isfinite().all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("consistency-distillation", {"huber": -1.0}, "huber must be at least 0, got -1"),
        ("consistency-distillation", {"n": 10**9}, "n must be at most 10,000"),
        ("easy-consistency", {"top": 0.001}, "0 < bottom < top is needed"),
        ("consistency-training", {"last": 10**9}, "2 <= first <= last <= 10,000"),
    ],
)
def test_options_that_could_only_fail_later(name, options, message):
    with pytest.raises(fn.FromNoiseError, match=message):
        way(name, **options)


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (fn.distill.EasyConsistency, {"q": "a"}, "q must be a finite number, got"),
        (fn.distill.EasyConsistency, {"k": float("nan")}, "k must be a finite number, got nan"),
        (fn.distill.MeanFlow, {"power": float("inf")}, "power must be a finite number, got inf"),
        (fn.distill.ConsistencyTraining, {"first": 2.5}, "first must be a whole number, got 2.5"),
        (fn.distill.Progressive, {"steps": "4"}, "steps must be a whole number, got '4'"),
    ],
)
def test_options_in_python_are_numbers(cls, options, message):
    with pytest.raises(fn.FromNoiseError, match=message):
        cls(teacher(), **options)


def test_a_teacher_in_half_precision_has_a_student_that_can_be_trained():
    source = teacher()
    source.network.bfloat16()
    made = fn.distill.EasyConsistency(source)
    student = made.student_of(source)
    fn.fit(student, torch.randn(8, 2), objective=made, steps=1, batch_size=4, progress=False)
    assert {weight.dtype for weight in student.network.parameters()} == {torch.float32}
    assert {weight.dtype for weight in source.network.parameters()} == {torch.bfloat16}


def test_a_distillation_is_no_name_of_an_objective():
    with pytest.raises(fn.FromNoiseError, match=r"objective easy-consistency: .*fn.distill.EasyConsistency\(teacher\)"):
        fn.fit(teacher(), torch.randn(8, 2), objective="easy-consistency", steps=1, progress=False)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ({"steps": -1}, "steps -1 must be"),
        ({"steps": 0}, "steps 0 must be"),
        ({"of": 12}, "steps 1 must be 12 halved again and again"),
        ({"of": 2**17}, "steps must lie between 1 and 1000"),
        ({"steps": "few"}, "steps: input should be a valid integer"),
        ({"of": "many"}, "of: input should be a valid integer"),
        ({"spacing": "evenly"}, "unknown spacing 'evenly'"),
        ({"teacher": "runs/digits"}, "distill.way: no file holds a teacher: .*name its run"),
    ],
)
def test_a_ladder_that_ends_nowhere_is_not_begun(way, message, tmp_path):
    recipe = fn.recipes.load("progressive")
    with pytest.raises(fn.FromNoiseError, match=message):
        rungs(recipe.with_changes({f"distill.way.{key}": value for key, value in way.items()}))


def test_the_rungs_of_a_ladder():
    recipe = fn.recipes.load("progressive")
    assert list(rungs(recipe)) == [16, 8, 4, 2]
    assert list(rungs(recipe.with_changes({"distill.way.steps": 4}))) == [16, 8]
    assert list(rungs(recipe.with_changes({"distill.way": {"name": "progressive"}}))) == []


def test_teachers_that_cannot_be_guided_are_not(tmp_path):
    recipe = fn.recipes.load("mean-flow")
    for options, scale in [({}, 1.0), ({"classes": 2}, 1.0), ({"classes": 2, "null_label": True}, 2.0)]:
        network = fn.nn.UNet(1, channels=8, groups=4, mult=(1,), attention=(), blocks=1, **options)
        made = for_teacher(recipe, fn.Denoiser(network, COSINE, "v", shape=(1, 8, 8)), None, tmp_path)
        assert made.distill.guidance == scale


def test_a_ladder_goes_on_where_its_teacher_ended(tmp_path):
    network = fn.nn.UNet(1, channels=8, groups=4, mult=(1,), attention=(), blocks=1)
    last = fn.Denoiser(network, COSINE, "v", shape=(1, 8, 8))
    last.student = fn.students.build({"name": "progressive", "steps": 4, "of": 32})
    made = for_teacher(fn.recipes.load("progressive"), last, None, tmp_path)
    assert list(rungs(made)) == [2]
    assert rungs(made)[2].distilling(last).student == fn.students.build({"name": "progressive", "steps": 2, "of": 32})


def test_a_student_walks_as_its_recipe_says_where_it_can():
    usual = fn.recipes.load("easy-consistency").sample
    for kind, steps in [
        ({"name": "consistency"}, 2),
        ({"name": "consistency", "n": 1}, 1),
        ({"name": "progressive", "steps": 4, "of": 8}, 4),
    ]:
        assert student_sampling(fn.students.build(kind), usual).steps == steps


def test_pairs_whose_description_is_damaged_are_made_again(tmp_path, capsys):
    source = teacher()
    made = fn.data.reflow_pairs(source, 3, steps=2, folder=tmp_path / "pairs")
    (tmp_path / "pairs" / "pairs.json").write_text("{")
    again = fn.data.reflow_pairs(source, 3, steps=2, folder=tmp_path / "pairs")
    assert "pairs.json: not readable as JSON" in capsys.readouterr().err
    assert torch.equal(made.examples([2])[0], again.examples([2])[0])


def ladder(out, source, *more):
    words = ["train", "progressive", "--teacher", source, "--out", out, *more, "--set", "train.batch_size=2",
             "train.checkpoint_every=2", "train.sample_every=0", "data.workers=0", "distill.way.of=4"]  # fmt: skip
    return main([str(word) for word in words])


def test_a_ladder_is_trained_longer_and_its_teacher_found_damaged(tmp_path, capsys):
    """Only its last student is: the others are what theirs learned from. A copy that is cut says how to go on."""
    network = fn.nn.UNet(1, channels=8, groups=4, mult=(1,), attention=(), blocks=1)
    fn.save(fn.Denoiser(network, COSINE, "v", shape=(1, 8, 8)), tmp_path / "teacher")
    (tmp_path / "images").mkdir()
    for shade in range(4):
        Image.new("L", (8, 8), 60 * shade).save(tmp_path / "images" / f"{shade}.png")
    images = ("--data", tmp_path / "images", "--steps")
    assert ladder(tmp_path / "run", tmp_path / "teacher", *images, 2) == 0
    assert ladder(tmp_path / "run", tmp_path / "teacher", *images, 4, "--resume") == 0
    lines = [(tmp_path / "run" / part / "metrics.jsonl").read_text().splitlines() for part in (".", "steps-2")]
    assert [len(of) for of in lines] == [4, 2]
    weights = tmp_path / "run" / "teacher" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    capsys.readouterr()
    assert ladder(tmp_path / "run", tmp_path / "teacher", *images, 4, "--resume") == 2
    assert "teacher, and name the teacher again" in capsys.readouterr().err
