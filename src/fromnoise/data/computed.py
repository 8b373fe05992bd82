"""Conditioning images that are computed from the images themselves, such as edges."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fromnoise.data.images import Images
from fromnoise.errors import FromNoiseError
from fromnoise.system import checks

_BYTES = torch.uint8


def edges(pixels: Tensor) -> Tensor:
    """min(255, |grad p|) by Sobel's filter, the maximum over all channels: [N, C, H, W] -> [N, 1, H, W].

    The filter's sums are divided by 4, so that a step from black to white is 255; pixels at the border are repeated
    outside. uint8 returns uint8, the same on every machine; floating point in [-1, 1] returns float32 in [-1, 1].

    Raises:
        FromNoiseError: `pixels` is not a tensor [N, C, H, W] of uint8 or floating point.
    """
    if (
        not isinstance(pixels, Tensor)
        or pixels.dim() != 4
        or not (pixels.is_floating_point() or pixels.dtype == _BYTES)
    ):
        raise FromNoiseError("pixels must be a tensor [N, C, H, W], uint8 or floating-point in [-1, 1], got "
                             + (f"{pixels.dtype} {list(pixels.shape)}" if isinstance(pixels, Tensor) else
                                checks.shown(pixels)))  # fmt: skip
    p = 127.5 * (pixels.double() + 1) if pixels.is_floating_point() else pixels.long()
    for axis in (2, 3):
        p = p.index_select(axis, torch.arange(-1, p.shape[axis] + 1, device=p.device).clamp(0, p.shape[axis] - 1))
    across = p[..., :-2, :] + 2 * p[..., 1:-1, :] + p[..., 2:, :]
    down = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]
    dx, dy = across[..., 2:] - across[..., :-2], down[..., 2:, :] - down[..., :-2, :]
    size = ((dx**2 + dy**2).double().sqrt() / 4).amax(1, keepdim=True).clamp_max(255)
    return (size / 127.5 - 1).float() if pixels.is_floating_point() else size.round().to(torch.uint8)


COMPUTED: dict[str, Callable[[Tensor], Tensor]] = {"edges": edges}
"""The functions by their name in `data.pairs`."""


class Computed(Images):
    """Images with computed channels appended to their own, as `Pairs` expects them.

    Args:
        images: the images.
        of: a function from pixels [N, C, H, W] to the computed channels [N, C', H, W], of the same type.
        channels: C'.
    """

    def __init__(self, images: Images, of: Callable[[Tensor], Tensor], channels: int = 1):
        self.images, self.of = images, of
        self.name, self.classes, self.captions, self.notes = images.name, images.classes, images.captions, images.notes
        self.in_memory = images.in_memory
        self.follow(images)
        c, h, w = images.shape
        self.shape = (c + channels, h, w)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        pixels, labels = self.images.batch(indices)
        return torch.cat([pixels, self.of(pixels)], 1), labels
