"""A multilayer perceptron with residual blocks, for points and other small states of any shape."""

import math

import torch
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn.conditioning import Conditioned
from fromnoise.nn.dropout import Dropout
from fromnoise.nn.layers import init_fan_avg, zeroed
from fromnoise.nn.spatial import KIND
from fromnoise.registry import register


class DenseBlock(nn.Module):
    """y = h + W_2 dropout(silu((1 + s) W_1 h + b)), s, b = W emb: [N, width], [N, width] (after SiLU) -> [N, width].

    W_2 starts at zero, so that a fresh block is the identity. There is no normalisation: it would remove a point's
    distance from the origin.
    """

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.inner, self.time = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.act, self.dropout, self.out = nn.SiLU(), Dropout(dropout), nn.Linear(width, width)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.time(emb).chunk(2, 1)
        return h + self.out(self.dropout(self.act(torch.addcmul(shift, self.inner(h), 1 + scale))))


@register("mlp")
class MLP(Conditioned):
    """F(x, t): [N, in_channels, *sides], [N] -> [N, out_channels, *sides]; points are [N, D] with D = in_channels.

    A state is flattened into one vector: h = W x, `depth` residual blocks, W silu(h). A fresh network's output is zero.
    For signals, images and volumes a U-Net learns more from fewer examples.

    Args:
        in_channels: coordinates of a point, or channels of a state with sides.
        out_channels: channels of the output; default: `in_channels`.
        sides: axes of a state besides its channels: () for points, (L,) for signals, (H, W) for images, ...
        width: width of every layer.
        depth: number of residual blocks.
        dropout: dropout probability in every block.
        time_features: width of the sinusoidal embedding of the time; default: `width`.
        classes: number of classes, for a class-conditional network: F(x, t, label), label [N] in 0..classes - 1.
        null_label: whether one more label, number `classes`, stands for "no class". Classifier-free guidance needs it,
            and a call without a label uses it. The attribute of the same name holds its number, or None.
        numbers: further scalar conditions, [N] each: "guidance", a guidance scale, and "span", the length of a step.
            Distillation needs them. Their layers start at zero, and a call may leave them out.
        time_scale: factor on the time before its sinusoids; with 0.01 the network is smooth in the time.
        text: for a text-conditional network, F(x, t, text=): the options of `nn.words.TextInput`. The vector of the
            whole text is added to the time embedding.
        image_embedding: size of an image embedding, for the decoder of unCLIP: F(x, t, image_embedding=), [N, size].
            It is added to the time embedding; a call without it means none.

    Raises:
        FromNoiseError: in_channels, a side, width or depth is below 1; in `forward`, a state has the wrong shape.
    """

    def __init__(
        self,
        in_channels: int = 2,
        out_channels: int | None = None,
        sides: tuple[int, ...] = (),
        width: int = 256,
        depth: int = 4,
        dropout: float = 0.0,
        time_features: int | None = None,
        classes: int | None = None,
        null_label: bool = False,
        numbers: tuple[str, ...] = (),
        time_scale: float = 1.0,
        text: dict[str, int] | None = None,
        image_embedding: int | None = None,
    ):
        if min(in_channels, width, depth, *sides) < 1:
            raise FromNoiseError(f"an mlp needs in_channels, sides, width and depth of at least 1; got {in_channels}, "
                                 f"{list(sides)}, {width} and {depth}")  # fmt: skip
        super().__init__(1, time_features or width, True, width, classes, null_label, dims=len(sides),
                         numbers=numbers, time_scale=time_scale, text=text,
                         image_embedding=image_embedding)  # fmt: skip
        self.shape, size = (in_channels, *sides), math.prod(sides)
        self.stem = nn.Linear(in_channels * size, width)
        blocks = [DenseBlock(width, dropout) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.act, self.out = nn.SiLU(), nn.Linear(width, (out_channels or in_channels) * size)
        self.apply(init_fan_avg)
        for block in blocks:
            zeroed(block.out)
        zeroed(self.out)

    def check_size(self, size: tuple[int, ...] | torch.Size) -> None:
        """Raise FromNoiseError if the sides are not those that the network was made for."""
        if tuple(size) != self.shape[1:]:
            raise FromNoiseError(f"the mlp is for states with sides {list(self.shape[1:])}, and these have "
                                 f"{list(size)}: network.sides={list(size)} is for those")  # fmt: skip

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        label: Tensor | None = None,
        guidance: Tensor | None = None,
        span: Tensor | None = None,
        text: Tensor | None = None,
        image_embedding: Tensor | None = None,
    ) -> Tensor:
        self.check_size(x.shape[2:])
        if x.shape[1] != self.shape[0]:
            what = "channels" if self.dims else "numbers"
            raise FromNoiseError(f"the mlp takes {KIND.get(self.dims, 'state')}s of {self.shape[0]} {what}, got "
                                 f"{x.shape[1]}: network.in_channels={x.shape[1]} is for those")  # fmt: skip
        emb = self.embedding(time, label, self.stem.weight.dtype, numbers={"guidance": guidance, "span": span},
                             words=self.words(text, x.shape[0]), image_embedding=image_embedding)  # fmt: skip
        h = self.stem(x.flatten(1))
        for block in self.blocks:
            h = block(h, emb)
        return self.out(self.act(h)).view(x.shape[0], -1, *x.shape[2:])
