"""DDPM on LSUN churches at 256x256, as published: the network of CelebA-HQ, 1.2 million steps.

Hyperparameters: DDPM appendix B. Name the folder of images by --data; they are cropped to the central square.
"""

from fromnoise.recipes.ddpm_celebahq_256 import recipe as celebahq

recipe = celebahq.with_changes(
    {
        "recipe": "ddpm-lsun-church-256",
        "expected": "FID 7.89 (Ho et al. 2020, table 3)",
        "data.name": "lsun-church",
        "train.steps": 1_200_000,
    }
)
