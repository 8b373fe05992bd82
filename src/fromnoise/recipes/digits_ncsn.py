"""NCSN on handwritten digits: score matching on a ladder of noise levels, sampled by annealed Langevin dynamics.

The network, the data and the four minutes are those of the recipe `digits`; the family of models is different. The data
are not scaled, and the noise falls geometrically (schedule ve). The loss is denoising score matching with NCSN's
weight, sigma^2, and every level is sampled by Langevin dynamics. The choices follow the second version (Song and Ermon
2020):

- *largest noise* 32: the largest distance between two digits is 31.7 (technique 1, `langevin.largest_distance`).
- *ladder* of 95 levels: a factor of 1.082 for 784 dimensions (technique 2, `langevin.ladder_ratio`).
- *step size* 0.11 of the level's variance for 5 steps at each (technique 4, `langevin.best_size`), and x0hat last.
- *parameterisation* edm instead of a bare score: x_t is scaled to variance 1 before it enters the network.
"""

from fromnoise.data.config import DataConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.digits import recipe as digits
from fromnoise.recipes.sections import EvalConfig, SampleConfig

recipe = Recipe(
    recipe="digits-ncsn",
    expected="legible digits, worse than those of the recipe digits after the same 4 minutes on 2 cores",
    reproduced="FD-digits-500 49.1, precision 0.67, recall 0.85 (digits without guidance: 10.1, 0.80, 0.86)",
    network=digits.network,
    schedule={"name": "ve", "T": 95, "sigma_min": 0.02, "sigma_max": 32.0},
    parameterization={"name": "edm", "data_std": 1.0},
    variance="fixed_small",
    objective={"name": "denoising"},
    times=digits.times,
    data=DataConfig(name="digits", size=28, channels=1),
    train=digits.train,
    sample=SampleConfig(sampler={"name": "annealed-langevin", "n": 5, "size": 0.11}, steps=95, clip=False),
    evaluate=EvalConfig(features="digits", n=1000),
)
