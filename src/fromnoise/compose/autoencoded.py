"""The codec of a trained autoencoder: scaled latents, decoded in tiles if they are large."""

from collections.abc import Callable

import torch
from torch import Tensor

from fromnoise.denoise import Codec
from fromnoise.nn.coder import Autoencoder
from fromnoise.system.disk import storage


class Autoencoded(Codec):
    """z = c E(x), x = D(z / c), with c = 1 / std of E(x) over the data.

    The scale is missing in Sedykh eq. 5.3. Without it, the levels of the schedule would have other signal-to-noise
    ratios than intended. An example is Stable Diffusion's 0.18215. Source: Rombach et al. 2022, appendix G.

    Args:
        network: the network of an autoencoder, in float32, from which its hash is computed; it is put into evaluation
            mode.
        scale: c.
        tile: largest side of latents that are decoded at once; larger ones are decoded in tiles of this size that
            overlap by a quarter.
    """

    def __init__(self, network: Autoencoder, scale: float = 1.0, tile: int = 64):
        self.network, self.scale, self.tile = network.eval(), scale, tile
        self.sha256 = storage.fingerprint(network.state_dict())

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        return self.scale * self.network.encode(self._placed(x)).float()

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        z = self._placed(z / self.scale)
        if max(z.shape[-2:]) <= self.tile:
            return self.network.decode(z).float()
        return tiled(lambda part: self.network.decode(part).float(), z, self.tile, self.tile // 4, self.network.factor)

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.network.in_channels, *(side * self.network.factor for side in shape[1:]))

    def _placed(self, x: Tensor) -> Tensor:
        weight = next(self.network.parameters())
        return x.to(weight.device, weight.dtype)


def tiled(decode: Callable[[Tensor], Tensor], z: Tensor, tile: int, overlap: int, factor: int) -> Tensor:
    """decode(z) assembled from overlapping tiles, with weights that fall towards their borders to hide the seams.

    The decoder needs memory for one tile only. Its normalisation and attention do not reach beyond a tile; a decoder
    whose receptive field is no wider than `overlap` is exact away from the seams.

    Args:
        decode: [B, c, h, w] -> [B, C, factor h, factor w].
        z: latents, [B, c, H, W].
        tile: side of a tile.
        overlap: overlap of neighbouring tiles, less than `tile`.
        factor: side of an image divided by that of its latent.
    """
    total = weights = None
    for top in _starts(z.shape[2], tile, overlap):
        for left in _starts(z.shape[3], tile, overlap):
            x = decode(z[:, :, top : top + tile, left : left + tile])
            h, w = x.shape[2:]
            down = _ramp(h, overlap * factor, top > 0, top + tile < z.shape[2])
            weight = down[:, None] * _ramp(w, overlap * factor, left > 0, left + tile < z.shape[3])
            if total is None or weights is None:
                total = x.new_zeros(*x.shape[:2], z.shape[2] * factor, z.shape[3] * factor)
                weights = x.new_zeros(total.shape[2:])
            place = slice(top * factor, top * factor + h), slice(left * factor, left * factor + w)
            total[:, :, *place] += weight.to(x) * x
            weights[place] += weight.to(x)
    assert total is not None
    assert weights is not None
    return total / weights


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """The offsets of the tiles; the last tile ends where the side ends."""
    if side <= tile:
        return [0]
    return [*range(0, side - tile, tile - overlap), side - tile]


def _ramp(n: int, overlap: int, rises: bool, falls: bool) -> Tensor:
    """Weights of 1 that rise over `overlap` elements after a preceding tile and fall before a following one: [n]."""
    place, weight = torch.arange(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    if rises:
        weight = torch.minimum(weight, (place + 1) / (overlap + 1))
    return torch.minimum(weight, (n - place) / (overlap + 1)) if falls else weight
