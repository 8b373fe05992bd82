"""Levels and the Gaussians between them."""

import torch

from fromnoise.gaussian import Gaussian, diffuse, forward, marginal, posterior, step
from fromnoise.schedules.chain import GeneralChain
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import BAR, BETA, COSINE, GRID, LINEAR, POINTS, integral, log_normal, rows_of

ROWS = (2.0, 3.0, 57.0, 400.0, 999.0, 1000.0)


def _step() -> tuple:
    t = rows_of(LINEAR, *ROWS)
    return t, LINEAR.level(t.time - 1), t.time.long() - 1  # the last value indexes BETA and BAR


@check("Sedykh eq. 2.1")
def density_is_normalised() -> Sides:
    """the density of N(mean, var) integrates to 1, also where a small var makes it exceed 1"""
    q = Gaussian(POINTS[:, None], torch.log(torch.tensor([0.01, 0.1, 1.0, 2.0, 3.0], dtype=torch.float64))[:, None])
    return torch.ones(5), integral(torch.exp(q.log_prob(GRID)))


@check("Sedykh eq. 2.4-2.5")
def sample_is_mean_plus_noise() -> Sides:
    """log N(mean + std z) = log N(z; 0, 1) - log std"""
    q = Gaussian(torch.tensor(0.3, dtype=torch.float64), torch.log(torch.tensor(0.04, dtype=torch.float64)))
    return log_normal(POINTS, torch.zeros(()), 1.0) - q.log_var / 2, q.log_prob(q.sample(POINTS))


@check("Sedykh eq. 2.2-2.3; Weng eq. 4; Notes eq. 1, 8; Friedman eq. 2")
def one_step_adds_beta() -> Sides:
    """q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t)"""
    t, s, i = _step()
    k = step(t, s)
    return torch.stack([(1 - BETA[i]).sqrt(), BETA[i]]), torch.stack([k.a, k.b])


@check("Sedykh eq. 2.9; Weng eq. 6; Notes eq. 3, 10, 19")
def alpha_bar_is_a_product() -> Sides:
    """alpha_t^2 = prod_{i=1}^t (1 - beta_i), and sigma_t^2 = 1 - alpha_t^2"""
    return torch.stack([BAR, 1 - BAR]), torch.stack([LINEAR.alpha[1:] ** 2, LINEAR.sigma[1:] ** 2])


@check("Sedykh eq. 2.6-2.8; Weng eq. 7, 9-11; Friedman eq. 8; Sedykh Appendix A")
def steps_compose() -> Sides:
    """a step s -> t after a step r -> s is the step r -> t, with factor a a' and variance a'^2 b + b'"""
    r, s, t = (
        rows_of(LINEAR, 1.0, 10.0, 300.0),
        rows_of(LINEAR, 40.0, 500.0, 301.0),
        rows_of(LINEAR, 90.0, 900.0, 999.0),
    )
    first, second, whole = step(s, r), step(t, s), step(t, r)
    chained = [first.a * second.a, second.a**2 * first.b + second.b]
    return torch.stack([whole.a, whole.b]), torch.stack(chained)


@check("Sedykh eq. 2.10; Weng eq. 8; Notes eq. 2, 9; Weng eq. 2")
def a_thousand_steps_are_the_marginal() -> Sides:
    """a thousand steps from x_0, one after the other, give mean alpha_T x_0 and variance sigma_T^2"""
    mean, var = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for t in range(1, 1001):
        one = forward(mean, LINEAR.level(t - 1), LINEAR.level(t))
        factor = one.mean / mean
        mean, var = one.mean, factor**2 * var + torch.exp(one.log_var)
    q = marginal(torch.ones(1, dtype=torch.float64), LINEAR.level(1000))
    return torch.cat([mean, var]), torch.cat([q.mean, torch.exp(q.log_var).expand(1)])


