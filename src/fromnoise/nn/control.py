"""A trained branch beside a frozen U-Net, by which an image steers it: ControlNet."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn.encoder import Encoder
from fromnoise.nn.layers import init_fan_avg, zeroed
from fromnoise.nn.spatial import CONV, KIND, folded
from fromnoise.nn.unet import UNet
from fromnoise.nn.words import TextInput
from fromnoise.registry import register

_MOST = 4096
"""Channels of an image."""


class _Copy(Encoder):
    """The way down and the middle of a network, as layers of its own with the same weights."""

    def __init__(self, of: Encoder):
        super().__init__()
        self.stem, self.down, self.mid = copy.deepcopy(of.stem), copy.deepcopy(of.down), copy.deepcopy(of.mid)
        self.mid_attention = copy.deepcopy(of.mid_attention)


@register("control")
class Control(nn.Module):
    """F(x, t, image) = up(m + Z m', s_i + Z_i s'_i), (m, s) = down(x, t), (m', s') = down'(x, t, R image).

    x: [N, C, *size], t: [N], image: [N, image_channels, *size] -> [N, out_channels, *size]. `down` and `up` are those
    of a U-Net whose weights stay as they are, in evaluation mode; down' is a copy of its stem, way down and middle,
    which is trained; R are three convolutions, whose output is added to that of the copy's stem; Z, Z_i and the last of
    R are zero at first, so that a fresh branch gives exactly what the U-Net gives. The vector of time, label and text
    is the U-Net's own, for the copy too. Source: Zhang, Rao and Agrawala 2023 (arXiv 2302.05543), section 3.

    Args:
        of: the U-Net: {"name": "unet", option: value}, which is shown no image itself.
        image_channels: of the image.

    Raises:
        FromNoiseError: `of` is no such network; in `forward`, the image is missing or of another shape, and as
            `UNet`.
    """

    def __init__(self, of: dict[str, Any], image_channels: int = 1):
        from fromnoise.nn import registry

        super().__init__()
        name = of.get("name") if isinstance(of, Mapping) else of
        if not isinstance(of, Mapping) or name != "unet":  # before anything is built, which may be nested without end
            raise FromNoiseError(f"of: a branch steers a unet, {{'name': 'unet', ...}}, and this is {name!r:.60}")
        if type(image_channels) is not int or not 1 <= image_channels <= _MOST:
            raise FromNoiseError(
                f"image_channels must be a whole number from 1 to {_MOST:,}, got {image_channels!r:.60}"
            )
        network: UNet = registry.build(of)
        if network.image_channels:
            raise FromNoiseError("of: a branch steers a unet that is shown no image, and this is shown one already")
        conv, stem = CONV[network.dims], network.stem.out_channels
        self.image_channels, self.of = image_channels, network
        self.copy = _Copy(network)
        seen = image_channels * network.patch**network.dims
        first, second, last = (conv(width, stem, 3, padding=1) for width in (seen, stem, stem))
        self.reader = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last).apply(init_fan_avg)
        ends = [conv(width, width, 1) for width in (*network.skip_widths, network.middle_width)]
        self.zeros = nn.ModuleList(ends)
        for layer in (last, *ends):
            zeroed(layer)
        self.of.requires_grad_(False)
        self.of.eval()

    def start(self, weights: Mapping[str, Tensor]) -> None:
        """Begin with a U-Net's weights, which are those of the copy too.

        Raises:
            RuntimeError: names or shapes do not fit.
        """
        self.of.load_state_dict(weights)
        self.copy.load_state_dict({name: weights[name] for name in self.copy.state_dict()})

    def train(self, mode: bool = True) -> "Control":
        super().train(mode)
        self.of.eval()
        return self

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        label: Tensor | None = None,
        image: Tensor | None = None,
        text: Tensor | None = None,
    ) -> Tensor:
        of = self.of
        self.check_size(x.shape[2:])
        self._check_image(x, image)
        words = of.words(text, x.shape[0])
        emb = of.embedding(time, label, of.stem.weight.dtype, words=words)
        folds = folded(x, of.patch)
        h, skips = of.walk_down(folds, emb, of.skip_blocks, words)
        hint = self.reader(folded(image.to(x.dtype), of.patch))  # pyrefly: ignore[missing-attribute]
        middle, own = self.copy.walk_down(folds, emb, of.skip_blocks, words, hint)
        *steered, h = [a + zero(b) for a, b, zero in zip((*skips, h), (*own, middle), self.zeros, strict=True)]
        return of.walk_up(h, steered, emb, words)

    def check_size(self, size: tuple[int, ...] | torch.Size) -> None:
        """As the U-Net's."""
        self.of.check_size(size)

    def _check_image(self, x: Tensor, image: Tensor | None) -> None:
        a_kind = "an image" if self.of.dims == 2 else f"a {KIND[self.of.dims]}"
        if image is None:
            raise FromNoiseError(f"this network needs {a_kind} beside x: give image=")
        wanted = (x.shape[0], self.image_channels, *x.shape[2:])
        if tuple(image.shape) != wanted:
            raise FromNoiseError(f"image must be {list(wanted)}, as x is, got {list(image.shape)}")

    @property
    def classes(self) -> int | None:
        """How many labels the U-Net knows."""
        return self.of.classes

    @property
    def null_label(self) -> int | None:
        """Its number that stands for no label."""
        return self.of.null_label

    @property
    def null_cond(self) -> dict[str, Tensor]:
        """What else stands for no condition; nothing stands for no image."""
        return self.of.null_cond

    @property
    def text(self) -> TextInput | None:
        """What reads its words."""
        return self.of.text
