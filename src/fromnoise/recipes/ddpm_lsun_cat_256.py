"""DDPM on LSUN cats at 256x256, as published: the network of CelebA-HQ, 1.8 million steps.

Hyperparameters: DDPM appendix B. Name the folder of images by --data; they are cropped to the central square.
"""

from fromnoise.recipes.ddpm_celebahq_256 import recipe as celebahq

recipe = celebahq.with_changes(
    {
        "recipe": "ddpm-lsun-cat-256",
        "expected": "FID 19.75 (Ho et al. 2020, table 3)",
        "data.name": "lsun-cat",
        "train.steps": 1_800_000,
    }
)
