"""Improved DDPM on CIFAR-10: L_hybrid, learned variance, cosine schedule, 4,000 steps.

Hyperparameters: Nichol and Dhariwal 2021, appendix A, and their code. NLL 3.17 and FID 3.19 hold for the averaged
weights and all 4,000 steps; with the learned variance, samples stay good with far fewer steps (`--steps 100`). lambda
is 0.001 with the bound as a sum over the 4,000 steps in bits/dim. Class labels are not used. Training takes days on one
GPU.
"""

from fromnoise.data.config import DataConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.sections import SampleConfig
from fromnoise.train.config import TrainConfig

recipe = Recipe(
    recipe="improved-ddpm-cifar10",
    expected="NLL 3.17 bits/dim, FID 3.19 (Nichol and Dhariwal 2021, table 2)",
    network={
        "name": "unet",
        "channels": 128,
        "mult": [1, 2, 2, 2],
        "blocks": 3,
        "attention": [2, 4],
        "heads": 4,
        "eps": 1e-5,
        "dropout": 0.3,
        "time_endpoint": False,
        "scale_shift": True,
        "resample": "centered",
    },
    schedule={"name": "cosine", "T": 4000},
    parameterization="eps",
    variance="learned_range",
    objective={"name": "hybrid", "weight": 0.001},
    data=DataConfig(name="cifar10", size=32, channels=3),
    train=TrainConfig(steps=500_000, batch_size=128, lr=1e-4, ema=0.9999, checkpoint_every=5000, sample_every=10_000),
    sample=SampleConfig(sampler={"name": "ancestral"}, steps=4000, clip=True),
)
