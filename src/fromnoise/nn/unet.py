"""The U-Net of DDPM and of the thesis, one class; of signals and volumes too."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn.encoder import Level, Parts, Resample, TextAttention, UNetEncoder, levels
from fromnoise.nn.layers import NoAttention, init_identity, zeroed
from fromnoise.nn.norm import GroupNormSiLU
from fromnoise.nn.spatial import CONV, KIND, Dims, folded, unfolded
from fromnoise.nn.words import Words
from fromnoise.registry import register

TEXT_ATTENTIONS = get_args(TextAttention)


@register("unet")
class UNet(UNetEncoder):
    """F(x, t): [N, in_channels, *size], [N] -> [N, out_channels, *size], size = (L,), (H, W) or (D, H, W).

    The defaults are DDPM's network for CIFAR-10 (35,746,307 parameters; Sedykh 2.2.3). With
    `resample="4x4", skips="levels", mult=(1, 2, 4, 8), blocks=1, attention=(), mid_attention=False`
    it is the thesis' network for MNIST (7,339,297 parameters; Sedykh 6).

    Args:
        in_channels: channels of a state.
        out_channels: channels of the output; None means those of the state.
        channels: width of the first level.
        mult: width of each level in units of `channels`; every further level halves the sides.
        blocks: residual blocks in each level on the way down (one more on the way up with skips="blocks").
        attention: down-sampling factors with self-attention: 2 is 16x16 for images of 32x32.
        mid_attention: self-attention between the two blocks in the middle.
        heads: attention heads.
        head_channels: width of a head, in place of their number.
        groups, eps: group normalisation.
        dropout: probability, in every residual block.
        time_features: width of the sinusoidal embedding; None means `channels`.
        time_width: width of the time vector after its two layers; None means 4 `channels`.
        time_endpoint: whether the lowest frequency is exactly 1/10000 (DDPM) or one step short of it.
        resample: "ddpm" is a strided 3x3 convolution down, and nearest + 3x3 up; "centered" the same with padding on
            every side (improved DDPM); "residual" a residual block that averages or repeats pixels (ADM); "projected"
            the same with a 1x1 convolution in its skip (DDPM++); "4x4" is a strided 4x4 convolution down and a
            transposed one up, which also change the width. For signals and volumes read 3 and 4 for 3x3 and 4x4, or
            3x3x3 and 4x4x4.
        skips: "blocks" joins every block of the way down to one of the way up; "levels" joins only the
            last feature map of each level, after up-sampling.
        scale_shift: the time vector scales and shifts each block's second norm (improved DDPM, ADM).
        classes: number of labels, for a network that is told one: F(x, t, label), label [N] in 0..classes - 1.
        null_label: whether there is one label more, number `classes`, that stands for none: what classifier-free
            guidance needs, and what a call without a label means. The attribute of that name is its number, or None.
        patch: places are first folded into channels in squares (pieces, cubes) of this side; 1 leaves them alone.
        image_channels: of an image that the network is shown beside x: F(x, t, image=) with image
            [N, image_channels, *size] (a signal or a volume where x is one).
        image_strength: whether it is told, too, how much that image was augmented, as super-resolution needs:
            strength= [N] in [0, 1000].
        dims: axes of a state besides its channels: 1 for signals, 2 for images, 3 for volumes.
        augment: whether it can be told how a training image was transformed: F(x, t, augment=), nine numbers [N, 9] as
            `data.Augment` gives them; a call without them means not at all.
        time_scale: factor on the time before its sinusoids. The time is in [0, 1000) for a chain of any length; a
            network trained to count the T steps of its chain needs T / 1000.
        stem_channels: width of the first convolution; None means that of the first level.
        skip_scale: what the sum that ends a block or an attention is multiplied by: sqrt(1/2) in DDPM++.
        up_attention: "last": on the way up only the last block of a level has attention (DDPM++), not every one.
        group_channels: channels that a group has at least, so that narrow layers have fewer groups; None: no limit.
        label_features: the label is added to the time's sinusoids, before the layers (DDPM++), and not after them.
        numbers: further conditions of one number each, [N], that it can be given: "guidance", a guidance scale, and
            "span", the length of a step; distillation needs them. A fresh network is as one without.
        text: for a text-conditional network, F(x, t, text=): the options of `nn.words.TextInput`. The whole text is
            added to the time's vector, and the attention of every level that has any sees its tokens; a call without
            means no text.
        text_attention: "joint": the words' keys and values stand beside those of the places (GLIDE); "after": a
            transformer block, whose attention to the words comes after that of the places (latent diffusion).
        image_embedding: size of an image embedding, for the decoder of unCLIP: F(x, t, image_embedding=), [N, size];
            it is added to the time's vector, and a call without means none.

    Raises:
        FromNoiseError: in `forward`, when there are not `dims` sides, or one is not divisible by `patch` times the
            down-sampling.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int | None = None,
        channels: int = 128,
        mult: tuple[int, ...] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: tuple[int, ...] = (2,),
        mid_attention: bool = True,
        heads: int = 1,
        groups: int = 32,
        eps: float = 1e-6,
        dropout: float = 0.0,
        time_features: int | None = None,
        time_width: int | None = None,
        time_endpoint: bool = True,
        head_channels: int | None = None,
        resample: Resample = "ddpm",
        skips: Literal["blocks", "levels"] = "blocks",
        scale_shift: bool = False,
        classes: int | None = None,
        null_label: bool = False,
        patch: int = 1,
        image_channels: int = 0,
        image_strength: bool = True,
        dims: Dims = 2,
        augment: bool = False,
        time_scale: float = 1.0,
        stem_channels: int | None = None,
        skip_scale: float = 1.0,
        up_attention: Literal["every", "last"] = "every",
        group_channels: int | None = None,
        label_features: bool = False,
        numbers: tuple[str, ...] = (),
        text: dict[str, int] | None = None,
        text_attention: TextAttention = "joint",
        image_embedding: int | None = None,
    ):
        if text_attention not in TEXT_ATTENTIONS:
            raise FromNoiseError(f"text_attention must be {' or '.join(TEXT_ATTENTIONS)}, got {text_attention!r}")
        factor, emb = patch * 2 ** (len(mult) - 1), time_width or 4 * channels
        tells_strength = image_channels > 0 and image_strength
        super().__init__(factor, time_features or channels, time_endpoint, emb, classes, null_label, tells_strength,
                         dims, augment, time_scale, label_features, numbers, text, image_embedding)  # fmt: skip
        self.patch, self.skip_blocks, self.image_channels = patch, skips == "blocks", image_channels
        widths = [channels * m for m in mult]
        parts = Parts(emb, attention, heads, head_channels, groups, eps, dropout, scale_shift, resample, dims,
                      skip_scale, group_channels, self.text.width if self.text else None,
                      text_attention)  # fmt: skip
        seen = (in_channels + image_channels) * patch**dims
        joined = self._build_down(seen, widths, blocks, parts, mid_attention, stem_channels)
        self.skip_widths, self.middle_width = tuple(joined if self.skip_blocks else widths[:-1]), widths[-1]
        _, up = parts.resamplers()
        c = widths[-1]

        self.up = nn.ModuleList()
        for i, width in reversed(list(enumerate(widths))):
            level = Level()
            for j in range(blocks + self.skip_blocks):
                if self.skip_blocks:
                    c += joined.pop()
                elif j == 0 and i + 1 < len(widths):
                    c += width
                level.blocks.append(parts.block(c, width))
                attends = up_attention == "every" or j == blocks + self.skip_blocks - 1
                level.attention.append(parts.attend(width, 2**i) if attends else NoAttention())
                c = width
            if i > 0:
                after = widths[i - 1] if parts.resampling_widens else c
                level.resample = up(c, after)
                c = after
            self.up.append(level)

        self.norm = GroupNormSiLU(groups, c, eps, group_channels=group_channels)
        self.out = CONV[dims](c, (out_channels or in_channels) * patch**dims, 3, padding=1)

        init_identity(self)
        zeroed(self.out)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        label: Tensor | None = None,
        image: Tensor | None = None,
        strength: Tensor | None = None,
        augment: Tensor | None = None,
        guidance: Tensor | None = None,
        span: Tensor | None = None,
        text: Tensor | None = None,
        image_embedding: Tensor | None = None,
    ) -> Tensor:
        self.check_size(x.shape[2:])
        if (image is None) == bool(self.image_channels):
            a_kind = "an image" if self.dims == 2 else f"a {KIND[self.dims]}"
            raise FromNoiseError(f"this network needs {a_kind} beside x: give image=" if image is None else
                                 f"this network is shown no {KIND[self.dims]} beside x: leave image= out")  # fmt: skip
        words = self.words(text, x.shape[0])
        emb = self.embedding(time, label, self.stem.weight.dtype, strength, augment,
                             {"guidance": guidance, "span": span}, words, image_embedding)  # fmt: skip
        if image is not None:
            x = torch.cat([x, image.to(x.dtype)], 1)
        h, skips = self.walk_down(folded(x, self.patch), emb, self.skip_blocks, words)
        return self.walk_up(h, skips, emb, words)

    def walk_up(self, h: Tensor, skips: list[Tensor], emb: Tensor, words: Words | None) -> Tensor:
        """The output, from what `walk_down` gives, which is used up; emb and words as there."""
        for depth, level in enumerate(levels(self.up)):
            for j, (block, attention) in enumerate(level.units()):
                if self.skip_blocks or (j == 0 and depth > 0):
                    h = torch.cat([h, skips.pop()], 1)
                h = attention(block(h, emb), words)
            if level.resample is not None:
                h = level.resized(h, emb)
        return unfolded(self.out(self.norm(h)), self.patch)
