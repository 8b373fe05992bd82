"""The quantity that the network predicts, and the mean of the reverse step."""

import torch

from fromnoise.denoise import Denoiser
from fromnoise.gaussian import diffuse, posterior
from fromnoise.objectives.simple import Simple
from fromnoise.parameterizations import build
from fromnoise.parameterizations.edm import EDM
from fromnoise.parameterizations.eps import Eps
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.variances.fixed_small import FixedSmall
from fromnoise.variances.reverse import reverse
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import BAR, BETA, LINEAR, rows_of

T = rows_of(LINEAR, 2.0, 57.0, 400.0, 1000.0)
S = LINEAR.level(T.time - 1)
ROW = T.time.long() - 1
X0 = torch.tensor([[0.5], [-0.9], [0.1], [1.0]], dtype=torch.float64)
EPS = torch.tensor([[-1.2], [0.3], [2.0], [-0.4]], dtype=torch.float64)
X_T = diffuse(X0, EPS, T)
COL = lambda v: v[:, None]  # noqa: E731
ALPHA, BAR_T = COL(1 - BETA[ROW]), COL(BAR[ROW])


def _prediction(kind: str) -> Prediction:
    return Prediction(X_T, T, build(kind).target(X0, EPS, T, LINEAR), build(kind), LINEAR)


@check("Sedykh eq. 4.11, 2.70-2.74; Weng eq. 20; Notes eq. 15; Shorts eq. 3")
def x0_from_eps() -> Sides:
    """x_0 = (x_t - sqrt(1 - abar_t) eps)/sqrt(abar_t), where eps is all of the noise, not the noise of step t"""
    printed = (X_T - (1 / BAR_T - 1).sqrt() * EPS) * (1 / BAR_T.sqrt())  # the x0_hat of the Shorts' snippet
    return (X_T - (1 - BAR_T).sqrt() * EPS) / BAR_T.sqrt(), _prediction("eps").x0, printed


@check("Sedykh eq. 2.70-2.74")
def x0_divides_by_the_cumulative_root() -> Sides:
    """x_0 in terms of x_t and eps has the factor 1/sqrt(abar_t); the mean that follows has 1/sqrt(alpha_t)"""
    x0 = _prediction("eps").x0
    mean = reverse(_prediction("eps"), T, S, FixedSmall()).mean
    right = torch.stack([(X_T - (1 - BAR_T).sqrt() * EPS) / BAR_T.sqrt(),
                         (X_T - (1 - ALPHA) / (1 - BAR_T).sqrt() * EPS) / ALPHA.sqrt()])  # fmt: skip
    of_x0 = (1 - ALPHA) / (1 - BAR_T) * (X_T - (1 - BAR_T).sqrt() * EPS)  # 2.74's second term, times the root's inverse
    printed = torch.stack([right[0], right[1] + of_x0 / BAR_T.sqrt() - of_x0 / ALPHA.sqrt()])
    return right, torch.stack([x0, mean]), printed


@check("Sedykh eq. 2.75-2.80; Sedykh Algorithm 2; Weng eq. 21, 27-28; Notes eq. 13, 16")
def mean_from_eps() -> Sides:
    """mean = (x_t - beta_t/sqrt(1 - abar_t) eps)/sqrt(1 - beta_t); with the factor 1/sqrt(abar_t) it diverges"""
    mean = reverse(_prediction("eps"), T, S, FixedSmall()).mean
    right = (X_T - (1 - ALPHA) / (1 - BAR_T).sqrt() * EPS) / ALPHA.sqrt()
    return right, mean, (X_T - (1 - ALPHA) / (1 - BAR_T).sqrt() * EPS) / BAR_T.sqrt()


@check("Sedykh Algorithm 2")
def algorithm_2_needs_alpha_bar() -> Sides:
    """Algorithm 2 divides eps by sqrt(1 - abar_t), not by sqrt(1 - alpha_t)"""
    mean = reverse(_prediction("eps"), T, S, FixedSmall()).mean
    right = (X_T - (1 - ALPHA) / (1 - BAR_T).sqrt() * EPS) / ALPHA.sqrt()
    return right, mean, (X_T - (1 - ALPHA) / (1 - ALPHA).sqrt() * EPS) / ALPHA.sqrt()


class _Recorder(torch.nn.Module):
    """A network that keeps its input."""

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return torch.zeros_like(x)


@check("Sedykh Algorithm 1; Sedykh eq. 2.98")
def algorithm_1_needs_alpha_bar() -> Sides:
    """in training the network's input is sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, and the loss at F = 0 is |eps|^2"""
    network = _Recorder()
    loss = Simple()(Denoiser(network, LINEAR, "eps"), X0, T, EPS)["loss"]
    printed = ALPHA.sqrt() * X0 + (1 - ALPHA).sqrt() * EPS
    right = BAR_T.sqrt() * X0 + (1 - BAR_T).sqrt() * EPS
    square = EPS**2
    return torch.cat([right, square]), torch.cat([network.seen, loss[:, None]]), torch.cat([printed, square])


@check("Sedykh eq. 2.88-2.89; Friedman eq. 34")
def every_parameterisation_gives_the_same_mean() -> Sides:
    """outputs of eps, x0, mean, v, score and edm all give the same reverse mean, that of the posterior at x_0"""
    kinds = ("eps", "x0", "mean", "v", "score", "edm")
    means = torch.stack([reverse(_prediction(k), T, S, FixedSmall()).mean for k in kinds])
    return posterior(X0, X_T, T, S).mean.expand(6, 4, 1), means


@check("Salimans and Ho 2022 eq. 9")
def v_is_a_rotation() -> Sides:
    """v = alpha eps - sigma x_0; x_0 = alpha x_t - sigma v; eps = sigma x_t + alpha v"""
    p = _prediction("v")
    v = p.output
    theory = torch.stack([COL(T.alpha) * EPS - COL(T.sigma) * X0, COL(T.alpha) * X_T - COL(T.sigma) * v,
                          COL(T.sigma) * X_T + COL(T.alpha) * v])  # fmt: skip
    return theory, torch.stack([v, p.x0, p.eps])


@check("Karras et al. 2022 table 1")
def edm_preconditioning() -> Sides:
    """x_0 = c_skip x_t/alpha + c_out F, c_skip = d^2/(r^2 + d^2), c_out = r d/sqrt(r^2 + d^2), r = sigma/alpha"""
    p, d, r = _prediction("edm"), 0.5, COL(T.sigma / T.alpha)
    c_skip, c_out = d**2 / (r**2 + d**2), r * d / (r**2 + d**2).sqrt()
    return c_skip * X_T / COL(T.alpha) + c_out * p.output, p.x0


@check("Karras et al. 2022 appendix B.6")
def edm_has_unit_variance() -> Sides:
    """for data of variance d^2, EDM's input c_in x_t/alpha and its target have variance 1 at every level"""
    kind, d = EDM(0.5), 0.5
    k, f0, fe = kind.equation(T, LINEAR)
    target = ((f0 / k) * d) ** 2 + (fe / k) ** 2
    seen = kind.scale_input(T) ** 2 * (T.alpha**2 * d**2 + T.sigma**2)
    return torch.ones(8), torch.cat([target, seen])


@check("Sedykh eq. 2.80", 1e-5)
def float32_mean_follows() -> Sides:
    """the reverse mean from eps in float32 agrees with float64 at every level"""
    single = Prediction(X_T.float(), T, EPS.float(), Eps(), LINEAR)
    exact = reverse(_prediction("eps"), T, S, FixedSmall()).mean
    return exact, reverse(single, T, S, FixedSmall()).mean
