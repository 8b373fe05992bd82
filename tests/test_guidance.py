"""Guidance: what each option does, on exact models, and what is refused."""

import pytest
import torch
from conftest import Counting, line_mixture

import fromnoise as fn
from fromnoise.guidance import Auto, Classifier, ClassifierFree, NoisyClassifier, Steering, steer

SCHEDULE = fn.schedules.Cosine(T=1000)
CLASSES = [(0, 1), (2,)]
X = torch.linspace(-2, 2, 7, dtype=torch.float64)[:, None]
LABEL = {"label": torch.zeros(7, dtype=torch.int64)}
NONE = {"label": torch.tensor(-1)}


def conditional():
    return line_mixture().conditional_denoiser(SCHEDULE, CLASSES)


def test_one_call_of_both_branches_and_of_one_where_one_is_enough():
    inner = Counting(conditional())
    t = SCHEDULE.level(500)
    for scale, size in ((3.0, 14), (1.0, 7), (0.0, 7)):
        inner.sizes.clear()
        got = ClassifierFree(inner, NONE, scale)(X, t, LABEL)
        assert inner.sizes == [size]
        plain, wanted = line_mixture().score(X, t), line_mixture().given((0, 1)).score(X, t)
        torch.testing.assert_close(got.score, plain + scale * (wanted - plain))


def test_an_interval_guides_inside_it_alone():
    given = conditional()
    low, high = 0.3, 2.0
    guided, inside = ClassifierFree(given, NONE, 4.0, interval=(low, high)), ClassifierFree(given, NONE, 4.0)
    for log_snr in (4.0, 0.0, -4.0):
        t = SCHEDULE.at(log_snr)
        ratio = (t.sigma / t.alpha).item()
        expected = inside if low < ratio <= high else given
        assert torch.equal(guided(X, t, LABEL).x0, expected(X, t, LABEL).x0)
    t = SCHEDULE.at(torch.tensor([4.0, 0.0, -4.0, 0.0, 4.0, -4.0, 0.0]))  # a level of its own for every sample
    rows = torch.tensor([False, True, False, True, False, False, True])[:, None]
    expected = torch.where(rows, inside(X, t, LABEL).x0, given(X, t, LABEL).x0)
    torch.testing.assert_close(guided(X, t, LABEL).x0, expected)


class Flat(torch.nn.Module):
    """x_0 = a picture for each label: what is predicted is known."""

    classes, null_label = 1, 1

    def __init__(self, pictures):
        super().__init__()
        self.pictures = pictures

    def forward(self, x, time, label):
        return self.pictures[label]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_rescaling_gives_the_deviation_back(share):
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 3, 4, 4, generator=generator)
    model = fn.Denoiser(Flat(pictures), SCHEDULE, "x0", shape=(3, 4, 4))
    x, t = torch.zeros(1, 3, 4, 4), SCHEDULE.level(500)
    label = {"label": torch.zeros(1, dtype=torch.int64)}
    guided = pictures[1] + 3 * (pictures[0] - pictures[1])
    whole = guided * pictures[0].std() / guided.std()
    got = steer(model, 3.0, rescale=share)(x, t, label).x0[0]
    torch.testing.assert_close(got, share * whole + (1 - share) * guided)
    if share == 1:
        torch.testing.assert_close(got.std(), pictures[0].std())


def test_only_the_first_channels():
    pictures = torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    model = fn.Denoiser(Flat(pictures), SCHEDULE, "x0", shape=(4, 2, 2))
    got = steer(model, 1.5, channels=3)(
        torch.zeros(1, 4, 2, 2), SCHEDULE.level(9), {"label": torch.zeros(1, dtype=torch.int64)}
    )
    torch.testing.assert_close(got.x0[0, :3], (pictures[1] + 1.5 * (pictures[0] - pictures[1]))[:3])
    assert torch.equal(got.x0[0, 3], pictures[0, 3])


