"""LPIPS: the perceptual distance of two images, by the features of VGG."""

import warnings
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError


def perceptual(x: Tensor, y: Tensor) -> Tensor:
    """LPIPS (Zhang et al. 2018) of images in [-1, 1]: [N, C, H, W], [N, C, H, W] -> [N], float32.

    C is 1 or 3, and the sides are at least 16.

    Raises:
        FromNoiseError: lpips is not installed, or VGG's weights are missing and cannot be downloaded.
    """
    network = _network(x.device)
    with torch.autocast(x.device.type, enabled=False):
        rgb = [v.float().expand(-1, 3, -1, -1) for v in (x, y)]
        return network(*rgb).flatten()


@lru_cache(maxsize=4)
def _network(device: torch.device) -> Any:
    """The frozen LPIPS network, which is neither trained nor saved."""
    try:
        import lpips
    except ImportError:
        raise FromNoiseError('loss.perceptual needs lpips: pip install "fromnoise[perceptual]"') from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torchvision warns of lpips's old-style call
            network = lpips.LPIPS(net="vgg", verbose=False)
    except OSError as error:
        raise FromNoiseError(
            f"loss.perceptual needs VGG's weights, which could not be downloaded ({error}): put "
            f"vgg16-397923af.pth into {torch.hub.get_dir()}/checkpoints, or set loss.perceptual=0"
        ) from None
    return network.requires_grad_(False).eval().to(device)
