# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The score side: three ways to learn it, two ways to sample it
#
# Chapter 3 of Sedykh's thesis approaches diffusion from the other end. A density $p(x)$ is determined by its score
# $\nabla \log p(x)$, which needs no normalising constant; a network can learn the score from samples alone, and Langevin
# dynamics uses it to draw new ones. This notebook recreates the chapter's two figures on densities whose true score is
# known, and measures why denoising score matching is the method that survived. It takes about two minutes.

# %%
import time

import torch
from IPython.display import Markdown, display
from matplotlib import pyplot as plt
from torch import nn

import fromnoise as fn

torch.manual_seed(0)
ladder = fn.schedules.VE(T=2, sigma_min=0.3, sigma_max=10.0)  # only its cleanest level is used for learning
level = ladder.level(1)

# %% [markdown]
# ## Two moons, and their score
#
# Each moon is an arc of thirty small Gaussians (`fn.oracle.GaussianMixture`), so the density and its score are known
# exactly at every noise level.

# %%
angle = torch.linspace(0, torch.pi, 30)
upper = torch.stack([angle.cos(), angle.sin()], 1)
lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
means = 1.5 * (torch.cat([upper, lower]) - torch.tensor([0.5, 0.25]))
moons = fn.oracle.GaussianMixture(torch.ones(60), means, 0.01 * torch.eye(2).expand(60, 2, 2))
data = moons.sample(20_000, torch.Generator().manual_seed(1)).float()

# %% [markdown]
# ## Three objectives, one score
#
# All three minimise the Fisher divergence $\mathbb{E}|s - \nabla \log q|^2 / 2$, up to a constant that depends only on the
# data:
#
# | `fn.objectives` | what is averaged, times $\sigma^2$ | Sedykh |
# |---|---|---|
# | `exact` | $\mathrm{tr}\,\nabla s + \lvert s\rvert^2/2$ | eq. 3.10 |
# | `sliced` | $v^\top \nabla (v^\top s) + \lvert s\rvert^2/2$, random $v$ | eq. 3.13 |
# | `denoising` | $\lvert s(x_t) + \epsilon/\sigma\rvert^2/2$ | eq. 3.11, 3.20 |


# %%
class Field(nn.Module):
    """x, time -> a vector at x."""

    def __init__(self, size: int, width: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, size)
        )

    def forward(self, x, time):
        return self.layers(3 * x)


def train(objective, steps=2000, batch=256):
    torch.manual_seed(0)
    denoiser = fn.Denoiser(Field(2), ladder, "score")
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x0 = data[torch.randint(len(data), (batch,))]
        noise = torch.randn(batch, *((objective.draws, 2) if objective.draws > 1 else (2,)))
        loss = objective(denoiser, x0, level.expand(batch), noise)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return denoiser.eval()


objectives = {
    "exact": fn.objectives.Exact(),
    "sliced": fn.objectives.Sliced(),
    "sliced, (v's)^2": fn.objectives.Sliced(reduced=False),
    "denoising": fn.objectives.Denoising(),
}
learned = {name: train(objective) for name, objective in objectives.items()}

# %% [markdown]
# The error below is relative, $\sqrt{\mathbb{E}|s - \nabla\log q|^2 / \mathbb{E}|\nabla\log q|^2}$: first where the data are
# (averaged over $q$), then over the whole square. A score is learned only where there are data, which is why noise is
# needed: it spreads the data over the whole space.