def test_autoguidance_goes_on_from_the_weaker_to_the_better():
    """On exact models: the line through two scores; a weaker model that is the model itself changes nothing."""
    better, weaker = (
        line_mixture(),
        fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), 1.5)),
    )
    t = SCHEDULE.level(400)
    got = Auto(better.denoiser(SCHEDULE), weaker.denoiser(SCHEDULE), 2.0)(X, t)
    torch.testing.assert_close(got.score, 2 * better.score(X, t) - weaker.score(X, t))
    same = Auto(better.denoiser(SCHEDULE), better.denoiser(SCHEDULE), 2.0)(X, t)
    torch.testing.assert_close(same.score, better.score(X, t))
    assert isinstance(steer(better.denoiser(SCHEDULE), 2.0, weaker=weaker.denoiser(SCHEDULE)), Auto)
    with pytest.raises(fn.FromNoiseError, match="differ in schedule"):
        Auto(better.denoiser(SCHEDULE), better.denoiser(fn.schedules.Linear()), 2.0)
    wide = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    with pytest.raises(fn.FromNoiseError, match="differ in shape"):
        Auto(better.denoiser(SCHEDULE), wide.denoiser(SCHEDULE), 2.0)


class Placed(torch.nn.Module):
    """x_0 = what it is told."""

    def forward(self, x, time, place):
        return place.expand_as(x)


def test_guidance_moves_every_condition_that_training_hid():
    model = fn.Denoiser(Placed(), SCHEDULE, "x0", shape=(2,))
    with pytest.raises(fn.FromNoiseError, match="trained with some labels or other conditions dropped"):
        steer(model, 3.0)
    model.null = {"place": torch.tensor([1.0, 0.0])}  # what training with condition_dropout leaves
    told = {"place": torch.tensor([[2.0, 5.0]])}
    got = steer(model, 3.0)(torch.zeros(1, 2), SCHEDULE.level(500), told).x0
    torch.testing.assert_close(got, torch.tensor([[1 + 3 * (2 - 1.0), 3 * 5.0]]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale": 2.0, "interval": (2.0, 1.0)}, "interval must be 0 <= low < high, got 2 1"),
        ({"scale": 2.0, "rescale": 1.5}, r"rescale must lie in \[0, 1\], got 1.5"),
    ],
)
def test_wrong_options_are_one_line(options, said):
    with pytest.raises(fn.FromNoiseError, match=said):
        steer(fn.Denoiser(Flat(torch.zeros(2, 1, 2, 2)), SCHEDULE, "x0"), **options)


def noisy(**changes):
    torch.manual_seed(0)
    network = fn.nn.HalfUNet(outputs=2, in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4)
    given = {"schedule": fn.schedules.Linear(), "shape": (1, 8, 8), "class_names": ("a", "b")} | changes
    return NoisyClassifier(network, **given).eval()


def test_a_noisy_classifier_gives_probabilities_and_their_slope():
    classifier = noisy()
    x, t = torch.randn(5, 1, 8, 8), classifier.schedule.level(300)
    log_p = classifier(x, t)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(5))
    label = torch.tensor([0, 1, 1, 0, 1])
    assert torch.equal(classifier.log_prob(x, t, {"label": label}), log_p[range(5), label])
    model = fn.Denoiser(torch.nn.Identity(), fn.schedules.Linear(), "x0", shape=(1, 8, 8))
    model.forward = lambda x, t, cond=None: fn.Prediction(x, t, 0 * x, model.parameterization, model.schedule)
    guide = Classifier(model, classifier.log_prob, 2.0)(x, t, {"label": label}).guide
    for i in range(2):  # by differences, in float64
        wide = classifier.double()
        dx = torch.zeros(5, 1, 8, 8, dtype=torch.float64)
        dx[i, 0, 3, 4] = 1e-4
        up, down = (wide.network((x.double() + s * dx), torch.full((5,), 299.0)).log_softmax(1) for s in (1, -1))
        slope = (up - down)[i, label[i]] / 2e-4
        torch.testing.assert_close(guide[i, 0, 3, 4].double(), 2 * slope, rtol=1e-3, atol=1e-6)
        classifier.float()


def test_a_classifier_must_belong_to_the_model():
    model = fn.Denoiser(torch.nn.Identity(), fn.schedules.Linear(), "x0", shape=(1, 8, 8), class_names=("a", "b"))
    noisy().check(model)
    for changes, said in (
        ({"shape": (1, 4, 4)}, "states of 1x4x4, and the model 1x8x8"),
        ({"schedule": SCHEDULE}, "the levels of"),
        ({"class_names": ("a", "c")}, "the classes"),
    ):
        with pytest.raises(fn.FromNoiseError, match=said):
            Steering(classifier=noisy(**changes)).around(model)
    with pytest.raises(fn.FromNoiseError, match="steers towards a class: name it"):
        noisy().log_prob(torch.zeros(1, 1, 8, 8), model.schedule.level(1), None)


