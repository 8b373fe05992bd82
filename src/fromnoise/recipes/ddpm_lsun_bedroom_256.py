"""DDPM on LSUN bedrooms at 256x256, as published: the network of CelebA-HQ, 2.4 million steps.

Hyperparameters: DDPM appendix B (the small model; the large one, of 256 M parameters, reaches 4.90). Name the
folder of images by --data; they are cropped to the central square.
"""

from fromnoise.recipes.ddpm_celebahq_256 import recipe as celebahq

recipe = celebahq.with_changes(
    {
        "recipe": "ddpm-lsun-bedroom-256",
        "expected": "FID 6.36 (Ho et al. 2020, table 3)",
        "data.name": "lsun-bedroom",
        "train.steps": 2_400_000,
    }
)