# %%
held = moons.sample(4000, torch.Generator().manual_seed(2)).double()
held = held + level.sigma * torch.randn(held.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
side = torch.linspace(-2.6, 2.6, 24, dtype=torch.float64)
square = torch.cartesian_prod(side, side)


def relative_error(denoiser, x):
    with torch.no_grad():
        found, truth = denoiser(x.float(), level).score.double(), moons.score(x, level)
    return ((found - truth).square().sum() / truth.square().sum()).sqrt().item()


lines = ["| objective | error on the data | error on the square |", "|---|--:|--:|"]
lines += [
    f"| {name} | {relative_error(d, held):.2f} | {relative_error(d, square):.2f} |" for name, d in learned.items()
]
display(Markdown("\n".join(lines)))

# %% [markdown]
# As in Sedykh's figure 3.1: the true field and the learned ones. The background shows where each is wrong.

# %%
figure, panels = plt.subplots(1, 4, figsize=(17, 4.4), layout="constrained")
truth = moons.score(square, level)
panels[0].scatter(*data[:1500].T, s=1, color="tab:orange")
fields = {"the true score, and data": truth}
fields |= {n: learned[n](square.float(), level).score.detach().double() for n in ("exact", "sliced", "denoising")}
for axes, (name, field) in zip(panels, fields.items(), strict=True):
    wrong = (level.sigma * (field - truth).norm(dim=1)).view(24, 24).T
    if name in learned:
        shade = axes.imshow(wrong, extent=(-2.6, 2.6, -2.6, 2.6), origin="lower", cmap="Reds", vmin=0, vmax=2)
    axes.quiver(*square.T, *(field / field.norm(dim=1, keepdim=True).clamp_min(1e-9) ** 0.7).T, width=0.003)
    axes.set_title(name)
    axes.set_xticks([])
    axes.set_yticks([])
figure.colorbar(shade, ax=panels, label="error times sigma")
plt.show()

# %% [markdown]
# ## Why denoising won
#
# The exact trace takes one backward pass for each dimension. Sliced score matching takes one more than denoising, in any
# dimension. Below is the time of one training step, with a network of fixed width and batches of 64.

# %%
sizes = [2, 8, 32, 128, 512]
costs = {name: [] for name in ("exact", "sliced", "denoising")}
for size in sizes:
    denoiser = fn.Denoiser(Field(size, 256), ladder, "score")
    x0 = torch.randn(64, size)
    for name, found in costs.items():
        objective = objectives[name]
        noise = torch.randn(64, *((objective.draws, size) if objective.draws > 1 else (size,)))

        def step(objective=objective, noise=noise, denoiser=denoiser, x0=x0):
            objective(denoiser, x0, level.expand(64), noise)["loss"].mean().backward()

        step()
        spent = []
        for _ in range(3 if name == "exact" else 10):
            start = time.perf_counter()
            step()
            spent.append(time.perf_counter() - start)
        found.append(sorted(spent)[len(spent) // 2])

lines = ["| dimensions | " + " | ".join(map(str, sizes)) + " |", "|---|" + "--:|" * len(sizes)]
lines += [f"| {name} | " + " | ".join(f"{1e3 * c:.1f} ms" for c in found) + " |" for name, found in costs.items()]
display(Markdown("\n".join(lines)))
figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
for name, found in costs.items():
    axes.loglog(sizes, found, "o-", label=name)
axes.set_xlabel("dimensions")
axes.set_ylabel("seconds of a training step")
axes.legend()
plt.show()

# %% [markdown]
# ## Langevin dynamics forgets the weights
#
# As in figure 3.2: a mixture whose two modes, with weights 1/5 and 4/5, lie far apart. Plain Langevin dynamics follows the
# exact score of the data and still fails: between the modes there is no slope to follow, so every chain stays near the
# mode where it began. Annealed Langevin dynamics starts where noise has joined the modes, and then lowers the noise
# through ten levels, a factor of 1.8 apart.

# %%
modes = fn.oracle.GaussianMixture(
    torch.tensor([0.2, 0.8]), torch.tensor([[-5.0, -5.0], [5.0, 5.0]]), torch.eye(2).expand(2, 2, 2)
)
n, generator = 4000, torch.Generator().manual_seed(0)
normal = lambda: torch.randn(n, 2, generator=generator, dtype=torch.float64)  # noqa: E731
start = 16 * torch.rand(n, 2, generator=generator, dtype=torch.float64) - 8

clean = fn.schedules.VE(T=2, sigma_min=1e-3, sigma_max=1.0).level(1)
plain = fn.langevin.langevin(lambda x: modes.score(x, clean), start, step=0.1, n=1000, noise=normal)

rungs = fn.schedules.VE(T=10, sigma_min=0.1, sigma_max=20.0)
levels = [rungs.level(t) for t in range(10, 0, -1)]
annealed = fn.langevin.annealed(modes.score, 20 * normal(), levels, n=100, step=0.002, noise=normal)
exact = modes.sample(n, generator)


def weight(x):
    return (x.sum(1) < 0).double().mean().item()


rows = {
    "the mixture's own samples": exact,
    "plain Langevin, 1,000 steps": plain,
    "annealed Langevin, 10 x 100": annealed,
}
lines = ["| samples | weight of the lower left mode |", "|---|--:|", "| truth | 0.200 |"]
lines += [f"| {name} | {weight(x):.3f} |" for name, x in rows.items()]
lines.append(f"\nThe standard error of {n:,} samples is {(0.16 / n) ** 0.5:.3f}.")
display(Markdown("\n".join(lines)))
figure, panels = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained", sharex=True, sharey=True)
for axes, (name, x) in zip(panels, rows.items(), strict=True):
    axes.scatter(*x.T, s=1, alpha=0.4)
    axes.set_title(f"{name}\nweight {weight(x):.3f}", fontsize=10)
    axes.set_aspect("equal")
plt.show()

# %% [markdown]
# ## DDPM is NCSN
#
# A network that predicts $\epsilon$ also predicts the score, $s = -\epsilon/\sigma$ (Sedykh eq. 3.29), and NCSN's loss with
# its weight $\sigma^2$ is DDPM's $L_{simple}$ times $D/2$, example by example. So one denoiser serves both samplers:
# `ancestral` walks DDPM's chain, and `annealed-langevin` walks NCSN's ladder, which is the same schedule at even steps of
# the log signal-to-noise ratio.

# %%
ddpm = modes.denoiser(fn.schedules.Cosine())
walks = {
    "ancestral, 200 steps": fn.sample(ddpm, (n, 2), "ancestral", steps=200, batch_size=n),
    "annealed Langevin, 200 levels x 20": fn.sample(
        ddpm, (n, 2), fn.samplers.AnnealedLangevin(n=20), steps=200, spacing="log-snr", batch_size=n
    ),
}
lines = ["| one denoiser, sampled both ways | weight | mean | variance of x |", "|---|--:|--:|--:|"]
exact_mean, exact_cov = modes.mean_and_covariance()
lines.append(f"| truth | 0.200 | {exact_mean[0]:.2f} | {exact_cov[0, 0]:.2f} |")
lines += [f"| {k} | {weight(x):.3f} | {x[:, 0].mean():.2f} | {x[:, 0].var():.2f} |" for k, x in walks.items()]
display(Markdown("\n".join(lines)))
