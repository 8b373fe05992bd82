"""Stable Diffusion's autoencoder: 256x256 colour images as 32x32 latents of four channels; 83,653,863 parameters.

The loss is the absolute error with LPIPS, and an adversarial loss that sets in after 50,000 steps, as in Rombach et al.
2022, except that the weight of the adversarial loss is fixed. The published weights can be loaded
(`fromnoise.weights.autoencoder_kl`).
"""

from fromnoise.data.config import DataConfig
from fromnoise.recipes.autoencoder import AutoencoderRecipe, LossConfig
from fromnoise.train.config import TrainConfig

recipe = AutoencoderRecipe(
    recipe="kl-f8",
    expected="rFID 0.90, PSNR 24.19 after 246,803 steps (Rombach et al. 2022, their repository's table)",
    network={"name": "kl-autoencoder"},
    loss=LossConfig(
        perceptual=1.0, penalty=1e-6, discriminator={"name": "patch-discriminator"}, adversarial=0.1, after=50_000
    ),
    data=DataConfig(name="imagenet", size=256, channels=3, flip=True),
    train=TrainConfig(
        steps=246_803, batch_size=12, lr=5.4e-5, betas=(0.5, 0.9), ema=0.999, checkpoint_every=5000, sample_every=5000
    ),
)