def test_the_classifier_is_outermost_and_off_at_scale_0():
    model = fn.Denoiser(Flat(torch.zeros(2, 1, 8, 8)), fn.schedules.Linear(), "x0", shape=(1, 8, 8))
    both = steer(model, 2.0, True, classifier=noisy(), classifier_scale=1.0)
    assert [type(w).__name__ for w in (both, both.inner, both.inner.inner)] == ["Classifier", "Clip", "ClassifierFree"]
    assert steer(model, classifier=noisy(), classifier_scale=0.0) is model


def test_latents_are_not_clipped():
    codec = fn.compose.PCA(torch.randn(9, 1, 2, 2), 2)
    model = fn.Denoiser(torch.nn.Identity(), SCHEDULE, "x0", shape=(2,), codec=codec)
    with pytest.raises(fn.FromNoiseError, match="latents have no range"):
        steer(model, clip=True)


def test_a_classifier_lends_its_classes_to_a_model_that_knows_none():
    """Bayes' rule on a mixture, with the label for the classifier alone: p(x | y) of each class in turn."""
    truth = line_mixture()

    class Strict(fn.guidance.Wrapper):
        def forward(self, x_t, t, cond=None):
            assert cond is None
            return self.inner(x_t, t)

    def log_prob(x, t, cond):
        both = torch.stack([truth.log_class(x, t, part) for part in CLASSES], 1)
        return both.gather(1, cond["label"][:, None])[:, 0]

    guided = Classifier(Strict(truth.denoiser(SCHEDULE)), log_prob, 1.0, ("low", "high"))
    assert guided.classes == 2
    assert guided.class_names == ("low", "high")
    t, label = SCHEDULE.level(400), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    given = torch.stack([truth.given(part).score(X, t) for part in CLASSES])
    torch.testing.assert_close(guided(X, t, {"label": label}).score, given[label, range(7)])
    x = fn.sample(guided, (400, 1), "ddim", 50)  # every class in turn
    assert x[0::2].mean().item() == pytest.approx(float(truth.given((0, 1)).mean_and_covariance()[0]), abs=0.15)
    assert x[1::2].mean().item() == pytest.approx(1.1, abs=0.05)


def test_a_wrapper_has_the_mode_of_what_it_wraps():
    model = fn.Denoiser(Flat(torch.zeros(2, 1, 2, 2)), SCHEDULE, "x0", shape=(1, 2, 2)).eval()
    fn.sample(steer(model, 2.0), 1, "ddim", steps=2, cond={"label": torch.tensor([0])})
    assert not model.network.training
    model.train()
    fn.sample(steer(model, 2.0), 1, "ddim", steps=2, cond={"label": torch.tensor([0])})
    assert model.network.training


@pytest.mark.parametrize("percentile", [0.0, 80.0, 99.5, 100.0])
def test_dynamic_thresholding_is_that_of_diffusers(percentile):
    """The same x0 as their scheduler's, which is given the same prediction."""
    diffusers = pytest.importorskip("diffusers", reason="the interop extra is not installed")

    x0 = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.2, 1, 2, 5]).view(
        -1, 1, 1, 1
    )
    denoiser = fn.Denoiser(_Constant(x0), fn.schedules.Cosine(), "x0", shape=(3, 8, 8))
    found = fn.guidance.DynamicThreshold(denoiser, percentile)(torch.zeros_like(x0), 500.0)
    theirs = diffusers.DDPMScheduler(
        thresholding=True, dynamic_thresholding_ratio=percentile / 100, sample_max_value=100.0
    )
    torch.testing.assert_close(found.x0, theirs._threshold_sample(x0), atol=1e-6, rtol=1e-5)
    assert found.x0.abs().max() <= 1


class _Constant(torch.nn.Module):
    """x0 whatever it is asked."""

    def __init__(self, x0):
        super().__init__()
        self.x0 = torch.nn.Parameter(x0)

    def forward(self, x, time):
        return self.x0


def test_dynamic_thresholding_stands_in_place_of_clipping():
    denoiser = fn.Denoiser(_Constant(torch.zeros(1, 3, 8, 8)), fn.schedules.Cosine(), shape=(3, 8, 8))
    steered = fn.guidance.steer(denoiser, clip=True, threshold=99.5)
    assert isinstance(steered, fn.guidance.DynamicThreshold)
    assert steered.inner is denoiser
    with pytest.raises(fn.FromNoiseError, match=r"percentile of dynamic thresholding must lie in \[0, 100\], got 101"):
        fn.guidance.steer(denoiser, threshold=101.0)