@check("Sedykh eq. 2.9; Shorts eq. 1; Weng eq. 7, 20, 29; Notes eq. 2")
def diffusing_broadcasts_over_examples() -> Sides:
    """x_t = alpha_t x_0 + sigma_t eps for each example of a batch of images, each with its own level"""
    t = rows_of(LINEAR, *ROWS)
    x0, eps = (
        torch.linspace(-1, 1, 72, dtype=torch.float64).view(6, 3, 2, 2),
        torch.cos(torch.arange(72.0).double()).view(6, 3, 2, 2),
    )
    each = [BAR[int(r) - 1].sqrt() * x0[i] + (1 - BAR[int(r) - 1]).sqrt() * eps[i] for i, r in enumerate(ROWS)]
    return torch.stack(each), diffuse(x0, eps, t)


@check("Friedman eq. 1-2, 8-10, 14")
def unrolled_chain() -> Sides:
    """the general chain has mean factor prod_i gamma_i and variance sum_i (prod_{j>i} gamma_j)^2 sigma_i^2"""
    gamma, sigma = [0.9, 0.7, 1.2, 0.5, 0.8], [0.3, 0.2, 0.9, 0.4, 0.6]
    chain = GeneralChain(gamma, sigma)
    theory, printed = [], []
    for t in range(1, 6):
        scale = torch.tensor(gamma[:t], dtype=torch.float64).prod()
        var = sum(torch.tensor(gamma[i + 1 : t], dtype=torch.float64).prod() ** 2 * sigma[i] ** 2 for i in range(t))
        theory.append(torch.stack([scale, torch.as_tensor(var)]))
        printed.append(torch.stack([torch.tensor(gamma[t - 1], dtype=torch.float64) ** t, torch.as_tensor(var)]))
    levels = chain.level(torch.arange(1, 6))
    return torch.stack(theory), torch.stack([levels.alpha, levels.sigma**2], 1), torch.stack(printed)


@check("Friedman eq. 7, 11-12")
def the_prior_is_the_chains_end() -> Sides:
    """the prior p_T = N(0, sigmabar_T^2) has the covariance of q(x_T | x_0)"""
    chain = GeneralChain([0.9, 0.5, 0.1], [0.3, 0.4, 1.5])
    sigmabar = (0.1 * 0.5 * 0.3) ** 2 + (0.1 * 0.4) ** 2 + 1.5**2
    return [sigmabar, 0.0], torch.stack([torch.exp(chain.prior().log_var), chain.prior().mean])


@check("Weng eq. 5")
def many_steps_are_not_enough() -> Sides:
    """x_T forgets x_0 only if sum beta diverges: for beta_t = 1/(t + 1)^2, alpha_bar_T tends to 1/2 as T grows"""
    total = 2_000
    t = torch.arange(1, total + 1, dtype=torch.float64)
    chain = GeneralChain((1 - 1 / (t + 1) ** 2).sqrt().tolist(), (1 / (t + 1)).tolist())
    return (total + 2) / (2 * (total + 1)), chain.alpha[-1] ** 2, 0.0


@check("Sedykh eq. 2.42-2.67; Friedman eq. 22-23, 26-27, 31; Weng eq. 16-17")
def posterior_is_bayes_rule() -> Sides:
    """q(x_s | x_t, x_0) q(x_t | x_0) = q(x_t | x_s) q(x_s | x_0), including the constants"""
    x0, x_s, x_t = (torch.tensor(v, dtype=torch.float64).expand(6, 1) for v in (0.4, -0.3, 0.9))
    t, s, _ = _step()
    col = lambda v: v[:, None]  # noqa: E731
    k = step(t, s)
    theory = log_normal(x_t, col(k.a) * x_s, col(k.b)) + log_normal(x_s, col(s.alpha) * x0, col(s.sigma) ** 2)
    theory = theory - log_normal(x_t, col(t.alpha) * x0, col(t.sigma) ** 2)
    return theory, posterior(x0, x_t, t, s).log_prob(x_s)


@check("Sedykh eq. 2.46-2.52")
def posterior_precision_adds_up() -> Sides:
    """1/beta-tilde = alpha_t / beta_t + 1/(1 - abar_{t-1}), the coefficient of x_{t-1}^2"""
    t, s, i = _step()
    return 1 / ((1 - BETA[i]) / BETA[i] + 1 / (1 - BAR[i - 1])), step(t, s).variance


