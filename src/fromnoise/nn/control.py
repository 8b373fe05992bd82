"""ControlNet: a trained branch beside a frozen U-Net, with which an image steers it."""

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
"""Most channels of the conditioning image."""


class _Copy(Encoder):
    """A copy of the stem, the downward path and the middle of a U-Net."""

    def __init__(self, of: Encoder):
        super().__init__()
        self.stem, self.down, self.mid = copy.deepcopy(of.stem), copy.deepcopy(of.down), copy.deepcopy(of.mid)
        self.mid_attention = copy.deepcopy(of.mid_attention)


@register("control")
class Control(nn.Module):
    """F(x, t, image) = up(m + Z m', s_i + Z_i s'_i), (m, s) = down(x, t), (m', s') = down'(x, t, R image).

    x: [N, C, *size], t: [N], image: [N, image_channels, *size] -> [N, out_channels, *size]. `down` and `up` belong to a
    U-Net that is frozen and in evaluation mode; down' is a trained copy of its stem, downward path and middle; R is
    three convolutions, whose output is added to that of the copy's stem. Z, Z_i and the last convolution of R start at
    zero, so that the output of a fresh branch is exactly that of the U-Net. The copy uses the U-Net's embedding of
    time, label and text. Source: Zhang, Rao and Agrawala 2023 (arXiv 2302.05543), section 3.

    Args:
        of: the U-Net, {"name": "unet", option: value}; it must not be conditioned on an image itself.
        image_channels: channels of the image.

    Raises:
        FromNoiseError: `of` is not such a U-Net; in `forward`, the image is missing or has the wrong shape, or the
            U-Net refuses the other inputs.
    """

    def __init__(self, of: dict[str, Any], image_channels: int = 1):
        from fromnoise.nn import registry

        super().__init__()
        name = of.get("name") if isinstance(of, Mapping) else of
        if not isinstance(of, Mapping) or name != "unet":  # checked before building: `of` may be nested
            raise FromNoiseError(f"of: must be a unet, {{'name': 'unet', ...}}, got {name!r:.60}")
        if type(image_channels) is not int or not 1 <= image_channels <= _MOST:
            raise FromNoiseError(
                f"image_channels must be a whole number from 1 to {_MOST:,}, got {image_channels!r:.60}"
            )
        network: UNet = registry.build(of)
        if network.image_channels:
            raise FromNoiseError("of: must be a unet without an image as condition: set its image_channels to 0")
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
        """Start from a U-Net's weights: they are loaded into the frozen U-Net and into the copy.

        Raises:
            RuntimeError: names or shapes do not match.
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
        """Raise FromNoiseError if the U-Net does not fit states with these sides."""
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
        """Number of classes of the U-Net, or None."""
        return self.of.classes

    @property
    def null_label(self) -> int | None:
        """The U-Net's label that stands for "no class", or None."""
        return self.of.null_label

    @property
    def null_cond(self) -> dict[str, Tensor]:
        """The values of the U-Net's other conditions that stand for "no condition"; there is none for the image."""
        return self.of.null_cond

    @property
    def text(self) -> TextInput | None:
        """The U-Net's text input, or None."""
        return self.of.text
