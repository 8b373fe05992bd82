"""Non-leaky augmentation: training images are transformed, and the network is conditioned on the transform."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.system import rng

_NUMBERS = 14
"""Uniform random numbers per example: six choices, two coins, two angles, and four that become normal."""


@dataclass(frozen=True)
class Augment:
    """x_0 -> T x_0 for a random transform T, and nine numbers that describe T: all zero if and only if T = 1.

    T = shift . stretch . turn . scale . mirrors; each of the six parts is applied with probability p, independently.
    With a_i as in the paper's table 6 and positions (x, y) in pixels from the middle of the image, x to the right, y
    down:

        mirror x, y     a_0, a_1 in {0, 1}, equally likely      (-1)^a_0 x; (-1)^a_1 y
        scale           a_2 ~ N(0, 1)                           2^(a_2 / 5)
        turn            a_3 uniform in (-pi, pi)                R(a_3), which leads x towards y
        stretch         a_4 as a_3, a_5 ~ N(0, 1)               R(a_4) diag(2^(a_5 / 5), 2^(-a_5 / 5)) R(-a_4)
        shift           a_6, a_7 ~ N(0, 1)                      + (W a_6 / 8, H a_7 / 8)

    A network that learns p(x | numbers) samples untransformed images when it is conditioned on zeros, so that the
    augmentation does not leak. An image with T = 1 stays the same bit for bit, and mirrors move whole pixels. A mirror
    that is applied flips the image half of the time. The paper always applies mirror x; here it has probability p, too.
    Source: Karras et al. 2022 (EDM, arXiv 2206.00364), appendix F.2.

    Args:
        p: probability of each part, in (0, 1]; EDM uses 0.12 for CIFAR-10 and 0.15 for FFHQ and AFHQv2.

    Raises:
        FromNoiseError: p is not a number in (0, 1].
    """

    p: float

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, int | float) or not 0 < self.p <= 1:
            raise FromNoiseError(f"augment must be a probability in [0, 1], 0 for none, got {self.p!r}")

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise FromNoiseError if the shape of the examples is not that of images, (C, H, W)."""
        if len(shape) != 3:
            raise FromNoiseError("augment: transforms images (C, H, W), but these examples are "
                                 f"{'x'.join(map(str, shape))}: leave it at 0")  # fmt: skip

    def draw(self, seed: int, places: Iterable[int], step: int) -> Tensor:
        """a_0..a_7 for the examples at these positions of a step's global batch: [B, 8], float64, on the CPU."""
        return self.parameters(rng.uniform(seed, places, step, rng.Stream.AUGMENT, (_NUMBERS,)))

    def parameters(self, u: Tensor) -> Tensor:
        """a_0..a_7 from numbers uniform in [0, 1): [B, 14] -> [B, 8], float64; zero for parts that are not applied."""
        mirror_x, mirror_y, scale, turn, stretch, shift = (u[:, :6] < self.p).double().unbind(1)
        coins, angles = (u[:, 6:8] < 0.5).double(), math.pi * (2 * u[:, 8:10] - 1)
        normal = torch.special.ndtri(u[:, 10:14].clamp_min(2.0**-54))  # at 0 it would be infinite
        parts = torch.stack([mirror_x, mirror_y, scale, turn, stretch, stretch, shift, shift], 1)
        values = [coins, normal[:, :1], angles, normal[:, 1:]]
        return parts * torch.cat(values, 1)

    def labels(self, a: Tensor) -> Tensor:
        """(a_0, a_1, a_2, cos a_3 - 1, sin a_3, a_5 cos 2 a_4, a_5 sin 2 a_4, a_6, a_7): [B, 8] -> [B, 9], float32.

        Different stretches have different rows. This is not so with the paper's a_5 cos a_4, a_5 sin a_4, which are the
        same for (a_4 + pi, -a_5), the inverse stretch.
        """
        turn, stretch = a[:, 3], 2 * a[:, 4:5]
        turned = torch.stack([turn.cos() - 1, turn.sin()], 1)
        stretched = a[:, 5:6] * torch.cat([stretch.cos(), stretch.sin()], 1)
        return torch.cat([a[:, :3], turned, stretched, a[:, 6:]], 1).float()

    def __call__(self, x0: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """(T x_0 [B, C, H, W], the nine numbers [B, 9]), float32, on the device of x_0.

        Outside its borders an image continues as its mirror image. To avoid aliasing, it is resampled at twice its
        resolution, with the low-pass filters of CDF 9/7; each channel keeps its range of values.

        Args:
            x0: images [B, C, H, W], float32.
            a: [B, 8], float64, on the CPU, so that images with T = 1 are known without waiting for the device.
        """
        device = x0.device
        for axis, mirrored in ((3, a[:, 0]), (2, a[:, 1])):
            if bool(mirrored.any()):
                mask = (mirrored > 0).to(device, non_blocking=True).view(-1, 1, 1, 1)
                x0 = torch.where(mask, x0.flip(axis), x0)
        rows = (a[:, 2:] != 0).any(1).nonzero()[:, 0]
        if len(rows):
            index = rows.to(device, non_blocking=True)
            with torch.autocast(device.type, enabled=False):
                x0 = x0.index_copy(0, index, warped(x0.index_select(0, index), *_affine(a[rows], x0.shape[2:])))
        return x0, self.labels(a).to(device, non_blocking=True)


def _turn(angle: Tensor) -> Tensor:
    """R(angle) = ((cos, -sin), (sin, cos)): [B] -> [B, 2, 2]."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)


def _affine(a: Tensor, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The matrix and the shift, in pixels, of T without its mirrors: [B, 8] -> [B, 2, 2], [B, 2]."""
    grow = torch.exp2(a[:, 5] / 5)
    stretch = _turn(a[:, 4]) @ torch.diag_embed(torch.stack([grow, 1 / grow], 1)) @ _turn(-a[:, 4])
    matrix = torch.exp2(a[:, 2] / 5).view(-1, 1, 1) * (stretch @ _turn(a[:, 3]))
    return matrix, a[:, 6:] / 8 * a.new_tensor([size[1], size[0]])


def warped(x: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """y(q) = x(M^-1 (q - s)), for positions q = (column, row) in pixels from the middle.

    Computed as D S U x: U doubles the resolution, S interpolates bilinearly, D halves the resolution; D U = 1. Shifts
    by whole pixels and turns by right angles are exact to float32 rounding (or TF32 rounding, if matrix products use
    it).

    Args:
        x: images [B, C, H, W]; the result has the same shape.
        matrix: M, [B, 2, 2], float64, on the CPU.
        shift: s, [B, 2], float64, on the CPU.
    """
    height, width = x.shape[2:]
    (up_y, down_y), (up_x, down_x) = _filters(height), _filters(width)
    inverse = torch.linalg.inv(matrix)
    start = -(inverse @ shift[:, :, None])[:, :, 0]
    place = torch.cat([inverse, start[:, :, None]], 2).to(x.device, torch.float32, non_blocking=True)
    on_device = [m.to(x.device, non_blocking=True) for m in (up_y, up_x.T, down_y, down_x.T)]
    # Positions of the output at twice the resolution, from the middle, with four more on each side for D.
    rows = (torch.arange(2 * height + 7, device=x.device) - (height + 3)) / 2
    columns = (torch.arange(2 * width + 7, device=x.device) - (width + 3)) / 2
    # Sums of products, not a matrix product, which might use TF32: positions need float32's full precision.
    place = place[..., None, None]
    from_x, from_y = (m[:, 0] * columns + m[:, 1] * rows[:, None] + m[:, 2] for m in (place[:, 0], place[:, 1]))
    seen_at = torch.stack([from_x * (2 / max(width - 1, 1)), from_y * (2 / max(height - 1, 1))], 3)
    doubled = on_device[0] @ x @ on_device[1]
    seen = F.grid_sample(doubled, seen_at, "bilinear", "reflection", align_corners=True)
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.minimum(torch.maximum(on_device[2] @ seen @ on_device[3], low), high)


def _taps() -> tuple[np.ndarray, np.ndarray]:
    """Low-pass filters of the biorthogonal wavelets 9/7: (up [7], sum 2; down [9], sum 1), both symmetric.

    With y = sin^2(w / 2) and P = 1 + 4 y + 10 y^2 + 20 y^3, whose real root is r: up is 2 (1 - y)^2 (1 - y / r), down
    is (1 - y)^2 P / (1 - y / r). Their product 2 (1 - y)^4 P is a half-band filter, so that up followed by down is the
    identity. Source: Cohen, Daubechies and Feauveau 1992. The paper's filter, symlet 6, is not symmetric: with it,
    warping a mirrored image would not give the mirror image of the warped one.
    """
    y = np.sin(np.pi * np.arange(16) / 16) ** 2  # w = 2 pi k / 16
    p = np.polynomial.Polynomial([1, 4, 10, 20])
    r = (roots := p.roots())[np.abs(roots.imag).argmin()].real
    up, down = 2 * (1 - y) ** 2 * (1 - y / r), (1 - y) ** 2 * p(y) / (1 - y / r)
    wave = np.cos(2 * np.pi * np.outer(np.arange(-4, 5), np.arange(16)) / 16) / 16
    return (wave @ up)[1:-1], wave @ down


@lru_cache(maxsize=16)
def _filters(n: int) -> tuple[Tensor, Tensor]:
    """(U [2 n - 1, n], D [n, 2 n + 7]) along a side of n pixels: pixel i is at position 2 i of the doubled side."""
    up, down = _taps()
    double, halve = np.zeros((2 * n - 1, n)), np.zeros((n, 2 * n + 7))
    period = max(2 * (n - 1), 1)
    for place in range(2 * n - 1):
        for k in range(-3, 4):
            if (place - k) % 2 == 0:
                pixel = abs((place - k) // 2) % period  # beyond the border: mirrored at the last pixel's middle
                double[place, min(pixel, period - pixel)] += up[k + 3]
    for pixel in range(n):
        halve[pixel, 2 * pixel : 2 * pixel + 9] = down
    return torch.from_numpy(double).float(), torch.from_numpy(halve).float()
