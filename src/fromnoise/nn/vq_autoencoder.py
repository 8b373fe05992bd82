"""VQ autoencoder: the autoencoder of latent diffusion whose decoder quantises the latents with a codebook."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.nn.coder import Autoencoder, Shape
from fromnoise.registry import register

FASTER = 10.0
"""Codes are this many times the learned parameter. Adam's steps have the same length for all parameters, too short for
a code to cross the space of latents within a few hundred steps."""


@register("vq-autoencoder")
class VQAutoencoder(Autoencoder):
    """x = D(e_k), k = argmin_k |E(x) - e_k|^2 at each position: images [N, C, H, W], latents [N, latent, H/f, W/f].

    `encode` returns the continuous z = E(x) (Sedykh eq. 5.1), and `decode` quantises: diffusion works on latents before
    quantisation, and the codebook is part of the decoder, as in Rombach et al. 2022. The codes and their two losses are
    those of van den Oord et al. 2017 and Esser et al. 2021. A code that is nowhere the nearest gets no gradient from
    these losses and would never be used again. Therefore a third, weak loss draws every code towards its nearest latent
    (the anchors of Zheng and Vedaldi 2023, as a loss, without counting, sampling or restarts), and the codes learn
    faster than the networks.

    Args:
        in_channels: channels of the image.
        channels: width of the first level.
        mult: width of each level in units of `channels`; every further level halves the image.
        blocks: residual blocks in each level of the encoder (the decoder has one more).
        latent: channels of the latents, and width of a code.
        codes: number of codes.
        groups, eps: number of groups and epsilon of the group normalisation.
        mid_attention: whether there is self-attention between the two blocks at the lowest resolution.

    Attributes:
        factor: f, the factor by which the sides of an image shrink.
        latent_channels: `latent`.

    Raises:
        FromNoiseError: in `encode`, `usage` and `forward`, if a side is not divisible by `factor`.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 128,
        mult: tuple[int, ...] = (1, 2, 4, 4),
        blocks: int = 2,
        latent: int = 4,
        codes: int = 512,
        groups: int = 32,
        eps: float = 1e-6,
        mid_attention: bool = True,
    ):
        super().__init__(Shape(in_channels, channels, mult, blocks, groups, eps, mid_attention), latent, latent)
        self.book = nn.Parameter(torch.randn(codes, latent).div_(FASTER))

    def codebook(self) -> Tensor:
        """All codes e_k: [codes, latent], float32."""
        return FASTER * self.book.float()

    def nearest(self, z: Tensor) -> Tensor:
        """The index of the nearest code at each position: [N, latent, h, w] -> [N, h, w]."""
        return self._distances(z).argmin(2).view(z.shape[0], *z.shape[2:])

    def _distances(self, z: Tensor) -> Tensor:
        """|z - e_k|^2: [N, latent, h, w] -> [N, positions, codes]; no gradient."""
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            codes, flat = self.codebook(), z.flatten(2).transpose(1, 2).float()
            return flat.square().sum(2, keepdim=True) - 2 * flat @ codes.T + codes.square().sum(1)

    def _stray(self, z: Tensor) -> Tensor:
        """mean_k min_p |z_p - e_k|^2 over each example's positions p: [N, latent, h, w] -> [N]; no gradient for z."""
        closest = self._distances(z).argmin(1)[..., None].expand(-1, -1, self.latent_channels)
        anchors = z.detach().float().flatten(2).transpose(1, 2).gather(1, closest)
        return (anchors - self.codebook()).square().mean((1, 2))

    def quantise(self, z: Tensor) -> Tensor:
        """The nearest code at each position, shaped like z; the gradient flows to the codes."""
        return F.embedding(self.nearest(z), self.codebook()).movedim(-1, 1).to(z.dtype)

    def encode(self, x: Tensor) -> Tensor:
        """z = E(x), not quantised: [N, in_channels, H, W] -> [N, latent, H/f, W/f]."""
        return self._encoded(x)

    def decode(self, z: Tensor) -> Tensor:
        """x = D(e_k), where e_k is the code nearest to z at each position; values are not clipped."""
        return super().decode(self.quantise(z))

    def usage(self, x: Tensor) -> Tensor:
        """exp(-sum_k p_k log p_k), p_k the frequency of code k in images x.

        This is the effective number of codes in use: 1 if there is only one, `codes` if all are equally frequent.
        """
        with torch.no_grad():
            count = torch.bincount(self.nearest(self.encode(x)).flatten(), minlength=len(self.book))
        return torch.special.entr(count / count.sum()).sum().exp()

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(D(z + sg[e - z]), mean |sg[z] - e|^2 + 0.25 mean |z - sg[e]|^2 + 0.1 mean_k min_p |sg[z_p] - e_k|^2).

        p runs over the positions of an example; sg[.] stops the gradient; means are over the elements as well. The
        gradient of the reconstruction reaches z as if there were no quantisation ("straight through").

        Args:
            x: images [N, in_channels, H, W].
            noise: not used, since quantisation is deterministic.

        Returns:
            (reconstructions shaped like x, the penalty of each example [N], a mean over its latents' elements,
            float32).
        """
        z = self.encode(x)
        e = self.quantise(z)
        codebook = (z.detach().float() - e.float()).square()
        commitment = (z.float() - e.detach().float()).square()
        penalty = (codebook + 0.25 * commitment).flatten(1).mean(1) + 0.1 * self._stray(z)
        return super().decode(z + (e - z).detach()), penalty
