"""ADM on ImageNet at 64x64: 295,904,454 parameters, class-conditional, learned variance, cosine schedule.

Hyperparameters: Dhariwal and Nichol 2021, appendix I, and their code (channels 192, depth 3, mult 1, 2, 3, 4, heads of
64 channels, attention at 32, 16 and 8, residual resampling, dropout 0.1, learning rate 3e-4, batch 2048, 540,000
steps). Name the folder with the 1,000 classes by --data. Training takes weeks on many GPUs.
"""

from fromnoise.data.config import DataConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.sections import SampleConfig
from fromnoise.train.config import TrainConfig

recipe = Recipe(
    recipe="adm-imagenet-64",
    expected="FID 2.07 in 250 steps without guidance (Dhariwal and Nichol 2021, table 5)",
    network={
        "name": "unet",
        "channels": 192,
        "mult": [1, 2, 3, 4],
        "blocks": 3,
        "attention": [2, 4, 8],
        "head_channels": 64,
        "eps": 1e-5,
        "dropout": 0.1,
        "time_endpoint": False,
        "scale_shift": True,
        "resample": "residual",
        "classes": 1000,
    },
    schedule={"name": "cosine", "T": 1000},
    parameterization="eps",
    variance="learned_range",
    objective={"name": "hybrid", "weight": 0.001},
    data=DataConfig(name="imagenet", size=64, channels=3, workers=16),
    train=TrainConfig(steps=540_000, batch_size=2048, lr=3e-4, ema=0.9999, checkpoint_every=5000, sample_every=10_000),
    sample=SampleConfig(sampler={"name": "ancestral"}, steps=250, clip=True),
)
