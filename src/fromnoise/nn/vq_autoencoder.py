"""The autoencoder of latent diffusion whose decoder knows only the codes of a codebook."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.nn.coder import Autoencoder, Shape
from fromnoise.registry import register

FASTER = 10.0
"""Codes are this many times what is learned: a step of Adam has one length for all, too short for a code to cross the
latents within some hundreds of them."""


@register("vq-autoencoder")
class VQAutoencoder(Autoencoder):
    """x = D(e_k), k = argmin_k |E(x) - e_k|^2 at each place: images [N, C, H, W], latents [N, latent, H/f, W/f].

    z = E(x) (Sedykh eq. 5.1) is left continuous, and `decode` quantises: diffusion works before the codebook, which
    is then a part of the decoder, as in Rombach et al. 2022. Codes and their two losses are those of van den Oord et
    al. 2017 and Esser et al. 2021. A code that no place chooses gets no gradient from them and would be lost for good:
    a third, weak one draws every code to the latent that is nearest to it (the anchors of Zheng and Vedaldi 2023, as
    a loss, so that nothing is counted, drawn or restarted), and the codes learn faster than the networks.

    Args:
        in_channels: channels of the image.
        channels: width of the first level.
        mult: width of each level in units of `channels`; every further level halves the image.
        blocks: residual blocks in each level of the encoder (the decoder has one more).
        latent: channels of the latents, and the width of a code.
        codes: number of codes.
        groups, eps: group normalisation.
        mid_attention: self-attention between the two blocks at the lowest resolution.

    Attributes:
        factor: f, what the sides of the image are divided by.
        latent_channels: `latent`.

    Raises:
        FromNoiseError: in `encode`, `usage` and `forward`, when a side is not divisible by `factor`.
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
        """e_k: [codes, latent], float32."""
        return FASTER * self.book.float()

    def nearest(self, z: Tensor) -> Tensor:
        """The number of the nearest code at each place: [N, latent, h, w] -> [N, h, w]."""
        return self._distances(z).argmin(2).view(z.shape[0], *z.shape[2:])

    def _distances(self, z: Tensor) -> Tensor:
        """|z - e_k|^2: [N, latent, h, w] -> [N, places, codes]; no gradient."""
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            codes, flat = self.codebook(), z.flatten(2).transpose(1, 2).float()
            return flat.square().sum(2, keepdim=True) - 2 * flat @ codes.T + codes.square().sum(1)

    def _stray(self, z: Tensor) -> Tensor:
        """mean_k min_p |z_p - e_k|^2 over each example's places: [N, latent, h, w] -> [N]; z gets no gradient."""
        closest = self._distances(z).argmin(1)[..., None].expand(-1, -1, self.latent_channels)
        anchors = z.detach().float().flatten(2).transpose(1, 2).gather(1, closest)
        return (anchors - self.codebook()).square().mean((1, 2))

    def quantise(self, z: Tensor) -> Tensor:
        """e_k at each place, as z; the gradient goes to the codes."""
        return F.embedding(self.nearest(z), self.codebook()).movedim(-1, 1).to(z.dtype)

    def encode(self, x: Tensor) -> Tensor:
        """z = E(x), not quantised."""
        return self._encoded(x)

    def decode(self, z: Tensor) -> Tensor:
        """x = D(e_k), e_k the code that is nearest to z; the range is not clipped."""
        return super().decode(self.quantise(z))

    def usage(self, x: Tensor) -> Tensor:
        """exp(-sum_k p_k log p_k), p_k the frequency of code k in images x: from 1, one code, to `codes`, all alike."""
        with torch.no_grad():
            count = torch.bincount(self.nearest(self.encode(x)).flatten(), minlength=len(self.book))
        return torch.special.entr(count / count.sum()).sum().exp()

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(D(z + sg[e - z]), mean |sg[z] - e|^2 + 0.25 mean |z - sg[e]|^2 + 0.1 mean_k min_p |sg[z_p] - e_k|^2).

        p are the places of an example, sg[.] passes no gradient; means are over the elements as well. The gradient of
        the reconstruction passes to z as if the step to the code were not there ("straight through").

        Args:
            x: images.
            noise: not used; the codes are no draw.

        Returns:
            reconstructions like x, and the penalty of each example, a mean over the elements of its latents, [N],
            float32.
        """
        z = self.encode(x)
        e = self.quantise(z)
        codebook = (z.detach().float() - e.float()).square()
        commitment = (z.float() - e.detach().float()).square()
        penalty = (codebook + 0.25 * commitment).flatten(1).mean(1) + 0.1 * self._stray(z)
        return super().decode(z + (e - z).detach()), penalty
