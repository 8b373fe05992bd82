"""28x28 digits as 14x14 latents of two channels, by a small KL autoencoder; two minutes of training.

First guesses, to be measured.
"""

from fromnoise.autoencoders._recipe import AutoencoderRecipe, LossConfig
from fromnoise.data._config import DataConfig
from fromnoise.train.config import TrainConfig

recipe = AutoencoderRecipe(
    recipe="digits-kl",
    network={
        "name": "kl-autoencoder",
        "channels": 16,
        "mult": [1, 2, 2],
        "blocks": 1,
        "latent": 4,
        "groups": 8,
        "mid_attention": True,
    },
    loss=LossConfig(penalty=1e-2),
    data=DataConfig(name="digits", size=28, channels=1),
    train=TrainConfig(minutes=2, batch_size=32, lr=2e-3, warmup=30, ema=0.99, checkpoint_every=200, sample_every=200),
)