@check("Sedykh eq. 2.53-2.59, 2.65-2.67")
def posterior_variance_over_one_denominator() -> Sides:
    """beta-tilde_t = (1 - alpha_t)(1 - abar_{t-1})/(1 - abar_t); with the printed denominator it would be beta_t"""
    t, s, i = _step()
    return BETA[i] * (1 - BAR[i - 1]) / (1 - BAR[i]), step(t, s).variance, BETA[i]


@check("Sedykh eq. 2.53-2.61")
def posterior_constant_completes_the_square() -> Sides:
    """mean^2/btilde = x_t^2/b + x_0^2 abar_s/sigma_s^2 - (x_t - sqrt(abar_t) x_0)^2/sigma_t^2"""
    t, s, i = _step()
    x0, x_t = 0.8, -0.6
    k = step(t, s)
    mean = k.from_x_t * x_t + k.from_x0 * x0
    free = -(x_t**2) / BETA[i] - x0**2 * BAR[i - 1] / (1 - BAR[i - 1]) + (x_t - BAR[i].sqrt() * x0) ** 2 / (1 - BAR[i])
    return -free * k.variance, mean**2


@check("Sedykh eq. 2.62-2.69; Weng eq. 19; Friedman eq. 31")
def posterior_mean_is_ddpms() -> Sides:
    """mean = (sqrt(alpha_t) (1 - abar_{t-1}) x_t + sqrt(abar_{t-1}) (1 - alpha_t) x_0) / (1 - abar_t)"""
    t, s, i = _step()
    x0, x_t = torch.full((6, 1), 0.8, dtype=torch.float64), torch.full((6, 1), -0.6, dtype=torch.float64)
    keep = (1 - BETA[i]).sqrt() * (1 - BAR[i - 1]) / (1 - BAR[i]) * -0.6
    right = keep + BAR[i - 1].sqrt() * BETA[i] / (1 - BAR[i]) * 0.8
    printed = keep + BAR[i - 1].sqrt() * 0.8  # (1 - abar_t) instead of (1 - alpha_t)
    return right, posterior(x0, x_t, t, s).mean, printed


@check("Sedykh eq. 2.12, 2.68-2.69; Weng eq. 18; Notes eq. 12; Friedman eq. 30")
def posterior_variance_is_beta_tilde() -> Sides:
    """beta-tilde_t = beta_t (1 - abar_{t-1}) / (1 - abar_t); the factor beta_t is needed"""
    t, s, i = _step()
    quotient = (1 - BAR[i - 1]) / (1 - BAR[i])
    return BETA[i] * quotient, step(t, s).variance, quotient


@check("Friedman eq. 26, 28-30")
def friedmans_coefficients() -> Sides:
    """a_t = gammabar_{t-1} sigma_t^2/sigmabar_t^2, b_t = gamma_t sigmabar_{t-1}^2/sigmabar_t^2,
    kappa_t^2 = sigma_t^2 sigmabar_{t-1}^2/sigmabar_t^2"""
    t, s, i = _step()
    k = step(t, s)
    right = torch.stack([s.alpha * BETA[i], k.a * s.sigma**2, BETA[i] * s.sigma**2]) / t.sigma**2
    b = (
        BETA[i] / t.sigma**2
    )  # as printed in eq. 28-30: b_t, a_t = gammabar_{t-1} - b_t gammabar_t, and a kappa_t^2 that becomes negative
    printed = torch.stack([s.alpha - b * t.alpha, b, s.sigma**2 - BETA[i] / s.sigma**2])
    return right, torch.stack([k.from_x0, k.from_x_t, k.variance]), printed


