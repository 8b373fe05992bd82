"""DDIM on CIFAR-10: the training of `ddpm-cifar10`, sampled in 50 steps of the quadratic sub-sequence at eta 0.

`fromnoise table steps RUN` computes the other entries of Sedykh fig 4.2. As in the reference code, x_0 is not clipped.
"""

from fromnoise.recipes.ddpm_cifar10 import recipe as ddpm

recipe = ddpm.with_changes(
    {
        "recipe": "ddim-cifar10",
        "expected": "FID 4.67 in 50 steps, 4.16 in 100 (Song et al. 2021, table 1)",
        "sample.sampler": "ddim",
        "sample.steps": 50,
        "sample.spacing": "quadratic",
        "sample.clip": False,
    }
)
