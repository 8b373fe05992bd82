"""Convert parameters of improved- and guided-diffusion's U-Nets and classifiers to ours and back.

Their modules are numbered in the order in which they run, so names can be read only with the network's layout.
Source: Nichol and Dhariwal 2021 (arXiv 2102.09672), Dhariwal and Nichol 2021 (arXiv 2105.05233), their code.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.weights._state import checked
from fromnoise.weights.diffusers import swapped

# theirs -> ours
_BLOCK = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time", "out_layers.0": "norm2",
          "out_layers.3": "conv2", "skip_connection": "shortcut"}  # fmt: skip
_ATTENTION = {"norm": "norm", "qkv": "qkv", "proj_out": "out"}
_TOP = {"time_embed.0": "time.0", "time_embed.2": "time.2", "label_emb": "label", "input_blocks.0.0": "stem",
        "out.0": "norm"}  # fmt: skip
_TIME = "time.0.weight"
_POOL, _PLACES = "out.2", "out.2.positional_embedding"


@dataclass(frozen=True)
class Layout:
    """The layout of a network, which determines the numbers of its modules.

    Attributes:
        blocks: blocks in each level on the way down.
        attended: for each level, whether it has attention.
        residual: whether residual blocks change the resolution between levels, instead of convolutions.
        way_up: whether there is a way up; a classifier has a pool instead.
    """

    blocks: int
    attended: tuple[bool, ...]
    residual: bool
    way_up: bool = True

    @property
    def names(self) -> dict[str, str]:
        """{their name: our name} of every layer."""
        found = dict(_TOP)
        for theirs, ours, leaves in self._modules():
            found |= {f"{theirs}.{leaf}": f"{ours}.{own}" for leaf, own in leaves.items()} if leaves else {theirs: ours}
        return found

    def _modules(self) -> Iterator[tuple[str, str, Mapping[str, str]]]:
        """Yield (their name, our name, names inside) of all modules except the first and last ones."""
        levels = len(self.attended)
        n = 1
        for i, attends in enumerate(self.attended):
            for j in range(self.blocks):
                yield from self._unit(f"input_blocks.{n}", f"down.{i}", j, attends)
                n += 1
            if i + 1 < levels:
                yield self._step(f"input_blocks.{n}.0", "op", f"down.{i}.resample")
                n += 1
        yield "middle_block.0", "mid.0", _BLOCK
        yield "middle_block.1", "mid_attention", _ATTENTION
        yield "middle_block.2", "mid.1", _BLOCK
        if not self.way_up:
            yield f"{_POOL}.c_proj", "pool.out", {}
            return
        n = 0
        for k, attends in enumerate(reversed(self.attended)):
            for j in range(self.blocks + 1):
                yield from self._unit(f"output_blocks.{n}", f"up.{k}", j, attends)
                if k + 1 < levels and j == self.blocks:
                    yield self._step(f"output_blocks.{n}.{1 + attends}", "conv", f"up.{k}.resample")
                n += 1
        yield "out.2", "out", {}

    def _unit(self, theirs: str, ours: str, j: int, attends: bool) -> Iterator[tuple[str, str, Mapping[str, str]]]:
        yield f"{theirs}.0", f"{ours}.blocks.{j}", _BLOCK
        if attends:
            yield f"{theirs}.1", f"{ours}.attention.{j}", _ATTENTION

    def _step(self, theirs: str, leaf: str, ours: str) -> tuple[str, str, Mapping[str, str]]:
        return (theirs, ours, _BLOCK) if self.residual else (f"{theirs}.{leaf}", ours, {})


@dataclass(frozen=True)
class Attention:
    """How the rows of their layer of queries, keys and values are ordered.

    Attributes:
        heads: returns the number of heads for a width.
        by_head: whether each head's q, k and v are adjacent, as in all their networks except those made with
            use_new_attention_order.
    """

    heads: Callable[[int], int]
    by_head: bool = True

    def ours(self, rows: Tensor) -> Tensor:
        """Reorder [3 C, ...] to all queries, then all keys, then all values."""
        return self._turned(rows, lambda h: (h, 3))

    def theirs(self, rows: Tensor) -> Tensor:
        """The inverse of `ours`."""
        return self._turned(rows, lambda h: (3, h))

    def _turned(self, rows: Tensor, order: Callable[[int], tuple[int, int]]) -> Tensor:
        width = len(rows) // 3
        heads = self.heads(width)
        if not self.by_head:
            return rows
        if heads < 1 or len(rows) % (3 * heads):
            raise FromNoiseError(f"{len(rows)} rows of queries, keys and values cannot be split into {heads} heads")
        return rows.unflatten(0, (*order(heads), -1)).transpose(0, 1).flatten(0, 2)


def from_openai(state: Mapping[str, Tensor], layout: Layout, attention: Attention) -> dict[str, Tensor]:
    """Convert their state to that of our `UNet`, or of our `HalfUNet` if there is no way up.

    Raises:
        FromNoiseError: if it is not a state dict, or has a name that a network of this layout does not have.
    """
    names = layout.names
    ours: dict[str, Tensor] = {}
    for key, value in checked(state, (_PLACES,)).items():
        layer, _, kind = key.rpartition(".")
        if key == _PLACES and not layout.way_up:
            ours["pool.places"] = value.mT.contiguous()
        elif layer == f"{_POOL}.qkv_proj" and not layout.way_up:  # ours are two layers, one for the query
            third = len(value) // 3
            ours |= {f"pool.query.{kind}": _flat(value[:third]), f"pool.pair.{kind}": _flat(value[third:])}
        elif layer not in names:
            raise FromNoiseError(f"{key!r} is no parameter of a U-Net of improved- or guided-diffusion with "
                                 f"{layout.blocks} blocks a level")  # fmt: skip
        else:
            name = f"{names[layer]}.{kind}"
            ours[name] = attention.ours(_flat(value)) if _is_qkv(name) else _flat(value)
    if _TIME in ours:
        ours[_TIME] = swapped(ours[_TIME])
    return ours


def to_openai(state: Mapping[str, Tensor], layout: Layout, attention: Attention) -> dict[str, Tensor]:
    """The inverse of `from_openai`, for a `UNet`."""
    names = {ours: theirs for theirs, ours in layout.names.items()}
    theirs: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if key == _TIME:
            value = swapped(value)
        if _is_qkv(key):
            value = attention.theirs(value)
        if kind == "weight" and value.dim() == 2 and (".attention." in key or key.startswith("mid_attention.")):
            value = value[..., None]  # theirs is a one-dimensional convolution
        theirs[f"{names[layer]}.{kind}"] = value.contiguous()
    return theirs


def _is_qkv(name: str) -> bool:
    return name.rpartition(".")[0].endswith(".qkv")


def _flat(value: Tensor) -> Tensor:
    """The weight of a one-dimensional convolution of width 1 as that of a linear layer; others are unchanged."""
    return value[..., 0].contiguous() if value.dim() == 3 and value.shape[2] == 1 else value


def layout_of(state: Mapping[str, Tensor], blocks: int | None = None) -> Layout:
    """Determine the layout from names and shapes.

    Args:
        state: tensors under their names.
        blocks: blocks in each level, needed if names and shapes allow several layouts.

    Raises:
        FromNoiseError: if no layout fits, or several do.
    """
    units = 1 + max((int(key.split(".")[1]) for key in state if key.startswith("input_blocks.")), default=-1)
    widths = [_width(state, n) for n in range(1, units)]
    if not widths:
        raise FromNoiseError("not a U-Net of improved- or guided-diffusion: its way down has no blocks")
    attended = [f"input_blocks.{n}.1.qkv.weight" in state for n in range(1, units)]
    way_up = "output_blocks.0.0.in_layers.0.weight" in state
    steps = [n for n in range(units - 1) if f"input_blocks.{n + 1}.0.op.weight" in state]
    if None in widths:
        n = 1 + next(i for i, width in enumerate(widths) if width is None)
        if n - 1 not in steps:
            raise FromNoiseError(f"input_blocks.{n} has no parameters: levels without a convolution or a block between "
                                 "them (conv_resample=False) are not supported")  # fmt: skip
    found = sorted({b for b in range(1, units) if units % (b + 1) == 0 and _fits(widths, attended, steps, b)})
    if way_up:
        found = [b for b in found if _rises(state, b, bool(steps))]
    if blocks is not None:
        found = [b for b in found if b == blocks]
    if not found:
        raise FromNoiseError("not a U-Net of improved- or guided-diffusion: its blocks do not divide into levels"
                             + (f" of {blocks}" if blocks is not None else ""))  # fmt: skip
    if len(found) > 1:
        raise FromNoiseError(f"its blocks divide into levels of {' or '.join(map(str, found))}: give one, "
                             f'like={{"network": {{"blocks": {found[-1]}}}}}')  # fmt: skip
    per = found[0] + 1
    return Layout(found[0], tuple(attended[i] for i in range(0, units - 1, per)), not steps, way_up)


def _width(state: Mapping[str, Tensor], n: int) -> int | None:
    """Channels after the n-th module of the way down; None if it has no residual block."""
    weight = state.get(f"input_blocks.{n}.0.out_layers.3.weight")
    return None if weight is None else len(weight)


def _fits(widths: list[int | None], attended: list[bool], steps: list[int], blocks: int) -> bool:
    """Whether the modules after the stem are levels of `blocks` blocks, with a step after each level but the last."""
    per = blocks + 1
    ends = list(range(blocks, len(widths), per))
    if steps and steps != ends:
        return False
    for start in range(0, len(widths), per):
        own = widths[start : start + blocks]
        if len(set(own)) != 1 or len(set(attended[start : start + blocks])) != 1:
            return False
    return all(not attended[n] and widths[n] in (None, widths[n - 1]) for n in ends)


def _rises(state: Mapping[str, Tensor], blocks: int, convolved: bool) -> bool:
    """Whether the first step on the way up comes after `blocks` + 1 blocks; a network of one level has no step."""

    def has_step(n: int) -> bool:
        leaf = "conv.weight" if convolved else "in_layers.0.weight"
        return any(f"output_blocks.{n}.{k}.{leaf}" in state for k in (1, 2))

    units = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("output_blocks."))
    first = next((n for n in range(units) if has_step(n)), units - 1)
    return first == blocks and units % (blocks + 1) == 0


def heads_of(heads: int, head_channels: int | None) -> Callable[[int], int]:
    """A function from a width to its number of heads, which is fixed or follows from the channels of a head."""
    return lambda width: width // head_channels if head_channels else heads
