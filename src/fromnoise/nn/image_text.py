"""CLIP on noisy images: embeds images at every noise level, and captions, as comparable vectors."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.nn.half_unet import HalfUNet
from fromnoise.nn.spatial import Dims
from fromnoise.nn.words import text_input
from fromnoise.registry import register

_WARMEST = math.log(100)


@register("image-text")
class ImageTextNetwork(nn.Module):
    """x, t, text -> (u, w): unit vectors [N, outputs] of states and texts, e^s u'w their similarity.

    States are embedded by a `HalfUNet`, which is conditioned on the time; texts by the text input of the
    text-conditional networks.
    Source: Radford et al. 2021 (CLIP, arXiv 2103.00020); Nichol et al. 2021 (GLIDE, arXiv 2112.10741), section 2.3, on
    noisy images.

    Args:
        text: the options of `nn.words.TextInput`.
        outputs: length of the vectors u and w.
        in_channels, channels, mult, blocks, attention, heads, groups, dropout, patch, dims: see `HalfUNet`.
    """

    denoises: ClassVar[bool] = False

    def __init__(
        self,
        text: dict[str, int],
        outputs: int = 128,
        in_channels: int = 3,
        channels: int = 64,
        mult: tuple[int, ...] = (1, 2, 2),
        blocks: int = 1,
        attention: tuple[int, ...] = (4,),
        heads: int = 1,
        groups: int = 8,
        dropout: float = 0.0,
        patch: int = 1,
        dims: Dims = 2,
    ):
        super().__init__()
        self.image = HalfUNet(outputs, in_channels, channels, mult, blocks, attention, heads, None, groups,
                              dropout=dropout, patch=patch, dims=dims)  # fmt: skip
        self.text = text_input(text)
        self.of_text = nn.Linear(self.text.width, outputs)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def scale(self) -> Tensor:
        """e^s, which is learned, and at most 100."""
        return self.log_scale.clamp(max=_WARMEST).exp()

    def check_size(self, size: tuple[int, ...]) -> None:
        """Raise FromNoiseError if states with these sides do not fit; see `HalfUNet`."""
        self.image.check_size(size)

    def of_states(self, x: Tensor, time: Tensor) -> Tensor:
        """u: [N, outputs], float32."""
        return F.normalize(self.image(x, time).float())

    def of_texts(self, text: Tensor) -> Tensor:
        """w: [N, outputs], float32."""
        return F.normalize(self.of_text(self.text(text).rows[:, 0]).float())

    def forward(self, x: Tensor, time: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(u, w, e^s): everything that the loss needs, in one call, as data-parallel training requires."""
        return self.of_states(x, time), self.of_texts(text), self.scale
