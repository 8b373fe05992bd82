"""DDPM on CIFAR-10, as published: 35.7 M parameters, L_simple, linear schedule.

Hyperparameters: DDPM section 4 and appendix B, and its code. FID 3.17 and IS 9.46 hold for the averaged
weights, x0 clipped at every step, 1000 ancestral steps with the large variance, and 50,000 samples against
the training set. The 800,000 steps of 128 images take days on one GPU.
"""

from fromnoise.data.config import DataConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.sections import SampleConfig
from fromnoise.train.config import TrainConfig

recipe = Recipe(
    recipe="ddpm-cifar10",
    expected="FID 3.17, IS 9.46, NLL <= 3.75 bits/dim (Ho et al. 2020, table 1)",
    network={"name": "unet", "channels": 128, "mult": [1, 2, 2, 2], "blocks": 2, "attention": [2], "dropout": 0.1},
    schedule={"name": "linear", "T": 1000},
    parameterization="eps",
    variance="fixed_large",
    data=DataConfig(name="cifar10", size=32, channels=3, flip=True),
    train=TrainConfig(
        steps=800_000, batch_size=128, lr=2e-4, warmup=5000, ema=0.9999, checkpoint_every=5000, sample_every=10_000
    ),
    sample=SampleConfig(sampler={"name": "ancestral"}, steps=1000, clip=True),
)
