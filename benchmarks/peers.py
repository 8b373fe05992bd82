"""The networks that fromnoise is compared with: those of other libraries, and the thesis' network in plain PyTorch.

There are two sizes. "cifar" is DDPM's U-Net for CIFAR-10 (35.7 M parameters); diffusers has the same layers, and
smalldiffusion the same except for attention and time embedding. "thesis" is the thesis' U-Net for MNIST (7.3 M). If a
library's design differs, its width is chosen so that an image costs the same number of multiplications within about
10 %; `speed.py` prints both counts for every network.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

import fromnoise as fn

SHAPES = {"cifar": (3, 32, 32), "thesis": (1, 32, 32)}
DROPOUT = 0.1


@dataclass(frozen=True)
class Peer:
    """A library's network: `build` makes it for a size, `call` runs it on x and times in 0..999."""

    build: Callable[[str], nn.Module]
    call: Callable[[nn.Module, Tensor, Tensor], Tensor] = lambda network, x, t: network(x, t)


def ours(size: str) -> nn.Module:
    return fn.recipes.load({"cifar": "ddpm-cifar10", "thesis": "thesis-mnist"}[size]).build().network


def diffusers(size: str) -> nn.Module:
    from diffusers import UNet2DModel

    if size == "cifar":
        widths, down, up, more = (128, 256, 256, 256), ["DownBlock2D"] * 4, ["UpBlock2D"] * 4, {"layers_per_block": 2}
        down[1], up[2] = "AttnDownBlock2D", "AttnUpBlock2D"
        more |= {"attention_head_dim": None, "flip_sin_to_cos": False, "freq_shift": 1, "downsample_padding": 0}
    else:
        widths, down, up, more = (24, 48, 96, 192), ["DownBlock2D"] * 4, ["UpBlock2D"] * 4, {"layers_per_block": 1}
        more |= {"norm_num_groups": 8, "add_attention": False}
    channels = SHAPES[size][0]
    return UNet2DModel(
        sample_size=32, in_channels=channels, out_channels=channels, block_out_channels=widths, dropout=DROPOUT,
        down_block_types=tuple(down), up_block_types=tuple(up), **more,
    )  # fmt: skip


def smalldiffusion(size: str) -> nn.Module:
    from smalldiffusion.model_unet import Unet

    more = {"cifar": {"ch": 128, "ch_mult": (1, 2, 2, 2)},
            "thesis": {"ch": 32, "ch_mult": (1, 1, 3, 6), "num_res_blocks": 1, "attn_resolutions": ()}}  # fmt: skip
    channels = SHAPES[size][0]
    return Unet(32, channels, channels, dropout=DROPOUT, **more[size])


def denoising_diffusion_pytorch(size: str) -> nn.Module:
    from denoising_diffusion_pytorch import Unet

    more = {"cifar": {"dim": 148, "dim_mults": (1, 2, 2, 2)}, "thesis": {"dim": 24, "dim_mults": (1, 2, 4, 8)}}[size]
    return Unet(channels=SHAPES[size][0], dropout=DROPOUT, flash_attn=False, **more)


class Azula(nn.Module):
    """azula's U-Net takes a modulation vector; as in its tutorials, it comes from sines and a small perceptron."""

    def __init__(self, size: str):
        super().__init__()
        from azula.nn.layers import SineEncoding
        from azula.nn.unet import UNet

        widths, blocks = {"cifar": ((128, 256, 256, 256), (4, 3, 3, 3)), "thesis": ((32, 64, 128, 256), (1, 1, 1, 2))}[
            size
        ]
        channels = SHAPES[size][0]
        self.time = nn.Sequential(SineEncoding(128), nn.Linear(128, 256), nn.SiLU(), nn.Linear(256, 256))
        self.network = UNet(channels, channels, hid_channels=widths, hid_blocks=blocks, mod_features=256,
                            norm="group", dropout=DROPOUT)  # fmt: skip

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.network(x, self.time(t / 1000).to(x.dtype))


class Plain(nn.Module):
    """The thesis' network as in its notebook: torch's layers, in the same order as in fromnoise."""

    def __init__(self):
        super().__init__()
        widths = (32, 64, 128, 256)
        self.time = nn.Sequential(nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU())
        self.stem = nn.Conv2d(1, 32, 3, padding=1)
        self.down = nn.ModuleList(PlainBlock(w, w) for w in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths))
        self.middle = nn.ModuleList([PlainBlock(256, 256), PlainBlock(256, 256)])
        self.first = PlainBlock(256, 256)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 4, 2, 1) for a, b in reversed(list(pairwise(widths))))
        self.up = nn.ModuleList(PlainBlock(2 * w, w) for w in reversed(widths[:-1]))
        self.end = nn.Sequential(nn.GroupNorm(8, 32, 1e-5), nn.SiLU(), nn.Conv2d(32, 1, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angle = t[:, None] * torch.exp(torch.arange(64) * (-math.log(10_000) / 64))
        emb = self.time(torch.cat([angle.sin(), angle.cos()], 1).to(x.dtype))
        h, kept = self.stem(x), []
        for i, block in enumerate(self.down):
            h = block(h, emb)
            if i < 3:
                kept.append(h)
                h = self.shrink[i](h)
        for block in self.middle:
            h = block(h, emb)
        h = self.first(h, emb)
        for grow, block in zip(self.grow, self.up, strict=True):
            h = block(torch.cat([grow(h), kept.pop()], 1), emb)
        return self.end(h)


class PlainBlock(nn.Module):
    def __init__(self, a: int, b: int):
        super().__init__()
        self.one = nn.Sequential(nn.GroupNorm(8, a, 1e-5), nn.SiLU(), nn.Conv2d(a, b, 3, padding=1))
        self.time = nn.Linear(128, b)
        self.two = nn.Sequential(
            nn.GroupNorm(8, b, 1e-5), nn.SiLU(), nn.Dropout(DROPOUT), nn.Conv2d(b, b, 3, padding=1)
        )
        self.side = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.side(x) + self.two(self.one(x) + self.time(emb)[:, :, None, None])


PEERS = {
    "fromnoise": Peer(ours),
    "diffusers": Peer(diffusers, lambda network, x, t: network(x, t).sample),
    "smalldiffusion": Peer(smalldiffusion, lambda network, x, t: network(x, (t + 1) / 100)),
    "denoising-diffusion-pytorch": Peer(denoising_diffusion_pytorch),
    "azula": Peer(Azula),
    "plain torch": Peer(lambda size: Plain()),
}
"""Networks by package name; "plain torch" exists only in the thesis' size."""
