"""Distillation: what every way promises, students on disk and in samplers, and what is refused."""

import copy
import json

import pytest
import torch
from conftest import line_mixture, plane_mixture

import fromnoise as fn
from fromnoise.parameterizations.students.base import Student

COSINE = fn.schedules.Cosine()


def mlp(**options):
    torch.manual_seed(0)
    return fn.nn.MLP(2, width=32, depth=2, **options)


def teacher(schedule=COSINE, kind="v", **options):
    """A small network that was trained a little, so that its outputs are no zeros."""
    made = fn.Denoiser(mlp(**options), schedule, kind, shape=(2,))
    with torch.no_grad():
        for weight in made.network.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return made


def way(name, source=None, **options):
    """The distillation of that name, of a teacher where it needs one."""
    cls = fn.distill.get(name)
    if not cls.needs_teacher and source is None:
        return fn.distill.build({"name": name, **options})
    return fn.distill.build({"name": name, **options}, teacher=source or teacher(classes=2, null_label=True))


every = pytest.mark.parametrize("name", fn.distill.names())
LABELS = torch.tensor([0, 1, 0, 1, 0])


def losses(made, student, step=1, t=None, x0=None):
    generator = torch.Generator().manual_seed(3)
    x0 = torch.randn(5, 2, generator=generator) if x0 is None else x0
    eps = torch.randn(5, 2, generator=generator)
    u = torch.rand(5, made.uniforms, generator=generator, dtype=torch.float64)
    t = made.times.draw(torch.linspace(0.05, 0.95, 5, dtype=torch.float64), student.schedule)[0] if t is None else t
    cond = {"label": LABELS} if student.classes else None
    return made(student, x0, t, eps, cond, step=step, u=u)["loss"]


@every
@pytest.mark.parametrize("schedule", ["linear", "cosine", "edm", "rectified", "ve"])
def test_losses_are_per_example_finite_and_of_the_student_alone(name, schedule):
    """On every kind of schedule; the teacher has no gradients, and is in the mode that it was in."""
    of = teacher(fn.schedules.build(schedule), "v", classes=2, null_label=True)
    of.train()
    made = way(name, of)
    student = made.student_of(of)
    made.check(student)
    whole = losses(made, student)
    assert whole.shape == (5,)
    assert whole.isfinite().all()
    whole.mean().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in student.network.parameters())
    assert all(p.grad is None for p in of.network.parameters())
    assert of.training


@every
def test_a_student_starts_as_its_teacher(name):
    of = teacher(classes=2, null_label=True)
    student = way(name, of).student_of(fn.guidance.steer(of, 2.0))
    x, t, cond = torch.randn(3, 2), COSINE.level(600), {"label": torch.tensor([0, 1, 2])}
    own, given = student(x, t, cond).x0, of(x, t, cond).x0
    # mean flow's network is made smooth in the time: its layers of the time are trained to say the same
    assert (own - given).norm() < (0.05 if name == "mean-flow" else 1e-6) * given.norm()
    assert student.network is not of.network
    assert (student.schedule, student.parameterization, student.shape) == (of.schedule, of.parameterization, of.shape)


@every
def test_a_student_is_saved_loaded_and_sampled_by_its_own_sampler(name, tmp_path):
    student = way(name).student_of(teacher(classes=2, null_label=True))
    fn.save(student, tmp_path / "model")
    again = fn.load(tmp_path / "model")
    assert again.student == student.student
    kind = student.student
    chosen = fn.samplers.build(kind.sampler) if kind else fn.samplers.UniPC()
    steps = None if kind is None or kind.is_denoiser else kind.calls
    own = fn.sample(student, 3, seed=1)
    torch.testing.assert_close(own, fn.sample(again, 3, seed=1))
    if steps is not None:
        torch.testing.assert_close(own, fn.sample(again, 3, chosen, steps, seed=1))
    elif kind is not None and kind.sampler == "mean-flow":
        torch.testing.assert_close(own, fn.sample(again, 3, "mean-flow", 1, seed=1))


