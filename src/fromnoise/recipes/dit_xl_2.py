"""DiT-XL/2 on latents of 256x256 ImageNet: 675,129,632 parameters as counted by its code (Peebles and Xie 2023).

AdamW at 1e-4 without weight decay or warm-up, batches of 256, one label in ten dropped, images mirrored, and a learned
range of the variance, trained by L_hybrid. It is sampled in 250 steps, guided by 1.5 in three of the four channels, as
in the paper's code. The paper's comparisons use 400,000 steps, its best model 7,000,000.
"""

from fromnoise.data.config import DataConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.sections import LatentConfig, SampleConfig
from fromnoise.train.config import TrainConfig

recipe = Recipe(
    recipe="dit-xl-2",
    expected="FID 2.27 with guidance 1.5, 9.62 without, after 7 M steps (Peebles and Xie 2023, table 4)",
    network={"name": "dit", "size": "XL", "patch": 2, "classes": 1000},
    schedule={"name": "linear", "T": 1000},
    variance="learned_range",
    objective={"name": "hybrid"},
    data=DataConfig(name="imagenet", size=256, channels=3, flip=True),
    latent=LatentConfig(autoencoder="kl-f8"),
    train=TrainConfig(steps=7_000_000, batch_size=256, lr=1e-4, label_dropout=0.1, ema=0.9999, checkpoint_every=50_000),
    sample=SampleConfig(sampler={"name": "ancestral"}, steps=250, clip=False, guidance=1.5, guidance_channels=3),
)
