"""DDIM on CelebA at 64x64: DDPM's training with five resolutions, sampled in 50 uniform steps at eta 0.

Hyperparameters: DDIM appendix D and its code (mult 1, 2, 2, 2, 4, attention at 16x16, dropout 0.1). Name the folder of
aligned images by --data; crop them to the central 140x140 beforehand, as the reference does.
"""

from fromnoise.recipes.ddpm_cifar10 import recipe as ddpm

recipe = ddpm.with_changes(
    {
        "recipe": "ddim-celeba-64",
        "expected": "FID 9.17 in 50 steps, 6.53 in 100 (Song et al. 2021, table 1)",
        "network.mult": [1, 2, 2, 2, 4],
        "network.attention": [4],
        "data.name": "celeba",
        "data.size": 64,
        "data.workers": 8,
        "train.steps": 1_500_000,
        "sample.sampler": "ddim",
        "sample.steps": 50,
        "sample.spacing": "ddim",
        "sample.clip": False,
    }
)