@every
def test_training_goes_on_exactly(name, tmp_path):
    """Six steps at once are three and three, with the further numbers and the step that a loss depends on."""
    of = teacher(classes=2, null_label=True)
    data = (torch.randn(40, 2), torch.arange(40) % 2)
    options = {"double_every": 2} if name in ("consistency-training", "easy-consistency") else {}
    if name == "reflow":
        data = fn.data.reflow_pairs(of, 40, steps=3, cond={"label": torch.arange(40) % 2})

    def run(out, *parts):
        for steps in parts:
            made = way(name, of, **options)
            student = made.student_of(of)
            coupling = "given" if name == "reflow" else "independent"
            fn.fit(student, data, objective=made, steps=steps, batch_size=8, out=out, resume=True, progress=False,
                   coupling=coupling)  # fmt: skip
        return student.network.state_dict(), [json.loads(line)["loss"] for line in (out / "metrics.jsonl").open()]

    one, two = run(tmp_path / "a", 6), run(tmp_path / "b", 3, 6)
    assert one[1] == two[1]
    assert all(torch.equal(one[0][k], two[0][k]) for k in one[0])


def energy(a, b):
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


@pytest.mark.parametrize("name", ["progressive", "consistency-distillation", "mean-flow"])
def test_one_call_learns_a_mixture_from_its_exact_denoiser(name):
    """The exact denoiser of three blobs is the teacher, a small network the student: most of the distance is gone."""
    truth = plane_mixture()
    exact, data = truth.denoiser(COSINE), truth.sample(2000, torch.Generator().manual_seed(0)).float()
    options = {"progressive": {"steps": 1, "of": 2}, "consistency-distillation": {"n": 6}, "mean-flow": {"power": 0.0}}
    made = way(name, exact, **options[name])
    torch.manual_seed(0)
    more = {"numbers": ("span",), "time_scale": 0.01} if name == "mean-flow" else {}
    student = fn.Denoiser(fn.nn.MLP(2, width=96, depth=2, **more), COSINE, "v", shape=(2,))
    own = truth.sample(1500, torch.Generator().manual_seed(1)).float()
    start = energy(fn.sample(student, 1500, "ddim", 1, batch_size=1500), own)
    fn.fit(student, data, objective=made, steps=150, batch_size=128, lr=3e-3, ema=0.97, progress=False)
    end = energy(fn.sample(student, 1500, steps=1, batch_size=1500), own)
    # what a perfect student of this teacher has: DDIM's own two steps are coarse
    best = energy(fn.sample(exact, 1500, "ddim", 2, batch_size=1500).float(), own) if name == "progressive" else 0.0
    assert end < best + 0.35 * start, (start, end, best)


def test_a_ladder_of_exact_halvings():
    """A student's file knows which levels it walks, and its own student halves them."""
    of = line_mixture().denoiser(COSINE)
    first = fn.distill.Progressive(of, 4, of=8)
    assert first.student == fn.students.build({"name": "progressive", "steps": 4, "of": 8})
    walked = copy.copy(of)
    walked.student = first.student
    second = fn.distill.Progressive(walked, 2)
    assert second.student == fn.students.build({"name": "progressive", "steps": 2, "of": 8})
    times = [
        [level.time.item() for level in s.student.chain(COSINE, s.student.steps, "uniform")] for s in (first, second)
    ]
    assert times[0][::2] == times[1]
    with pytest.raises(fn.FromNoiseError, match="it takes 4 steps, so its student takes 2, not 1"):
        fn.distill.Progressive(walked, 1)


