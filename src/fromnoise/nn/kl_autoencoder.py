"""KL autoencoder: the autoencoder of latent diffusion whose latents are kept close to N(0, I)."""

import torch
from torch import Tensor

from fromnoise.nn.coder import Autoencoder, Shape
from fromnoise.registry import register


@register("kl-autoencoder")
class KLAutoencoder(Autoencoder):
    """q(z | x) = N(mean(x), diag exp(log_var(x))), x' = D(z): images [N, C, H, W], latents [N, latent, H/f, W/f].

    z = E(x), x = D(z) (Sedykh eq. 5.1-5.2). The KL term is weak, as in Rombach et al. 2022, and only keeps the latents
    from drifting apart. The defaults are the autoencoder of Stable Diffusion (83,653,863 parameters, f = 8).

    Args:
        in_channels: channels of the image.
        channels: width of the first level.
        mult: width of each level in units of `channels`; every further level halves the image.
        blocks: residual blocks in each level of the encoder (the decoder has one more).
        latent: channels of the latents.
        groups, eps: number of groups and epsilon of the group normalisation.
        mid_attention: whether there is self-attention between the two blocks at the lowest resolution.

    Attributes:
        factor: f, the factor by which the sides of an image shrink.
        latent_channels: `latent`.

    Raises:
        FromNoiseError: in `encode`, `moments` and `forward`, if a side is not divisible by `factor`.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 128,
        mult: tuple[int, ...] = (1, 2, 4, 4),
        blocks: int = 2,
        latent: int = 4,
        groups: int = 32,
        eps: float = 1e-6,
        mid_attention: bool = True,
    ):
        super().__init__(Shape(in_channels, channels, mult, blocks, groups, eps, mid_attention), latent, 2 * latent)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log_var) of q(z | x), each [N, latent, H/f, W/f].

        log_var is clamped to [-30, 20], so that exp does not overflow.
        """
        mean, log_var = self._encoded(x).chunk(2, 1)
        return mean, log_var.clamp(-30, 20)

    def encode(self, x: Tensor) -> Tensor:
        """z = mean(x), without sampling: [N, in_channels, H, W] -> [N, latent, H/f, W/f]."""
        return self.moments(x)[0]

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """(D(mean + exp(log_var/2) noise), KL(q(z | x) || N(0, I)) in nats / number of elements of one image).

        Both the reconstruction error, summed over an image's elements, and the KL in nats are divided by the number of
        elements, so their ratio is unchanged: next to a mean error, the weight of the penalty is the 1e-6 of Rombach
        et al.

        Args:
            x: images [N, in_channels, H, W].
            noise: standard normal noise, [N, latent, H/f, W/f] (`latent_shape`).

        Returns:
            (reconstructions shaped like x, the penalty of each example [N], float32).
        """
        mean, log_var = self.moments(x)
        z = mean + torch.exp(log_var / 2) * noise.to(mean.dtype)
        m, v = mean.float(), log_var.float()
        kl = (m.square() + torch.expm1(v) - v).flatten(1).sum(1) / 2
        return self.decode(z), kl / x[0].numel()
