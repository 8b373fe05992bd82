"""Dropout with cheap random numbers on the CPU."""

import torch
from torch import Tensor, nn

_LEVELS = 2**16


class Dropout(nn.Dropout):
    """y = x m / (1 - p), m = 1 with probability 1 - p, else 0; in evaluation y = x.

    On the CPU, PyTorch draws one number per element, one after the other, which takes a tenth of a training step of the
    thesis' network. This module draws 64 random bits for four elements, so p (and with it the factor) is rounded to a
    multiple of 2^-16. `benchmarks/kernels.py` measures both.
    """

    def forward(self, x: Tensor) -> Tensor:  # pyrefly: ignore[bad-override]
        dropped = round(self.p * _LEVELS)
        on_cpu = x.device.type == "cpu" and not torch.compiler.is_compiling()
        if not (self.training and on_cpu and 0 < dropped < _LEVELS):
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = bits.view(torch.int16)[: x.numel()] >= dropped - _LEVELS // 2
        kept = kept.as_strided(x.shape, torch.empty_like(x, device="meta").stride())  # in x's memory order
        return (x * kept).mul_(_LEVELS / (_LEVELS - dropped))
