"""Guidance, exact for a mixture."""

import torch
from torch import Tensor, nn

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, step
from fromnoise.guidance.classifier import Classifier
from fromnoise.guidance.classifier_free import ClassifierFree
from fromnoise.guidance.dynamic_threshold import DynamicThreshold
from fromnoise.guidance.image_text import contrastive
from fromnoise.nn.text.learned import Learned
from fromnoise.oracle import GaussianMixture
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.parameterizations.x0 import X0
from fromnoise.samplers.ddim import DDIM
from fromnoise.schedules.cosine import Cosine
from fromnoise.variances.fixed_small import FixedSmall
from fromnoise.variances.reverse import reverse
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import GRID, LINEAR, POINTS, integral, line, log_normal

T = LINEAR.level(300)
X = POINTS[:, None]
LABEL = {"label": torch.zeros(5, dtype=torch.int64)}  # class 0: the first two components
NONE = {"label": torch.tensor(-1)}


def _guided(scale: float) -> Classifier:
    truth = line()
    return Classifier(truth.denoiser(LINEAR), lambda x, t, cond: truth.log_class(x, t, (0, 1)), scale)


def _free(scale: float) -> ClassifierFree:
    return ClassifierFree(line().conditional_denoiser(LINEAR, [(0, 1), (2,)]), NONE, scale)


@check("Sedykh eq. 4.21-4.25; math: conditioning")
def classifier_at_scale_1_is_bayes() -> Sides:
    """classifier guidance with scale 1 gives the score, eps and x0 of q(x_t | y), in closed form"""
    given, p = line().given((0, 1)).denoiser(LINEAR)(X, T), _guided(1.0)(X, T)
    return torch.stack([given.score, given.eps, given.x0]), torch.stack([p.score, p.eps, p.x0])


@check("Sedykh eq. 4.25, 4.26-4.30")
def scale_0_and_1() -> Sides:
    """classifier-free guidance: scale 0 is the unconditional score, 1 the conditional one, g the line through both"""
    plain, given = line().score(X, T), line().given((0, 1)).score(X, T)
    theory = torch.stack([plain, given, 3 * given - 2 * plain])
    return theory, torch.stack([_free(g)(X, T, LABEL).score for g in (0.0, 1.0, 3.0)])


@check("Sedykh eq. 4.25, 4.26-4.30; Sedykh eq. 4.21-4.24")
def both_guidances_are_one() -> Sides:
    """with exact models classifier and classifier-free guidance give the same score at every scale"""
    scales = (0.5, 1.0, 2.0, 7.5)
    return torch.stack([_guided(g)(X, T).score for g in scales]), torch.stack(
        [_free(g)(X, T, LABEL).score for g in scales]
    )


@check("Sedykh Algorithm 4")
def algorithm_4_shifts_by_the_logarithm() -> Sides:
    """epshat = eps - scale sqrt(1 - abar_t) grad log p(y | x_t): the text lacks the logarithm and the scale"""
    truth, scale = line(), 2.0
    eps = truth.denoiser(LINEAR)(X, T).eps
    slope = truth.given((0, 1)).score(X, T) - truth.score(X, T)
    p_y = torch.exp(truth.log_class(X, T, (0, 1)))[:, None]
    return eps - scale * T.sigma * slope, _guided(scale)(X, T).eps, eps - T.sigma * p_y * slope


@check("Sedykh Algorithm 4; Sedykh eq. 4.14")
def guided_ddim_step() -> Sides:
    """a guided DDIM step: sqrt(abar_s) (x_t - sqrt(1 - abar_t) epshat)/sqrt(abar_t) + sqrt(1 - abar_s) epshat"""
    s, guided = LINEAR.level(250), _guided(2.0)
    eps = guided(X, T).eps
    expected = s.alpha * (X - T.sigma * eps) / T.alpha + s.sigma * eps
    return expected, DDIM().step(guided, X, T, s, None, lambda: X, None)[0]


