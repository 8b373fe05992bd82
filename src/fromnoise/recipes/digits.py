"""Handwritten digits in minutes: 5,000 real 28x28 digits, 4 minutes of training on two cores.

PLACEHOLDER
"""

from fromnoise.data._config import DataConfig
from fromnoise.recipes._recipe import Recipe, SampleConfig
from fromnoise.train.config import TrainConfig

recipe = Recipe(
    recipe="digits",
    expected="legible digits after 4 minutes on 2 cores",
    network={"name": "unet", "channels": 48, "mult": [1, 2], "blocks": 2, "attention": [2], "groups": 16, "patch": 2},
    schedule={"name": "cosine", "T": 1000},
    parameterization="v",
    variance="fixed_small",
    data=DataConfig(name="digits", size=28, channels=1),
    train=TrainConfig(
        minutes=4,
        batch_size=32,
        lr=1e-3,
        betas=(0.9, 0.99),
        warmup=50,
        ema=0.995,
        checkpoint_every=200,
        sample_every=400,
    ),
    sample=SampleConfig(sampler={"name": "ancestral"}, steps=100),
)
