"""Distributions whose diffusion is known exactly: the ground truth that everything else is tested against.

For data from a Gaussian mixture every marginal q(x_t) is a mixture too, so its density, its score and the posterior
mean E[x_0 | x_t] have closed forms. `.denoiser(schedule)` returns an ordinary Denoiser.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, check_levels
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.parameterizations.x0 import X0
from fromnoise.schedules.base import Schedule


class GaussianMixture:
    """p(x_0) = sum_k w_k N(m_k, S_k), with full covariances, over states of any shape, flattened to D numbers.

    With C = alpha^2 S + sigma^2 I, d = x - alpha m, r the softmax of log w - (d' C^-1 d + logdet C)/2:

        log q(x_t) = logsumexp,   score = -sum r C^-1 d,   E[x_0 | x_t] = sum r (m + alpha S C^-1 d),
        Cov[x_0 | x_t] = sum r (sigma^2 S C^-1 + mu mu') - x0hat x0hat'.

    Args:
        weights: [K], positive; they are normalised.
        means: [K, ...]: points [K, D], or states of any other shape with D numbers each.
        covariances: [K, D, D], symmetric, positive semi-definite; a zero matrix makes the component a point.
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor):
        means = torch.as_tensor(means, dtype=torch.float64)
        self.shape, self.means = tuple(means.shape[1:]), means.flatten(1)
        weights = torch.as_tensor(weights, dtype=torch.float64)
        covariances = torch.as_tensor(covariances, dtype=torch.float64)
        k, d = self.means.shape
        if weights.shape != (k,) or covariances.shape != (k, d, d):
            raise FromNoiseError(f"weights [K], means [K, ...], covariances [K, D, D]; got K = {k}, D = {d}, "
                             f"{tuple(weights.shape)}, {tuple(covariances.shape)}")  # fmt: skip
        self.log_weights = torch.log(weights / weights.sum())
        self.covariances = covariances
        self.eigenvalues, self.eigenvectors = torch.linalg.eigh(covariances)
        self.eigenvalues = self.eigenvalues.clamp_min(0)

    @property
    def dim(self) -> int:
        """D, the number of elements of a state."""
        return self.means.shape[1]

    def _parts(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """log joint [N, K], d in each component's eigenbasis [N, K, D], eigenvalues of C [N|1, K, D], alpha, sigma."""
        check_levels(level=level)
        x = x.double().cpu().flatten(1)
        alpha, sigma = level.alpha.view(-1, 1, 1), level.sigma.view(-1, 1, 1)  # for a single level c is computed once
        d = torch.einsum("nkd,kde->nke", x[:, None] - alpha * self.means, self.eigenvectors)
        c = alpha**2 * self.eigenvalues + sigma**2
        log_normal = -(d**2 / c + torch.log(c) + math.log(2 * math.pi)).sum(-1) / 2
        return self.log_weights + log_normal, d, c, alpha, sigma

    def log_prob(self, x: Tensor, level: Level) -> Tensor:
        """log q(x_t) in nats, the density of the noisy data: [N, ...] -> [N] (Sedykh eq. 3.16)."""
        return torch.logsumexp(self._parts(x, level)[0], 1)

    def score(self, x: Tensor, level: Level) -> Tensor:
        """grad_x log q(x_t), of the shape of x (Sedykh eq. 3.2)."""
        joint, d, c, _, _ = self._parts(x, level)
        return -torch.einsum("nk,nke,kde->nd", joint.softmax(1), d / c, self.eigenvectors).view(x.shape)

    def responsibilities(self, x: Tensor, level: Level) -> Tensor:
        """p(component | x_t): [N, ...] -> [N, K]."""
        return self._parts(x, level)[0].softmax(1)

    def moments(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """E[x_0 | x_t], of the shape of x, and Cov[x_0 | x_t], [N, D, D]. At sigma = 0: x_0 itself, and 0."""
        r, mu, c, sigma = self._components(x, level)
        x0 = torch.einsum("nk,nkd->nd", r, mu)
        within = torch.einsum(
            "nk,kde,nke,kfe->ndf", r, self.eigenvectors, sigma**2 * self.eigenvalues / c, self.eigenvectors
        )
        spread = mu - x0[:, None]
        cov = within + torch.einsum("nk,nkd,nkf->ndf", r, spread, spread)
        clean = (level.sigma == 0).expand(len(x))
        return _data_if_clean(x0, x, level), torch.where(clean[:, None, None], 0.0, cov)

    def mean(self, x: Tensor, level: Level) -> Tensor:
        """E[x_0 | x_t] alone, of the shape of x, at less than half the cost of both moments."""
        r, mu, _, _ = self._components(x, level)
        return _data_if_clean(torch.einsum("nk,nkd->nd", r, mu), x, level)

    def _components(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """p(component | x_t) [N, K], E[x_0 | x_t, component] [N, K, D], eigenvalues of C [N or 1, K, D], sigma > 0."""
        check_levels(level=level)
        joint, d, c, alpha, sigma = self._parts(x, _noisy(level))
        mu = self.means + torch.einsum("nke,kde->nkd", alpha * self.eigenvalues * d / c, self.eigenvectors)
        return joint.softmax(1), mu, c, sigma

    def mean_and_covariance(self) -> tuple[Tensor, Tensor]:
        """Mean [...] and covariance [D, D] of the data."""
        w = self.log_weights.exp()
        mean = w @ self.means
        spread = self.means - mean
        total = torch.einsum("k,kde->de", w, self.covariances) + torch.einsum("k,kd,ke->de", w, spread, spread)
        return mean.view(self.shape), total

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws of x_0 ~ q(x_0): [n, ...], float64 (Weng eq. 1)."""
        k = torch.multinomial(self.log_weights.exp(), n, replacement=True, generator=generator)
        z = torch.randn(n, self.dim, dtype=torch.float64, generator=generator)
        x0 = self.means[k] + torch.einsum("nde,ne->nd", self.eigenvectors[k], self.eigenvalues[k].sqrt() * z)
        return x0.view(n, *self.shape)

    def denoiser(self, schedule: Schedule, variance: str = "fixed_large") -> Denoiser:
        """The exact Denoiser of this distribution, float64."""
        return _Oracle(self, schedule, variance, self.shape)

    def given(self, components: Sequence[int]) -> "GaussianMixture":
        """p(x_0 | y), where y says that the component is one of `components`."""
        chosen = list(components)
        means = self.means[chosen].view(-1, *self.shape)
        return GaussianMixture(self.log_weights[chosen].exp(), means, self.covariances[chosen])

    def log_class(self, x: Tensor, level: Level, components: Sequence[int]) -> Tensor:
        """log p(y | x_t), the log of the summed responsibilities of `components`: [N, ...] -> [N].

        Source: Dhariwal and Nichol 2021, arXiv 2105.05233, section 4; Sedykh eq. 4.21-4.24.
        """
        return torch.logsumexp(torch.log_softmax(self._parts(x, level)[0], 1)[:, list(components)], 1)

    def conditional_denoiser(self, schedule: Schedule, classes: Sequence[Sequence[int]]) -> Denoiser:
        """The exact Denoiser of p(x_0 | label), with cond["label"] in 0..len(classes) - 1, or -1 for no label."""
        return _ConditionalOracle(self, schedule, [self.given(c) for c in classes])


class FiniteData:
    """p(x_0) uniform over a finite data set; its denoiser is what a network trained forever on that data converges to.

    E[x_0 | x_t] averages the points with the weights softmax(-|x - alpha x_i|^2 / (2 sigma^2)). This is the Gaussian
    mixture with S = 0, computed without its [N, K, D] tensors, so that a whole data set of images fits into memory.

    Args:
        points: the data, [K, ...], of any shape; stored as float64.
    """

    def __init__(self, points: Tensor):
        self.shape = tuple(points.shape[1:])
        self.points = points.double().flatten(1)

    def _joint(self, x: Tensor, level: Level) -> Tensor:
        check_levels(level=level)
        flat = x.double().cpu().flatten(1)
        alpha, sigma = level.alpha.expand(len(x))[:, None], level.sigma.expand(len(x))[:, None]
        square = (flat**2).sum(1, keepdim=True) - 2 * alpha * flat @ self.points.T
        square = square + alpha**2 * (self.points**2).sum(1)
        log_normal = -square / (2 * sigma**2) - self.points.shape[1] * torch.log(2 * math.pi * sigma**2) / 2
        return log_normal - math.log(len(self.points))

    def log_prob(self, x: Tensor, level: Level) -> Tensor:
        """log q(x_t) in nats: [N, ...] -> [N]; sigma must be positive."""
        return torch.logsumexp(self._joint(x, level), 1)

    def responsibilities(self, x: Tensor, level: Level) -> Tensor:
        """p(point | x_t): [N, ...] -> [N, K]."""
        return self._joint(x, level).softmax(1)

    def score(self, x: Tensor, level: Level) -> Tensor:
        """(alpha x0hat - x) / sigma^2, of the shape of x."""
        check_levels(level=level)
        alpha, sigma = level.alpha.expand(len(x))[:, None], level.sigma.expand(len(x))[:, None]
        flat = x.double().cpu().flatten(1)
        return ((alpha * self.mean(x, level).flatten(1) - flat) / sigma**2).view(x.shape)

    def mean(self, x: Tensor, level: Level) -> Tensor:
        """E[x_0 | x_t], of the shape of x; at sigma = 0 it is x_0 itself."""
        check_levels(level=level)
        return _data_if_clean(self.responsibilities(x, _noisy(level)) @ self.points, x, level)

    def moments(self, x: Tensor, level: Level) -> tuple[Tensor, None]:
        """E[x_0 | x_t] and None: the covariance of images would not fit into memory."""
        return self.mean(x, level), None

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n points drawn with replacement: [n, ...], float64."""
        return self.points[torch.randint(len(self.points), (n,), generator=generator)].view(n, *self.shape)

    def denoiser(self, schedule: Schedule, variance: str = "fixed_large") -> Denoiser:
        """The exact Denoiser of this distribution, float64."""
        return _Oracle(self, schedule, variance, self.shape)


def _noisy(level: Level) -> Level:
    """The level with sigma = 1 where it is 0, so that the formulas do not divide by 0."""
    return Level(level.time, level.alpha, torch.where(level.sigma == 0, 1.0, level.sigma))


def _data_if_clean(x0: Tensor, x: Tensor, level: Level) -> Tensor:
    """x0, [N, D], in the shape of x; where sigma = 0 it is replaced by the exact x / alpha."""
    clean = (level.sigma == 0).expand(len(x))[:, None]
    x0 = torch.where(clean, x.double().cpu().flatten(1) / level.alpha.expand(len(x))[:, None], x0)
    return x0.view(x.shape)


class _Oracle(Denoiser):
    """A Denoiser with E[x_0 | x_t] in closed form instead of a network."""

    state_dtype = torch.float64

    def __init__(self, truth: GaussianMixture | FiniteData, schedule: Schedule, variance: str, shape: tuple[int, ...]):
        super().__init__(nn.Identity(), schedule, "x0", variance, shape)
        self.truth = truth

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        return Prediction(x_t, t, self.truth.mean(x_t, t).to(x_t), X0(), self.schedule)


class _ConditionalOracle(_Oracle):
    """One exact denoiser for each label, and that of the whole distribution for label -1."""

    def __init__(self, whole: GaussianMixture, schedule: Schedule, parts: Sequence[GaussianMixture]):
        super().__init__(whole, schedule, "fixed_large", whole.shape)
        self.parts = [*parts, whole]  # label -1 is the last

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        label = cond["label"] if cond and "label" in cond else torch.full((len(x_t),), -1)
        if cond and set(cond) != {"label"}:
            raise FromNoiseError(f"cond has {', '.join(map(repr, cond))}, and this denoiser takes label")
        if bool(((label < -1) | (label >= len(self.parts) - 1)).any()):
            raise FromNoiseError(f"cond['label'] must lie in 0..{len(self.parts) - 2}, or be -1 for none, got "
                                 f"{label.tolist()[:8]}")  # fmt: skip
        every = torch.stack([part.mean(x_t, t) for part in self.parts])
        return Prediction(x_t, t, every[label, torch.arange(len(x_t))].to(x_t), X0(), self.schedule)
