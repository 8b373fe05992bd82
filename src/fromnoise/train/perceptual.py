"""LPIPS: how far two images are apart to the eye, by the features of VGG."""

import warnings
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError


def perceptual(x: Tensor, y: Tensor) -> Tensor:
    """LPIPS (Zhang et al. 2018) of images in [-1, 1], [N, C, H, W] with 1 or 3 channels, sides from 16: [N], float32.

    Raises:
        FromNoiseError: lpips is not installed, or VGG's weights are neither here nor to be had.
    """
    network = _network(x.device)
    with torch.autocast(x.device.type, enabled=False):
        rgb = [v.float().expand(-1, 3, -1, -1) for v in (x, y)]
        return network(*rgb).flatten()


@lru_cache(maxsize=4)
def _network(device: torch.device) -> Any:
    """Frozen, and no part of what is trained or saved."""
    try:
        import lpips
    except ImportError:
        raise FromNoiseError('loss.perceptual needs lpips: pip install "fromnoise[perceptual]"') from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torchvision on how lpips asks it for VGG
            network = lpips.LPIPS(net="vgg", verbose=False)
    except OSError as error:
        raise FromNoiseError(
            f"loss.perceptual needs VGG's weights, which could not be downloaded ({error}): put "
            f"vgg16-397923af.pth into {torch.hub.get_dir()}/checkpoints, or set loss.perceptual=0"
        ) from None
    return network.requires_grad_(False).eval().to(device)
