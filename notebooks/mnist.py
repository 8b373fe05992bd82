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
# # A DDPM of handwritten digits
#
# Chapter 6 of Sedykh's thesis describes a small DDPM trained on MNIST, as close to Ho et al. (2020) as a laptop allows: a
# U-Net with 7,339,297 parameters and no attention, the linear schedule, 1,000 steps, learning rate 1e-4. This notebook
# builds that model again: the forward process, the network, training and sampling, each beside its equation and the
# numbers that the thesis reports.
#
# Run it unchanged, or give it more time: `MINUTES=60 jupyter lab notebooks/mnist.ipynb`. An epoch is 60,000 images.

# %%
import json
import os
import tempfile
import time
from pathlib import Path

import torch
from IPython.display import Image, Markdown, display

import fromnoise as fn
from fromnoise.app import figures
from fromnoise.data import DataConfig
from fromnoise.data.images import to_uint8, to_unit
from fromnoise.system.disk import pictures

DATA = os.environ.get("DATA", "mnist")  # a name of `fromnoise list data`, or a folder
ROOT = os.environ.get("DATA_ROOT")  # where MNIST lies; downloaded where it is missing
MINUTES = float(os.environ.get("MINUTES", "5"))
STEPS = int(os.environ.get("STEPS", "200"))  # of the sampler of the figure
RUN = Path(os.environ.get("RUN", "runs")) / "thesis-mnist"

# %% [markdown]
# ## Data
#
# 28x28 digits, padded to 32x32 so that they can be halved five times, and scaled to [-1, 1].