@check("Sedykh eq. 4.20", 1e-8)
def the_guided_step_is_a_product() -> Sides:
    """for small steps, p(x_s | x_t) p(y | x_s), normalised, has the mean of the shifted Gaussian, by quadrature"""
    schedule = Cosine(T=100_000)
    t, s = schedule.level(30_000), schedule.level(29_999)
    truth, variance = line(), FixedSmall()
    guided = Classifier(truth.denoiser(schedule), lambda x, at, cond: truth.log_class(x, at, (0, 1)), 1.0)
    plain = reverse(truth.denoiser(schedule)(X, t), t, s, variance)
    width = torch.exp(plain.log_var / 2)
    x_s = plain.mean + width * torch.linspace(-9, 9, 2001, dtype=torch.float64)
    flat = x_s.reshape(-1, 1)
    weight = log_normal(x_s, plain.mean, torch.exp(plain.log_var)) + truth.log_class(flat, s, (0, 1)).view(x_s.shape)
    weight = torch.exp(weight - weight.max(1, keepdim=True).values)
    mean = torch.trapezoid(weight * x_s, x_s, dim=1) / torch.trapezoid(weight, x_s, dim=1)
    assert step(t, s).variance > 0
    return mean, reverse(guided(X, t), t, s, variance).mean[:, 0]


@check("math: classifier-free guidance", 1e-3)
def guidance_does_not_sample_the_tilted_density() -> Sides:
    """conditional N(0, 0.5^2), unconditional N(0, 1), scale 3: the flow has variance 0.5^6 = 0.0156, the product 0.1"""
    schedule = Cosine(T=4000)
    both = GaussianMixture(torch.tensor([0.5, 0.5]), torch.zeros(2, 1), torch.tensor([0.25, 1.0]).view(2, 1, 1))
    model = both.conditional_denoiser(schedule, [[0], [1]])  # label 1, N(0, 1), stands for no condition
    guided = ClassifierFree(model, {"label": torch.tensor(1)}, 3.0)
    x = torch.ones(1, 1, dtype=torch.float64)
    for t, s in schedule.steps(2000).pairs():
        x, _ = DDIM().step(
            guided, x, t, s, None, lambda: torch.ones(1, 1), {"label": torch.zeros(1, dtype=torch.int64)}
        )
    return 0.5**6, x**2, 0.1


@check("Sedykh eq. 4.20; Sedykh eq. 2.12")
def a_guide_leaves_the_variance() -> Sides:
    """guidance shifts the mean of the reverse step by variance times guide, and leaves the variance unchanged"""
    s, truth = LINEAR.level(250), line()
    plain, shifted = (
        reverse(truth.denoiser(LINEAR)(X, T), T, s, FixedSmall()),
        reverse(_guided(2.0)(X, T), T, s, FixedSmall()),
    )
    slope = truth.given((0, 1)).score(X, T) - truth.score(X, T)
    theory = torch.stack([plain.mean + 2 * torch.exp(plain.log_var) * slope, plain.log_var.expand(5, 1)])
    return theory, torch.stack([shifted.mean, shifted.log_var.expand(5, 1)])


@check("math: conditioning")
def class_probabilities() -> Sides:
    """p(y | x_t) = q(x_t | y) p(y)/q(x_t), by quadrature over x_0"""
    truth, level = line(), Level(T.time, T.alpha, T.sigma)
    joint = torch.zeros(2, 5, dtype=torch.float64)
    for i, (w, m, v) in enumerate(
        zip(truth.log_weights.exp(), truth.means[:, 0], truth.covariances[:, 0, 0], strict=True)
    ):
        density = integral(w * torch.exp(log_normal(GRID, m, v) + log_normal(X, T.alpha * GRID, T.sigma**2)))
        joint[1] += density
        joint[0] += density if i < 2 else 0
    return joint[0] / joint[1], torch.exp(truth.log_class(X, level, (0, 1)))


class _Ramp(Denoiser):
    """A denoiser whose x0hat is the network's output, so that a ramp with known percentiles can be given."""

    state_dtype = torch.float64

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        return Prediction(x_t, t, self.network(x_t), X0(), self.schedule)


