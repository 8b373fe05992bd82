"""diffusers' networks, run as their users do, and tuned by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.system.hardware import exact_float32
from gpu_stages.context import Context


@dataclass(frozen=True)
class Way:
    """How a peer is run.

    Attributes:
        name: name in the row.
        numbers: number format in the row.
        half: whether autocast runs the network in bf16.
        tuned: whether to use channels_last and a fused AdamW.
        compiled: whether to use torch.compile.
    """

    name: str
    numbers: str
    half: bool = False
    tuned: bool = False
    compiled: bool = False


def ways(context: Context) -> dict[str, Way]:
    """All ways by name; with bf16 on a GPU."""
    numbers, half = ("bf16", True) if context.cuda else ("fp32", False)
    return {
        "default": Way("as its users run it", "fp32"),
        "tuned": Way("tuned by hand", numbers, half, True),
        "compiled": Way("tuned and compiled", numbers, half, True, True),
    }


@contextmanager
def untouched() -> Iterator[None]:
    """PyTorch's defaults for float32: convolutions in tf32, exact matrix products."""
    with exact_float32():
        for place in (torch.backends.cudnn.conv, torch.backends.cudnn.rnn):
            place.fp32_precision = "tf32"
        yield


class Training:
    """The plain training loop of the usual tutorials; its images are already on the device.

    Args:
        context: the context of the stage.
        network: diffusers' network.
        call: runs the network on x, t and labels.
        size: (batch, C, H, W).
        way: how it is run.
    """

    def __init__(self, context: Context, network: nn.Module, call: Callable[..., Tensor], size: tuple, way: Way):
        self.context, self.network, self.call, self.way = context, network.to(context.device).train(), call, way
        layout = torch.channels_last if way.tuned else torch.contiguous_format
        self.network.to(memory_format=layout)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4, fused=way.tuned or None)
        if way.compiled:
            self.network.compile(dynamic=False, **({"backend": "eager"} if context.tiny else {}))
        self.bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, device=context.device), 0)
        self.x0 = torch.randn(size, device=context.device).to(memory_format=layout)
        self.labels = torch.randint(10, (size[0],), device=context.device)

    def step(self) -> None:
        if self.way.half:
            self._step()
        else:
            with untouched():
                self._step()

    def _step(self) -> None:
        t, eps = torch.randint(1000, (len(self.x0),), device=self.x0.device), torch.randn_like(self.x0)
        bar = self.bar[t].view(-1, 1, 1, 1)
        x = bar.sqrt() * self.x0 + (1 - bar).sqrt() * eps
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.way.half):
            out = self.call(self.network, x, t, self.labels)
        F.mse_loss(out[:, : x.shape[1]].float(), eps).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def unet(context: Context) -> nn.Module:
    """UNet2DModel as DDPM's network for CIFAR-10, with the same layers as in fromnoise.

    Raises:
        ImportError: if diffusers is not installed.
    """
    if not context.tiny:
        from peers import diffusers

        return diffusers("cifar")
    from diffusers import UNet2DModel

    return UNet2DModel(sample_size=8, in_channels=3, out_channels=3, block_out_channels=(32, 64), layers_per_block=1,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D"),
                       up_block_types=("AttnUpBlock2D", "UpBlock2D"))  # fmt: skip


def dit(context: Context) -> nn.Module:
    """DiTTransformer2DModel as DiT-XL/2, initialised on the device.

    Raises:
        ImportError: if diffusers is not installed.
    """
    from diffusers import DiTTransformer2DModel

    small: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 24, "num_layers": 2, "sample_size": 8}
    with context.device:
        return DiTTransformer2DModel(in_channels=4, out_channels=8, **(small if context.tiny else {}))


CALLS: dict[str, Callable[..., Tensor]] = {
    "UNet2DModel": lambda network, x, t, labels: network(x, t).sample,
    "DiTTransformer2DModel": lambda network, x, t, labels: network(x, timestep=t, class_labels=labels).sample,
}
NETWORKS = {"UNet2DModel": unet, "DiTTransformer2DModel": dit}


def trainings(context: Context, kind: str, size: tuple, names: tuple[str, ...]) -> list[tuple[Way, Callable]]:
    """(way, a function that makes its Training) for each of the named ways."""
    found = ways(context)

    def make(way: Way) -> Training:
        return Training(context, NETWORKS[kind](context), CALLS[kind], size, way)

    return [(found[name], partial(make, found[name])) for name in names]