# %%
images = fn.data.load(DataConfig(name=DATA, root=ROOT, size=32, channels=1, fit="pad"))
pixels, labels = images.batch(range(0, len(images), len(images) // 32))
print(f"{len(images):,} images {images.shape} from {images.name}")
pictures.grid(pixels[:32], columns=16, side=40)

# %% [markdown]
# ## The forward process
#
# Every step adds a little noise, $q(x_t \mid x_{t-1}) = \mathcal N(\sqrt{1 - \beta_t}\, x_{t-1}, \beta_t I)$, with $\beta_t$
# rising linearly from $10^{-4}$ to $0.02$. The steps compose, so any $x_t$ can be drawn directly:
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \qquad \bar\alpha_t = \prod_{i \le t} (1 - \beta_i).$$
#
# In the library a `Level` holds $\alpha = \sqrt{\bar\alpha_t}$ and $\sigma = \sqrt{1 - \bar\alpha_t}$. The images below
# correspond to the thesis's figure 6.1.

# %%
schedule = fn.schedules.Linear(T=1000)
picture = Path(tempfile.mkdtemp()) / "forward.png"
figures.forward_process(to_unit(pixels[4:7]), schedule, picture)
display(Image(picture, width=900))

# %% [markdown]
# A thousand single steps give the same moments as the closed form. Compare the mean and variance of $x_{1000}$ over many
# chains that start at $x_0 = 0.8$.

# %%
torch.manual_seed(0)
x = torch.full((20_000, 1), 0.8, dtype=torch.float64)
for t in range(1, 1001):
    step = fn.gaussian.forward(x, schedule.level(t - 1), schedule.level(t))
    x = step.sample(torch.randn_like(x))
end = fn.gaussian.marginal(torch.tensor(0.8, dtype=torch.float64), schedule.level(1000))
print(
    f"mean {x.mean():+.4f}, in closed form {end.mean:+.4f}; variance {x.var():.4f}, in closed form {end.log_var.exp():.4f}"
)

# %% [markdown]
# ## The network
#
# The network is a U-Net. Each block has two $3\times3$ convolutions with group normalisation and SiLU, and the time is added
# between them. Four resolutions with 32, 64, 128 and 256 channels are joined by strided and transposed $4\times4$
# convolutions; the skip of each resolution is concatenated on the way up. There is no attention: the thesis found that it
# makes digits worse.

# %%
recipe = fn.recipes.load("thesis-mnist")
denoiser = recipe.build()
network = denoiser.network
rows = [(name, sum(p.numel() for p in part.parameters())) for name, part in network.named_children()]
print("\n".join(f"{name:<14}{count:>10,}" for name, count in rows if count))
count = sum(p.numel() for p in network.parameters())
print(f"{'together':<14}{count:>10,}   the thesis: 7,339,297")

# %% [markdown]
# ## Training
#
# Algorithm 1: draw an image, a time and noise, and descend
#
# $$L_\text{simple} = \mathbb E \left\| \epsilon - \epsilon_\theta\left(\sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon,\; t\right) \right\|^2 .$$
#
# (The thesis prints $\alpha_t$ under the roots; it should be $\bar\alpha_t$.) By hand it takes four lines, and the library's
# objective gives the same number:

# %%
x0 = to_unit(pixels[:8])
eps = torch.randn_like(x0)
level = schedule.level(torch.linspace(1, 1000, 8).round())
x_t = fn.gaussian.diffuse(x0, eps, level)
by_hand = (denoiser(x_t, level).eps - eps).square().flatten(1).mean(1)
print((by_hand - fn.objectives.Simple()(denoiser, x0, level, eps)["loss"]).abs().max().item())

# %% [markdown]
# The library's trainer runs the same loop and adds a warm-up, an average of the weights, checkpoints and a log.

# %%
changes = {"data.name": DATA, "data.root": ROOT, "train.minutes": MINUTES, "train.sample_every": 0}
fn.runs.train(recipe.with_changes(changes), RUN)
lines = [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()]
rate = lines[-1]["images"] / lines[-1]["seconds"]
print(f"{lines[-1]['images']:,} images, {rate:.0f} a second; loss {lines[0]['loss']:.3f} -> {lines[-1]['loss']:.3f}")

# %%
from matplotlib.figure import Figure

figure = Figure(figsize=(7, 3), layout="constrained")
axes = figure.subplots()
axes.semilogy([line["images"] for line in lines], [line["loss"] for line in lines], linewidth=0.7)
axes.set(xlabel="images", ylabel="L_simple")
figure.savefig(picture.with_name("loss.png"), dpi=90)
Image(picture.with_name("loss.png"))

# %% [markdown]
# ## Sampling
#
# Algorithm 2 walks back from $x_T \sim \mathcal N(0, I)$, with no noise in the last step:
#
# $$x_{t-1} = \frac{1}{\sqrt{1 - \beta_t}} \left( x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon_\theta(x_t, t) \right) + \sigma_t z .$$
#
# First draw one image with all 1,000 steps, then 32 images on a subsequence of the steps, as in the thesis's figure 6.2.

# %%
model = fn.guidance.Clip(fn.load(RUN, precision="auto"))
started = time.perf_counter()
fn.sample(model, 1, "ancestral", steps=1000)
seconds = time.perf_counter() - started
drawn = fn.sample(model, 32, "ancestral", steps=STEPS, batch_size=32)
pictures.grid(to_uint8(drawn), columns=8)

# %% [markdown]
# ## Compared with the thesis

# %%
display(
    Markdown(f"""
| | thesis, Apple M2 Pro | here |
|---|---|---|
| parameters | 7,339,297 | {count:,} |
| an epoch of 60,000 images | about 70 s | {60_000 / rate:.0f} s, from {lines[-1]["images"]:,} images |
| one image, 1,000 steps | 13.4 s | {seconds:.1f} s |
| images trained on | 20 to 40 epochs | {lines[-1]["images"] / 60_000:.2f} epochs |

Here: {fn.hardware.choose().why}.
""")
)

# %% [markdown]
# After a few minutes of training the samples are only strokes; after 20 epochs they look like MNIST's digits. Two commands
# continue from here:
#
# ```
# fromnoise train thesis-mnist --resume --out RUN      # 20 epochs, as the thesis
# fromnoise table steps RUN                            # how few steps will do: Sedykh fig 4.2
# ```