@check("Saharia et al. 2022 (arXiv 2205.11487), section 2.3; math: conditioning")
def dynamic_thresholding_of_a_ramp() -> Sides:
    """u in even steps over [0, 1]: |x0hat| = 3 u has 80th percentile 2.4 and becomes min(3 u, 2.4)/2.4; u/2 is kept"""
    u = torch.linspace(0, 1, 8, dtype=torch.float64)
    ramps = torch.stack([3 * u, -3 * u, u / 2])
    ramp = nn.Identity()
    ramp.forward = lambda x: ramps  # pyrefly: ignore[bad-assignment]
    p = DynamicThreshold(_Ramp(ramp, LINEAR, "x0", shape=(8,)), 80.0)(torch.zeros_like(ramps), T)
    held = torch.minimum(3 * u, torch.tensor(2.4, dtype=torch.float64)) / 2.4
    theory = torch.stack([held, -held, u / 2])
    return torch.stack([theory, -T.alpha * theory / T.sigma]), torch.stack([p.x0, p.eps])


def _ratio(x: Tensor, t: Level, caption: int) -> Tensor:
    """log p(caption | x_t) / p(caption), where the caption names the components that a point belongs to."""
    truth, group = line(), ((0, 1), (2,))[caption]
    return truth.log_class(x, t, group) - truth.log_weights[list(group)].logsumexp(0)


@check("Nichol et al. 2021 (arXiv 2112.10741), section 2.3; math: conditioning")
def guidance_by_words_is_bayes() -> Sides:
    """with the best similarity and scale 1, the score is that of q(x_t | caption), even if the model takes no text"""

    def log_prob(x: Tensor, t: Level, cond: Cond | None) -> Tensor:
        assert cond is not None
        both = torch.stack([_ratio(x, t, 0), _ratio(x, t, 1)], 1)
        return both.gather(1, cond["text"])[:, 0]

    guided = Classifier(line().denoiser(LINEAR), log_prob, 1.0, text=Learned())
    captions = torch.tensor([0, 1, 0, 1, 1])
    given = torch.stack([line().given(((0, 1), (2,))[c]).score(X[i : i + 1], T)[0] for i, c in enumerate(captions)])
    return given, guided(X, T, {"text": captions[:, None]}).score


@check("Radford et al. 2021 (arXiv 2103.00020), figure 3; van den Oord et al. 2018 (arXiv 1807.03748), eq. 5", 1e-8)
def the_best_similarity_is_the_ratio_of_densities() -> Sides:
    """at log p(caption | x) / p(caption) the mean contrastive loss of two pairs has zero slope, in ten directions"""
    t, x = LINEAR.level(500), torch.linspace(-7, 7, 160, dtype=torch.float64)
    ratios = torch.stack([_ratio(x[:, None], t, 0), _ratio(x[:, None], t, 1)], 1)
    prior = torch.stack([line().log_weights[:2].logsumexp(0), line().log_weights[2]])
    density = torch.exp(line().log_prob(x[:, None], t)[:, None] + ratios + prior) * (x[1] - x[0])  # of (x, caption)
    directions = torch.stack([x**0, x, torch.cos(x), torch.tanh(2 * x), torch.exp(-x * x)])
    move = torch.zeros(2, 5, dtype=torch.float64, requires_grad=True)
    similarity = ratios + (move @ directions).T
    i, j = (part.flatten() for part in torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij"))
    rows, loss = similarity[torch.stack([i, j], 1)], torch.zeros((), dtype=torch.float64)  # [pairs, 2, captions]
    for first, second in ((0, 0), (0, 1), (1, 0), (1, 1)):
        pairs = torch.vmap(contrastive)(rows[:, :, [first, second]]).mean(1)
        loss = loss + (density[i, first] * density[j, second] * pairs).sum()
    return torch.zeros(2, 5), torch.autograd.grad(loss, move)[0]
