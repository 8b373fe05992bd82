"""DDPM on CelebA-HQ at 256x256, as published: 113,673,219 parameters, from a folder of images.

Hyperparameters: DDPM appendix B and its code (mult 1, 1, 2, 2, 4, 4, attention at 16x16, no dropout,
learning rate 2e-5, batch 64). Name the folder by --data; the images are cropped to the central square.
"""

from fromnoise.data.config import DataConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.sections import SampleConfig
from fromnoise.train.config import TrainConfig

recipe = Recipe(
    recipe="ddpm-celebahq-256",
    expected="no FID in the paper's table; samples in its figure 1 (Ho et al. 2020)",
    network={"name": "unet", "channels": 128, "mult": [1, 1, 2, 2, 4, 4], "blocks": 2, "attention": [16]},
    data=DataConfig(name="celebahq", size=256, channels=3, flip=True, workers=8),
    train=TrainConfig(
        steps=500_000, batch_size=64, lr=2e-5, warmup=5000, ema=0.9999, checkpoint_every=5000, sample_every=10_000
    ),
    sample=SampleConfig(sampler={"name": "ancestral"}, steps=1000, clip=True),
)