@check("Friedman eq. 30", 0)
def printed_kappa_is_no_variance() -> Sides:
    """kappa_t^2 is positive at every t; as printed, sigmabar_{t-1}^2 - sigma_t^2/sigmabar_{t-1}^2, it is not"""
    t, s = LINEAR.level(torch.arange(2, 1001)), LINEAR.level(torch.arange(1, 1000))
    printed = s.sigma**2 - BETA[1:] / s.sigma**2
    assert bool((printed[:55] < 0).all())
    assert bool((printed[55:] > 0).all())
    return torch.zeros(2), torch.stack([(step(t, s).variance <= 0).sum(), (step(t, s).b <= 0).sum()])


@check("Friedman eq. 24-25")
def joint_covariance_of_neighbours() -> Sides:
    """Cov(x_{t-1}, x_t | x_0) = gamma_t sigmabar_{t-1}^2: the regression coefficient of x_{t-1} on x_t times Var x_t"""
    t, s, i = _step()
    k = step(t, s)
    return (1 - BETA[i]).sqrt() * (1 - BAR[i - 1]), k.from_x_t * t.sigma**2, BETA[i]


@check("Friedman eq. 13-14, 19-20; Sedykh eq. 2.25-2.37")
def a_path_has_one_density() -> Sides:
    """prod q(x_t | x_{t-1}) = q(x_T | x_0) prod q(x_{t-1} | x_t, x_0) along a path of eight steps"""
    rows = rows_of(COSINE, 0.0, 100.0, 240.0, 400.0, 550.0, 700.0, 850.0, 960.0, 1000.0)
    path = torch.tensor([0.7, 0.6, 0.9, -0.1, 0.4, 1.2, -0.8, 0.3, -0.5], dtype=torch.float64)[:, None]
    ahead = sum(forward(path[i : i + 1], rows[i], rows[i + 1]).log_prob(path[i + 1]) for i in range(8))
    back = marginal(path[:1], rows[8]).log_prob(path[8])
    for i in range(1, 8):
        back = back + posterior(path[:1], path[i + 1 : i + 2], rows[i + 1], rows[i]).log_prob(path[i])
    return ahead, back


@check("Sedykh eq. 2.82-2.86; Friedman eq. 32")
def kl_of_gaussians() -> Sides:
    """KL(p | q) = (s^2/r^2 - 1 - log(s^2/r^2) + (m - n)^2/r^2)/2, by quadrature"""
    logs = torch.log(torch.tensor([0.5, 0.2, 0.9, 0.4, 1.1], dtype=torch.float64))
    p, q = Gaussian(POINTS, logs), Gaussian(POINTS.flip(0), logs.flip(0) + 0.7)
    a, b = (
        log_normal(GRID, p.mean[:, None], logs.exp()[:, None]),
        log_normal(GRID, q.mean[:, None], q.log_var.exp()[:, None]),
    )
    return integral(torch.exp(a) * (a - b)), p.kl(q)


@check("Notes eq. 20")
def log_snr_of_the_tables() -> Sides:
    """log SNR_t = log(abar_t / (1 - abar_t))"""
    return torch.log(BAR / (1 - BAR)), LINEAR.log_snr[1:]


@check("Sedykh eq. 2.9, 2.68", 1e-12)
def no_cancellation_at_the_first_step() -> Sides:
    """1 - abar_1 = beta_1 exactly; float32 tables have a relative error of 1.7e-4"""
    single = 1 - torch.cumprod(1 - BETA.float(), 0)[0].double()
    return torch.tensor(1.0), LINEAR.sigma[1] ** 2 / BETA[0], single / BETA[0]


@check("Sedykh eq. 2.68", 1e-5)
def float32_states_follow() -> Sides:
    """posterior mean and noisy state in float32, with coefficients cast once, agree with float64"""
    t, s, _ = _step()
    x0, x_t = (
        torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None],
        torch.linspace(2, -2, 6, dtype=torch.float64)[:, None],
    )
    exact = torch.cat([posterior(x0, x_t, t, s).mean, diffuse(x0, x_t, t)])
    return exact, torch.cat([posterior(x0.float(), x_t.float(), t, s).mean, diffuse(x0.float(), x_t.float(), t)])
