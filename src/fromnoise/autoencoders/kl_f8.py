"""Stable Diffusion's autoencoder: 256x256 colour images as 32x32 latents of four channels; 83,653,863 parameters.

Trained here without the perceptual loss that the published weights had, whose network must be downloaded; the
adversary sharpens after 50,000 steps. The published weights fit (`fromnoise.interop.autoencoder_kl`).
"""

from fromnoise.autoencoders._recipe import AutoencoderRecipe, LossConfig
from fromnoise.data._config import DataConfig
from fromnoise.train.config import TrainConfig

recipe = AutoencoderRecipe(
    recipe="kl-f8",
    expected="reconstructions close to the image, with a perceptual loss that is left out here",
    network={"name": "kl-autoencoder"},
    loss=LossConfig(penalty=1e-6, discriminator={"name": "patch-discriminator"}, adversarial=0.1, after=50_000),
    data=DataConfig(name="imagenet", size=256, channels=3, flip=True),
    train=TrainConfig(
        steps=250_000, batch_size=12, lr=5.4e-5, betas=(0.5, 0.9), ema=0.999, checkpoint_every=5000, sample_every=5000
    ),
)
