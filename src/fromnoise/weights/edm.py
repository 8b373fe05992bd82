"""Convert parameters of EDM's U-Nets, DDPM++ (`SongUNet`) and ADM (`DhariwalUNet`), to our `UNet` and back.

EDM names its modules by the side length of their feature maps, as in `enc.32x32_block0`, so names can be read only with
the network's layout. Source: Karras et al. 2022 (EDM, arXiv 2206.00364), table 7 and appendix F.2.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.weights._state import checked
from fromnoise.weights.diffusers import swapped

PREFIX = "model."
"""Prefix of every parameter of the network inside the preconditioning module."""
FILTER = "resample_filter"
_BLOCK = {"norm0": "norm1", "conv0": "conv1", "affine": "time", "norm1": "norm2", "conv1": "conv2", "skip": "shortcut"}
_ATTENTION = {"norm2": "norm", "qkv": "qkv", "proj": "out"}
HEAD = 64
"""Channels of an attention head of ADM, in which narrower layers have no attention; DDPM++ has one head."""


@dataclass(frozen=True)
class Layout:
    """The layout of a network, which determines the names of its modules.

    Attributes:
        sides: side length of the feature maps of every level, largest first.
        blocks: blocks in each level on the way down.
        plus: True for DDPM++ (SongUNet), False for ADM (DhariwalUNet).
    """

    sides: tuple[int, ...]
    blocks: int
    plus: bool

    @property
    def names(self) -> dict[str, str]:
        """{their name: our name} of every layer that the network may have."""
        top = f"{self.sides[0]}x{self.sides[0]}"
        ends = (f"dec.{top}_aux_norm", f"dec.{top}_aux_conv") if self.plus else ("out_norm", "out_conv")
        found = {"map_layer0": "time.0", "map_layer1": "time.2", "map_label": "label", "map_augment": "augment",
                 f"enc.{top}_conv": "stem", ends[0]: "norm", ends[1]: "out"}  # fmt: skip
        for theirs, ours, attention in self.units():
            found |= {f"{theirs}.{leaf}": f"{ours}.{own}" for leaf, own in _BLOCK.items()}
            found |= {f"{theirs}.{leaf}": f"{attention}.{own}" for leaf, own in _ATTENTION.items() if attention}
        return found

    def units(self) -> Iterator[tuple[str, str, str]]:
        """Yield (their block, our block, our attention after it or "") in the order in which they run."""
        named = [f"{side}x{side}" for side in self.sides]
        for i, side in enumerate(named):
            if i:
                yield f"enc.{side}_down", f"down.{i - 1}.resample", ""
            for j in range(self.blocks):
                yield f"enc.{side}_block{j}", f"down.{i}.blocks.{j}", f"down.{i}.attention.{j}"
        yield f"dec.{named[-1]}_in0", "mid.0", "mid_attention"
        yield f"dec.{named[-1]}_in1", "mid.1", ""
        for k, side in enumerate(reversed(named)):
            if k:
                yield f"dec.{side}_up", f"up.{k - 1}.resample", ""
            for j in range(self.blocks + 1):
                yield f"dec.{side}_block{j}", f"up.{k}.blocks.{j}", f"up.{k}.attention.{j}"

    def heads(self, width: int) -> int:
        """The number of heads of an attention layer with `width` channels."""
        return 1 if self.plus else max(width // HEAD, 1)


def layout_of(state: Mapping[str, Tensor]) -> Layout:
    """Determine the layout from the names of a state without the prefix "model.".

    Raises:
        FromNoiseError: if the names belong to another network of EDM's, or to no U-Net.
    """
    if any(re.search(r"_aux_(?!norm|conv)", name) for name in state) or "map_noise.freqs" in state:
        raise FromNoiseError("its network is NCSN++ (SongUNet with skips through filters and Fourier features of the "
                             "noise), which fromnoise does not have")  # fmt: skip
    for name, value in state.items():
        box = name.endswith(f".{FILTER}") and value.shape == (1, 1, 2, 2) and bool((value == 0.25).all())
        if name.endswith(f".{FILTER}") and not box:
            raise FromNoiseError(f"its {name} is not the mean of 2x2 pixels, the only filter that our networks have")
    sides = {int(m[1]) for name in state if (m := re.match(r"enc\.(\d{1,9})x\1_", name))}
    levels = tuple(sorted(sides, reverse=True))
    side = "{0}x{0}".format(levels[0] if levels else 0)
    blocks = next(j for j in count() if f"enc.{side}_block{j}.conv0.weight" not in state)
    plus = f"dec.{side}_aux_norm.weight" in state
    if not blocks or not (plus or "out_norm.weight" in state):
        raise FromNoiseError("its network must be a SongUNet (DDPM++) or a DhariwalUNet (ADM)")
    return Layout(levels, blocks, plus)


def options_of(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Any]:
    """The options of our `unet` that follow from names and shapes; dropout does not.

    Raises:
        FromNoiseError: if no options fit, a layer is missing, or attention is in layers where these networks have none.
    """

    def shape(name: str) -> torch.Size:
        if name not in state:
            raise FromNoiseError(f"{name} is missing")
        return state[name].shape

    units = {ours: theirs for theirs, ours, _ in layout.units()}
    levels = range(len(layout.sides))
    widths = [shape(f"{units[f'down.{i}.blocks.0']}.conv0.weight")[0] for i in levels]
    emb, channels = shape("map_layer0.weight")
    stem, seen = shape(f"enc.{layout.sides[0]}x{layout.sides[0]}_conv.weight")[:2]
    if any(width % channels for width in widths):
        raise FromNoiseError(f"its widths {widths} are no multiples of {channels}, the number of its time features")
    attended = [i for i in levels if f"{units[f'down.{i}.blocks.0']}.qkv.weight" in state]
    last = layout.blocks
    for theirs, ours, attention in layout.units():
        way, i = ours.split(".")[:2]
        level = {"down": int(i), "up": len(widths) - 1 - int(i), "mid": 0}[way]
        wanted = level in attended and (way == "down" or not layout.plus or ours.endswith(f".blocks.{last}"))
        if attention and way != "mid" and wanted != (f"{theirs}.qkv.weight" in state):
            raise FromNoiseError(f"{theirs} has {'no' if wanted else 'an'} attention, unlike EDM's networks")
    label, augment = state.get("map_label.weight"), state.get("map_augment.weight")
    end = f"dec.{layout.sides[0]}x{layout.sides[0]}_aux_conv" if layout.plus else "out_conv"
    return {
        "in_channels": seen,
        "out_channels": shape(f"{end}.weight")[0],
        "channels": channels,
        "mult": [width // channels for width in widths],
        "stem_channels": None if stem == widths[0] else stem,
        "blocks": layout.blocks,
        "attention": [2**i for i in attended],
        "mid_attention": f"{units['mid.0']}.qkv.weight" in state,
        "time_width": None if emb == 4 * channels else emb,
        "classes": None if label is None else label.shape[1],
        "null_label": label is not None,
        "augment": augment is not None,
        **kind(layout.plus),
    }


def kind(plus: bool) -> dict[str, Any]:
    """The options of our `unet` that all DDPM++ networks (`plus`) or all ADM networks have in common."""
    return {
        "heads": 1,
        "head_channels": None if plus else HEAD,
        "groups": 32,
        "group_channels": 4,
        "eps": 1e-6 if plus else 1e-5,
        "time_endpoint": plus,
        "resample": "projected" if plus else "residual",
        "scale_shift": not plus,
        "skip_scale": math.sqrt(0.5) if plus else 1.0,
        "up_attention": "last" if plus else "every",
        "label_features": plus,
    }


def from_edm(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Convert an EDM state, without the prefix "model.", to that of our `UNet`, which gets a null label.

    EDM's network multiplies a one-hot label by a matrix (scaled by sqrt(K) for DDPM++ with K labels); zeros stand for
    no label. Ours looks the resulting vectors up in a table, whose last row is the one for no label.

    Raises:
        FromNoiseError: if it is not a state dict, or has a name that a network of this layout does not have.
    """
    names, ours = layout.names, {}
    for key, value in checked(state).items():
        layer, _, end = key.rpartition(".")
        if end == FILTER and layer in names:
            continue
        if layer not in names or end not in ("weight", "bias"):
            raise FromNoiseError(f"{key!r} is no parameter of {'SongUNet' if layout.plus else 'DhariwalUNet'}")
        ours[f"{names[layer]}.{end}"] = _flat(value) if names[layer].endswith((".qkv", ".out")) else value
    if "label.weight" in ours:
        table = ours["label.weight"].T * (math.sqrt(ours["label.weight"].shape[1]) if layout.plus else 1.0)
        none = ours.pop("label.bias", torch.zeros_like(table[0]))
        ours["label.weight"] = torch.cat([table + none, none[None]])
    for key, value in ours.items():
        if key.rpartition(".")[0].endswith(".qkv"):
            ours[key] = _by_kind(value, layout.heads(len(value) // 3))
    return ours if layout.plus else _turned(ours)


def to_edm(state: Mapping[str, Tensor], layout: Layout, null_label: bool) -> dict[str, Tensor]:
    """The inverse of `from_edm`; without a null label, the vector for no label is zero.

    ADM has no separate vector for no label: it goes into the bias that is added to every label.

    Args:
        state: tensors under our names.
        layout: the layout of EDM's network.
        null_label: whether the last row of our table is the null label.
    """
    names, rest = {ours: theirs for theirs, ours in layout.names.items()}, dict(state)
    theirs: dict[str, Tensor] = {}
    if (table := rest.pop("label.weight", None)) is not None:
        none = table[-1] if null_label else torch.zeros_like(table[0])
        theirs["map_label.weight"] = _labels(table[: len(table) - null_label], none, layout.plus)
        if layout.plus:
            theirs["map_label.bias"] = none
        else:
            rest["time.2.bias"] = rest["time.2.bias"] + none
    for key, value in (rest if layout.plus else _turned(rest)).items():
        layer, _, end = key.rpartition(".")
        if layer.endswith(".qkv"):
            value = _by_head(value, layout.heads(len(value) // 3))
        if end == "weight" and value.dim() == 2 and layer.endswith((".qkv", ".out")):
            value = value[:, :, None, None]
        theirs[f"{names[layer]}.{end}"] = value
    for block, ours, _ in layout.units():
        if ours.endswith(".resample"):
            theirs |= {f"{block}.{leaf}.{FILTER}": torch.full((1, 1, 2, 2), 0.25) for leaf in ("conv0", "skip")}
    return theirs


def _labels(table: Tensor, none: Tensor, plus: bool) -> Tensor:
    """map_label.weight for a table of K labels and the vector for no label: [K, width], [width] -> [width, K].

    (E_k - E_none) / sqrt(K) for DDPM++, or a neighbouring float where only that one reproduces E_k bit for bit.
    """
    scale = math.sqrt(len(table)) if plus else 1.0
    weight = ((table.double() - none.double()) / scale).to(table)
    for toward in (math.inf, -math.inf):
        near = torch.nextafter(weight, torch.full_like(weight, toward))
        better = (weight * scale + none != table) & (near * scale + none == table)
        weight = torch.where(better, near, weight)
    return weight.T


def _by_kind(rows: Tensor, heads: int) -> Tensor:
    """Reorder rows of queries, keys and values from (head, channel, kind) to (kind, head, channel)."""
    if len(rows) % (3 * heads):
        raise FromNoiseError(f"{len(rows)} rows of queries, keys and values cannot be split into {heads} heads")
    return rows.unflatten(0, (heads, -1, 3)).movedim(2, 0).flatten(0, 2)


def _by_head(rows: Tensor, heads: int) -> Tensor:
    """The inverse of `_by_kind`."""
    return rows.unflatten(0, (3, heads, -1)).movedim(0, 2).flatten(0, 2)


def _flat(value: Tensor) -> Tensor:
    """The weight of a 1x1 convolution as a matrix; others are returned unchanged."""
    return value[:, :, 0, 0] if value.dim() == 4 and value.shape[2:] == (1, 1) else value


def _turned(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """[cos, sin] of the time <-> [sin, cos], in the layer that reads them and the one that is added to them."""
    found = dict(state)
    if "time.0.weight" in found:
        found["time.0.weight"] = swapped(found["time.0.weight"])
    if "augment.weight" in found:
        found["augment.weight"] = swapped(found["augment.weight"].T).T
    return found
