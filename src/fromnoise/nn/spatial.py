"""Layers and operations by the number of axes besides the channels: 1 for signals, 2 for images, 3 for volumes."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError

Dims = Literal[1, 2, 3]

CONV: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CONV_TRANSPOSE: dict[int, type[nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
CONVOLVED = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONVOLVED_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_AVERAGED = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}

KIND = {0: "point", 1: "signal", 2: "image", 3: "volume"}
_SHAPE = {0: "(D,)", 1: "(C, L)", 2: "(C, H, W)", 3: "(C, D, H, W)"}


def check_size(size: tuple[int, ...] | torch.Size, factor: int, dims: int = 2) -> None:
    """Check that a state has `dims` sides, each a multiple of the down-sampling factor.

    Raises:
        FromNoiseError: the number of sides is wrong, or a side is not a multiple; the message names a size that fits.
    """
    given = "x".join(map(str, size))
    if len(size) != dims:
        has = f"sides {given}" if size else "no sides"
        way_out = f"a unet with dims={len(size)} is for those" if len(size) in CONV else "an mlp takes any shape"
        raise FromNoiseError(f"the network is for {KIND[dims]}s {_SHAPE[dims]}, and the data have {has}: {way_out}")
    if any(side % factor or side < factor for side in size):
        fits = "x".join(str(max(factor, round(side / factor) * factor)) for side in size)
        raise FromNoiseError(
            f"{KIND[dims]}s of {given} do not fit: the network needs sides divisible by {factor}; {fits} fits"
        )


def averaged(x: Tensor, factor: int) -> Tensor:
    """Means over cubes of side `factor`: [N, C, *size] -> [N, C, *size / factor].

    Raises:
        FromNoiseError: x does not have one to three axes besides its channels.
    """
    dims = x.dim() - 2
    if dims not in _AVERAGED:
        raise FromNoiseError(f"only signals, images and volumes have neighbours to average; got {list(x.shape)}")
    return _AVERAGED[dims](x, factor)


def repeated(x: Tensor, factor: int) -> Tensor:
    """Every element repeated `factor` times along each axis: [N, C, *size] -> [N, C, *size factor]."""
    return F.interpolate(x, scale_factor=float(factor), mode="nearest")


def folded(x: Tensor, side: int) -> Tensor:
    """Fold cubes of the given side into channels: [N, C, *size] -> [N, C side^dims, *size / side].

    For images, channel (c side + i) side + j holds the elements at (i, j) of the squares in channel c.
    """
    if side == 1:
        return x
    if x.dim() == 4:
        return F.pixel_unshuffle(x, side)
    dims = x.dim() - 2
    split = x.view(*x.shape[:2], *(n for length in x.shape[2:] for n in (length // side, side)))
    places, inside = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    return split.permute(0, 1, *inside, *places).flatten(1, 1 + dims)


def unfolded(x: Tensor, side: int) -> Tensor:
    """The inverse of `folded`."""
    if side == 1:
        return x
    if x.dim() == 4:
        return F.pixel_shuffle(x, side)
    dims = x.dim() - 2
    split = x.unflatten(1, (-1, *(side,) * dims))
    order = (axis for pair in zip(range(2 + dims, 2 + 2 * dims), range(2, 2 + dims), strict=True) for axis in pair)
    return split.permute(0, 1, *order).reshape(x.shape[0], -1, *(length * side for length in x.shape[2:]))
