"""AdamW: steps along each gradient's running mean, divided by the root of its running mean square."""

from collections.abc import Mapping

import torch
from torch import nn

from fromnoise.registry import register
from fromnoise.train.config import TrainConfig
from fromnoise.train.optimizers.wrapped import Wrapped


@register("adamw")
class AdamW(Wrapped):
    """theta <- theta - lr (m / (sqrt(v) + 1e-8) + weight_decay theta), m and v the corrected moments of the gradient.

    This is torch's own implementation, fused if possible. Source: Loshchilov and Hutter 2019 (arXiv 1711.05101).

    Args:
        parameters: the parameters by name.
        config: uses `lr`, `betas` and `weight_decay`.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: TrainConfig):
        fused = all(p.device.type in ("cpu", "cuda") for p in parameters.values())
        made = torch.optim.AdamW(
            parameters.values(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=fused
        )
        super().__init__(made, parameters, config.lr)
