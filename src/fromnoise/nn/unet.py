"""The U-Net of DDPM, improved DDPM, ADM, DDPM++ and the thesis, for signals, images and volumes."""

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

    The defaults are DDPM's network for CIFAR-10 (35,746,307 parameters; Sedykh 2.2.3). The thesis' network for MNIST
    (7,339,297 parameters; Sedykh 6) has
    `resample="4x4", skips="levels", mult=(1, 2, 4, 8), blocks=1, attention=(), mid_attention=False`.

    Args:
        in_channels: channels of a state.
        out_channels: channels of the output; default: `in_channels`.
        channels: width of the first level.
        mult: width of each level in units of `channels`; every further level halves the sides.
        blocks: residual blocks in each level on the way down (one more on the way up with skips="blocks").
        attention: down-sampling factors with self-attention: 2 is 16x16 for images of 32x32.
        mid_attention: whether there is self-attention between the two blocks in the middle.
        heads: attention heads.
        head_channels: width of a head; if given, it replaces `heads`.
        groups, eps: number of groups and epsilon of the group normalisation.
        dropout: dropout probability in every residual block.
        time_features: width of the sinusoidal embedding of the time; default: `channels`.
        time_width: width of the time embedding after its two layers; default: 4 `channels`.
        time_endpoint: whether the lowest frequency is exactly 1/10000 (DDPM) or one step short of it.
        resample: how the sides change between levels. "ddpm": a strided 3x3 convolution down, nearest-neighbour
            up-sampling and a 3x3 convolution up. "centered": the same with padding on every side (improved DDPM).
            "residual": residual blocks that average or repeat pixels (ADM). "projected": the same with a 1x1
            convolution in their skip connections (DDPM++). "4x4": a strided 4x4 convolution down and a transposed one
            up, which also change the width. For signals and volumes, kernels are 3 and 4 wide along every axis as well.
        skips: "blocks" connects every block on the way down to one on the way up; "levels" connects only the last
            feature map of each level, after up-sampling.
        scale_shift: whether the time embedding scales and shifts each block's second norm (improved DDPM, ADM) instead
            of being added before it.
        classes: number of classes, for a class-conditional network: F(x, t, label), label [N] in 0..classes - 1.
        null_label: whether one more label, number `classes`, stands for "no class". Classifier-free guidance needs it,
            and a call without a label uses it. The attribute of the same name holds its number, or None.
        patch: side of the squares (of a signal: stretches; of a volume: cubes) that are first folded into channels; 1
            for none.
        image_channels: channels of an image that conditions the network: F(x, t, image=), [N, image_channels, *size] (a
            signal or a volume if x is one); 0 for none.
        image_strength: whether the network is also conditioned on how strongly that image was augmented, as
            super-resolution needs it: strength=, [N] in [0, 1000].
        dims: axes of a state besides its channels: 1 for signals, 2 for images, 3 for volumes.
        augment: whether the network can be conditioned on the augmentation of a training image: F(x, t, augment=), nine
            numbers [N, 9] from `data.Augment`; a call without them means no augmentation.
        time_scale: factor on the time before its sinusoids. Times lie in [0, 1000) for a chain of any length; a
            network trained to count the T steps of its chain needs T / 1000.
        stem_channels: width of the first convolution; default: width of the first level.
        skip_scale: factor on the sum at the end of every residual block and attention: sqrt(1/2) in DDPM++.
        up_attention: "every": all blocks of a level on the way up have attention; "last": only the last one (DDPM++).
        group_channels: least number of channels in a group, so that narrow layers have fewer groups; None: no limit.
        label_features: whether the label embedding is added to the time's sinusoids, before the layers (DDPM++),
            instead of after them.
        numbers: further scalar conditions, [N] each: "guidance", a guidance scale, and "span", the length of a step.
            Distillation needs them. Their layers start at zero, and a call may leave them out.
        text: for a text-conditional network, F(x, t, text=): the options of `nn.words.TextInput`. The vector of the
            whole text is added to the time embedding, and every attention attends to the text's tokens, too. A call
            without it means no text.
        text_attention: "joint": the keys and values of the text are appended to those of the positions (GLIDE);
            "after": a transformer block with self-attention and then cross-attention to the text (latent diffusion).
        image_embedding: size of an image embedding, for the decoder of unCLIP: F(x, t, image_embedding=), [N, size].
            It is added to the time embedding; a call without it means none.

    Raises:
        FromNoiseError: in `forward`, if a state does not have `dims` sides, or a side is not divisible by `patch` times
            the down-sampling.
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
                                 f"this network takes no {KIND[self.dims]} beside x: leave image= out")  # fmt: skip
        words = self.words(text, x.shape[0])
        emb = self.embedding(time, label, self.stem.weight.dtype, strength, augment,
                             {"guidance": guidance, "span": span}, words, image_embedding)  # fmt: skip
        if image is not None:
            x = torch.cat([x, image.to(x.dtype)], 1)
        h, skips = self.walk_down(folded(x, self.patch), emb, self.skip_blocks, words)
        return self.walk_up(h, skips, emb, words)

    def walk_up(self, h: Tensor, skips: list[Tensor], emb: Tensor, words: Words | None) -> Tensor:
        """The network's output from the results of `walk_down`; empties the list `skips`."""
        for depth, level in enumerate(levels(self.up)):
            for j, (block, attention) in enumerate(level.units()):
                if self.skip_blocks or (j == 0 and depth > 0):
                    h = torch.cat([h, skips.pop()], 1)
                h = attention(block(h, emb), words)
            if level.resample is not None:
                h = level.resized(h, emb)
        return unfolded(self.out(self.norm(h)), self.patch)