def test_a_guided_student_takes_its_scale(tmp_path):
    of = teacher(classes=2, null_label=True)
    student = fn.distill.Guidance(of, 1.0, 3.0).student_of(of)
    with torch.no_grad():
        student.network.numbers["guidance"].weight.add_(0.1)
    x, t, cond = torch.randn(2, 2), COSINE.level(500), {"label": torch.tensor([0, 1])}
    told = fn.guidance.steer(student, 2.5)
    torch.testing.assert_close(told(x, t, cond).x0, student(x, t, cond | {"guidance": torch.full((2,), 2.5)}).x0)
    one, other = (fn.sample(fn.guidance.steer(student, g), 2, steps=3) for g in (1.5, 3.0))
    assert not torch.equal(one, other)
    torch.testing.assert_close(fn.sample(student, 2, steps=3), fn.sample(student, 2, steps=3, cond={"guidance": 1.0}))
    with pytest.raises(fn.FromNoiseError, match="guidance 5: this model was distilled for scales from 1 to 3"):
        fn.guidance.steer(student, 5.0)
    with pytest.raises(fn.FromNoiseError, match="guidance interval: this model was distilled with its scale"):
        fn.guidance.steer(student, 2.0, interval=(0.1, 1.0))


def test_levels_of_consistency_models():
    """r^(1/7) even from 80, without the lowest in a walk; of a model that knows n levels some of those; T is brought down."""
    r = lambda chain: (chain.levels.sigma / chain.levels.alpha)[:-1].tolist()  # noqa: E731
    schedule, kind = fn.schedules.EDM(), fn.students.build("consistency")
    middle = ((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    assert r(kind.chain(schedule, 1)) == pytest.approx([80.0])
    assert r(kind.chain(schedule, 2)) == pytest.approx([80.0, middle])
    assert r(kind.grid(schedule, 3)) == pytest.approx([80.0, middle, 0.002])
    known = fn.students.build({"name": "consistency", "n": 5})
    grid = r(known.grid(schedule, 5))
    for steps, kept in ((1, [0]), (2, [0, 2]), (3, [0, 1, 3]), (5, [0, 1, 2, 3, 4])):
        assert r(known.chain(schedule, steps)) == pytest.approx([grid[i] for i in kept])
    straight = fn.schedules.Rectified()
    t = straight.level(torch.tensor([1000.0, 500.0]))
    bounded = kind.bounded(t, straight)
    assert (bounded.sigma / bounded.alpha).tolist() == pytest.approx([80.0, 1.0])
    assert kind.bounded(t[1:], straight).time.tolist() == [500.0]


def test_every_level_of_a_grid_is_drawn_as_often():
    made = way("consistency-distillation", teacher(), n=5)
    drawn, weight = made.times.draw((torch.arange(50, dtype=torch.float64) + 0.5) / 50, COSINE)
    grid = made.grid(COSINE).levels.log_snr[:-1]
    assert [(drawn.log_snr == level).sum().item() for level in grid] == [10] * 5
    assert weight.tolist() == [1.0] * 50


def test_weights_and_distances_are_the_papers():
    """1 / (r_t - r_s), max(SNR, 1), c = 0.00054 sqrt(D), mean flow's 1 / (|e|^2 + 1e-3)^power, and reflow's plain loss."""
    of = teacher(classes=2, null_label=True)
    t = COSINE.at(torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64))
    for made in (way("easy-consistency", double_every=1), way("consistency-training", first=8)):
        one, other, weight = made.pair(of, t, 5)
        torch.testing.assert_close(weight, 1 / (one.sigma / one.alpha - other.sigma / other.alpha))
    one, _, weight = way("consistency-distillation", of).pair(of, t, 1)
    torch.testing.assert_close(weight, (one.alpha / one.sigma).square().clamp_min(1))
    smooth, square = (way("easy-consistency", of, huber=h).student_of(of) for h in (0.5, 0.0))
    e = (2 * losses(way("easy-consistency", of, huber=0.0), square)).sqrt()  # |e| sqrt(w), D = 2
    given = losses(way("easy-consistency", of, huber=0.5), smooth)
    made, c = way("easy-consistency", of), 0.5 * 2**0.5
    w = made.pair(
        of,
        made.student.bounded(made.times.draw(torch.linspace(0.05, 0.95, 5, dtype=torch.float64), COSINE)[0], COSINE),
        1,
    )[2]
    torch.testing.assert_close(given, (w * (torch.sqrt(e**2 / w + c**2) - c)).float(), rtol=1e-4, atol=1e-5)
    plain, bent = way("mean-flow", of, power=0.0), way("mean-flow", of, power=0.5)
    student = bent.student_of(of)
    a, b = losses(plain, student), losses(bent, student)
    torch.testing.assert_close(b, 2 * a / torch.sqrt(2 * a + 1e-3))
    x0, eps, cond = torch.randn(5, 2), torch.randn(5, 2), {"label": LABELS}
    t = COSINE.level(torch.full((5,), 400.0))
    torch.testing.assert_close(
        way("reflow", of)(of, x0, t, eps, cond)["loss"], fn.objectives.Simple()(of, x0, t, eps, cond)["loss"]
    )


def test_the_share_of_spans_and_their_own_random_numbers():
    """Of numbers above the share s = t, where the target is the velocity; and they are not those of the levels."""
    seen = []

    class Spy(fn.Denoiser):
        def forward(self, x_t, t, cond=None):
            seen.append(cond["span"].detach().clone())
            return super().forward(x_t, t, cond)

    student = Spy(mlp(numbers=("span",), time_scale=0.01), COSINE, "v", shape=(2,))
    t = COSINE.level(torch.full((2,), 500.0))
    u = torch.tensor([[0.25, 0.1], [0.25, 0.9]])
    fn.distill.MeanFlow(share=0.5)(student, torch.randn(2, 2), t, torch.randn(2, 2), u=u)
    tau = (t.sigma / (t.alpha + t.sigma))[0].item()
    assert seen[-1].tolist() == pytest.approx([0.75 * tau, 0.0])
    task = fn.train.Diffusion(student, fn.distill.MeanFlow())
    drawn = task.draw((2,), {}, range(6), 3, 6)
    assert drawn["moment"][:, 0].tolist() == [3.0] * 6
    assert drawn["moment"].shape == (6, 3)
    assert not any(torch.equal(drawn["moment"][:, i], drawn["u"]) for i in (1, 2))


def consistency(**options) -> "fn.Denoiser":
    made = teacher()
    made.student = fn.students.build({"name": "consistency", **options})
    return made


def test_scales_are_drawn_between_the_lowest_and_the_highest():
    seen = []

    class Spy(fn.Denoiser):
        def forward(self, x_t, t, cond=None):
            seen.append(cond["guidance"].tolist())
            return super().forward(x_t, t, cond)

    student = Spy(mlp(numbers=("guidance",), classes=2, null_label=True), COSINE, "v", shape=(2,))
    made = fn.distill.Guidance(teacher(classes=2, null_label=True), 2.0, 3.0)
    cond, t = {"label": torch.tensor([0, 1, 0])}, COSINE.level(torch.full((3,), 500.0))
    made(student, torch.randn(3, 2), t, torch.randn(3, 2), cond, u=torch.tensor([[0.0], [0.5], [1.0]]))
    assert seen == [[2.0, 2.5, 3.0]]


def test_what_a_student_is_not_asked_for():
    x0 = torch.zeros(2, 2)
    for call, message in [
        (
            lambda: fn.sample(consistency(), 2, "unipc", 5),
            "sampler unipc: this is a consistency model, whose output is the",
        ),
        (lambda: fn.sample(consistency(n=4), 2, steps=5), "distilled on 4 levels, and takes at most that many"),
        (lambda: fn.likelihood.vlb(consistency(), x0), "the bound: this is a consistency model.*use the teacher"),
        (lambda: fn.likelihood.ode(consistency(), x0), "the likelihood: this is a consistency model"),
        (lambda: fn.editing.encode(consistency(), x0), "the probability-flow ODE: this is a consistency model"),
        (lambda: fn.editing.image_to_image(consistency(), x0, 0.5), "editing an image: this is a consistency model"),
        (lambda: fn.guidance.steer(consistency(), 2.0), "guidance 2: this is a consistency model"),
        (lambda: fn.sample(teacher(), 2, "consistency"), "sampler consistency needs a consistency model"),
        (lambda: fn.sample(teacher(), 2, "mean-flow"), "sampler mean-flow needs a mean-flow model"),
    ]:
        with pytest.raises(fn.FromNoiseError, match=message):
            call()
    walked = teacher()
    walked.student = fn.students.build({"name": "progressive", "steps": 4, "of": 8})
    for options, message in [
        ({"steps": 8}, "steps 8: this model was distilled for 4, and takes no other number"),
        ({"steps": 2}, "steps 2: this model was distilled for 4"),
        ({"sampler": fn.samplers.DDIM(0.5)}, "sampler.eta 0.5: this distilled model's steps have no noise"),
        ({"sampler": "heun", "steps": 4}, "sampler heun: .*use sampler ddim"),
    ]:
        with pytest.raises(fn.FromNoiseError, match=message):
            fn.sample(walked, 2, **options)
    assert fn.sample(walked, 2, "ddim", 4).shape == (2, 2)


def test_teachers_and_students_that_do_not_fit():
    plain = teacher()
    for student, made, message in [
        (fn.Denoiser(fn.nn.MLP(3, width=8, depth=1), COSINE, "v", shape=(3,)), way("progressive", plain),
         "teacher: its examples of shape: 2, and the student's: 3"),
        (teacher(fn.schedules.Linear()), way("progressive", plain), "teacher: its schedule: .*'cosine'.*linear"),
        (teacher(classes=2), way("consistency-distillation", plain), "teacher: its number of classes: 0, and .* 2"),
        (teacher(kind="x0"), way("easy-consistency", plain), "parameterization x0: at the clean level x_0 depends on the network"),
        (teacher(numbers=("span",)), fn.distill.MeanFlow(), "turn its sinusoids by 1000 radians: make it with time_scale=0.01"),
        (teacher(), fn.distill.MeanFlow(), r"mean-flow: the network must take span, a number \[B\]: make it with numbers"),
    ]:  # fmt: skip
        with pytest.raises(fn.FromNoiseError, match=message):
            made.check(student)
    for made, message in [
        (lambda: fn.distill.Guidance(plain), "guidance needs a model that was trained with its conditions dropped"),
        (lambda: fn.distill.Guidance(teacher(classes=2, null_label=True), 3.0, 1.0), "low must not exceed high"),
        (lambda: fn.distill.Progressive(consistency(), 2), "teacher: this is a consistency model.* cannot be halved"),
        (lambda: fn.distill.Progressive(plain, 3, of=8).student, "steps 3 must be 8 halved again and again"),
        (lambda: fn.distill.Progressive(plain, 0).student, "steps 0 must be"),
        (lambda: fn.distill.ConsistencyDistillation(plain, 1), "n must be at least 2"),
        (lambda: fn.distill.ConsistencyTraining(first=20, last=10), "2 <= first <= last"),
        (lambda: fn.distill.EasyConsistency(q=1.0), "q > 1"),
        (lambda: fn.distill.MeanFlow(share=1.5), r"share must lie in \[0, 1\]"),
        (lambda: fn.students.build({"name": "consistency", "top": 0.001}), "0 < bottom < top"),
    ]:
        with pytest.raises(fn.FromNoiseError, match=message):
            made()
    short = [teacher(fn.schedules.Cosine(T=6)) for _ in range(2)]
    with pytest.raises(fn.FromNoiseError, match="between 1 and 6, the length of the model's chain"):
        fn.fit(short[0], torch.randn(8, 2), objective=fn.distill.Progressive(short[1], 4), steps=1, progress=False)


def test_a_network_of_ones_own_takes_the_numbers_by_its_arguments():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def forward(self, x, time, span=None):
            span = torch.zeros_like(time) if span is None else span
            return self.layer(torch.cat([x, time[:, None] / 1000, span[:, None]], 1))

    student = fn.Denoiser(Own(), "rectified", "flow", shape=(2,))
    fn.fit(student, torch.randn(20, 2), objective=fn.distill.MeanFlow(), steps=2, batch_size=4, progress=False)
    assert fn.sample(student, 3).shape == (3, 2)
    with pytest.raises(fn.FromNoiseError, match="takes no guidance: make a student of your own"):
        fn.distill.Guidance(teacher(classes=2, null_label=True)).student_of(student)


def test_students_of_ones_own_need_no_file():
    class Mine(Student):
        sampler = "ddim"

    made = teacher()
    made.student = Mine()
    assert fn.sample(made, 2, steps=1).shape == (2, 2)
    with pytest.raises(fn.FromNoiseError, match="not E.x_0"):
        fn.sample(made, 2, "unipc")


def test_a_student_network_of_two_numbers():
    """Each is used, and a fresh one changes nothing."""
    plain, both = (
        fn.nn.UNet(1, channels=8, groups=4, mult=(1,), attention=(), blocks=1, numbers=n)
        for n in ((), ("span", "guidance"))
    )
    with torch.no_grad():
        for weight in plain.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    both.load_state_dict(both.state_dict() | plain.state_dict())
    x, t, one = torch.randn(2, 1, 4, 4), torch.tensor([10.0, 500.0]), torch.ones(2)
    assert torch.equal(plain(x, t), both(x, t))
    assert torch.equal(plain(x, t), both(x, t, span=one, guidance=2 * one))
    for name in ("span", "guidance"):
        torch.nn.init.normal_(both.numbers[name].weight, generator=torch.Generator().manual_seed(0))
    given = both(x, t, span=one, guidance=2 * one)
    assert not torch.allclose(given, both(x, t, span=2 * one, guidance=2 * one))
    assert not torch.allclose(given, both(x, t, span=one, guidance=one))
    with pytest.raises(fn.FromNoiseError, match="this network takes no span: leave it out, or make it with numbers"):
        plain(x, t, span=one)
    with pytest.raises(fn.FromNoiseError, match="numbers: unknown speed; choose from guidance, span"):
        fn.nn.MLP(2, numbers=("speed",))


def test_the_command_names_what_is_missing(capsys, tmp_path):
    from fromnoise.app.cli import main

    fn.save(teacher(), tmp_path / "points")
    for words, message in [
        (["train", "progressive", "--out", tmp_path / "a", "--steps", 1], "distillation progressive needs a teacher"),
        (
            ["train", "digits", "--teacher", tmp_path / "points", "--out", tmp_path / "b"],
            "recipe digits is no distillation",
        ),
        (["train", "progressive", "--teacher", tmp_path / "none", "--out", tmp_path / "c"], "none"),
    ]:
        assert main([str(word) for word in words]) != 0
        said = capsys.readouterr().err
        assert message in said
        assert "Traceback" not in said


@pytest.mark.parametrize("form", ["diffusers", "openai", "edm", "dit"])
def test_other_libraries_would_misread_a_student(form, tmp_path):
    from fromnoise.weights import formats
    from fromnoise.weights.formats.base import Card

    network = fn.nn.UNet(3, channels=32, mult=(1, 2), attention=(2,), blocks=1)
    student = fn.Denoiser(network, "linear", shape=(3, 8, 8))
    student.student = fn.students.build("consistency")
    with pytest.raises(fn.FromNoiseError, match="cannot hold a distilled model.*its teacher can be written"):
        formats.build(form).write(student, tmp_path / "out", Card())
    assert not (tmp_path / "out").exists()
