"""Convert between the parameter names of diffusers' UNet2DModel and those of our `UNet`."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from fromnoise.weights._state import checked, joined

# theirs -> ours, once the numbered part of a name is translated
_LEAVES = {
    "time_embedding.linear_1": "time.0", "time_embedding.linear_2": "time.2", "class_embedding": "label",
    "conv_in": "stem", "conv_norm_out": "norm", "conv_out": "out",
    "time_emb_proj": "time", "conv_shortcut": "shortcut", "group_norm": "norm", "to_out.0": "out",
}  # fmt: skip
_QKV = ("to_q", "to_k", "to_v")
_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of attention layers before version 0.18, which most published U-Nets have."""
_TIME = "time_embedding.linear_1.weight"

# ours -> theirs: at the top of the network, and inside its blocks and attention layers
_TOP = {ours: theirs for theirs, ours in list(_LEAVES.items())[:6]}
_BLOCK = {"time": "time_emb_proj", "shortcut": "conv_shortcut"}
_ATTENTION = {"norm": "group_norm", "out": "to_out.0"}


def from_diffusers(state: Mapping[str, Tensor], cosines_first: bool = False) -> dict[str, Tensor]:
    """Convert the state of a UNet2DModel to that of our `UNet` with the same configuration.

    Queries, keys and values are three layers in diffusers and one layer in ours.

    Args:
        state: tensors under diffusers' names, current or from before version 0.18.
        cosines_first: diffusers' `flip_sin_to_cos`: its time features are [cos, sin], ours [sin, cos].

    Raises:
        FromNoiseError: if it is not a state dict, or its queries, keys or values are missing or differ in shape.
    """
    ours: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in checked(state).items():
        name = _name(key)
        layer, kind = name.rsplit(".", 1)
        head, _, leaf = layer.rpartition(".")
        if leaf in _QKV:
            parts.setdefault(f"{head}.qkv.{kind}", {})[leaf] = value
        else:
            ours[name] = swapped(value) if key == _TIME and cosines_first else value
    for name, found in parts.items():
        ours[name] = joined(name, found, _QKV)
    return ours


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_diffusers`: our `UNet`'s state under diffusers' current names, with sines first."""
    theirs: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, kind = key.rsplit(".", 1)
        if layer.endswith(".qkv"):
            head = _place(layer.removesuffix(".qkv"))
            theirs |= {
                f"{head}.{part}.{kind}": own.contiguous() for part, own in zip(_QKV, value.chunk(3), strict=True)
            }
        else:
            theirs[f"{_place(layer)}.{kind}"] = value
    return theirs


def swapped(weight: Tensor) -> Tensor:
    """A layer's weight with the halves of its columns exchanged, for [cos, sin] instead of [sin, cos] or back."""
    return torch.cat(list(reversed(weight.chunk(2, 1))), 1)


def _place(layer: str) -> str:
    if m := re.match(r"(down|up)\.(\d+)\.blocks\.(\d+)\.(.*)", layer):
        return f"{m[1]}_blocks.{m[2]}.resnets.{m[3]}.{_BLOCK.get(m[4], m[4])}"
    if m := re.match(r"(down|up)\.(\d+)\.attention\.(\d+)(?:\.(.*))?$", layer):
        return f"{m[1]}_blocks.{m[2]}.attentions.{m[3]}" + (f".{_ATTENTION.get(m[4], m[4])}" if m[4] else "")
    if m := re.match(r"(down|up)\.(\d+)\.resample(?:\.(.*))?$", layer):
        inside = _BLOCK.get(m[3], m[3]) if m[3] else "conv"
        return f"{m[1]}_blocks.{m[2]}.{m[1]}samplers.0.{inside}"
    if m := re.match(r"mid\.(\d)\.(.*)", layer):
        return f"mid_block.resnets.{m[1]}.{_BLOCK.get(m[2], m[2])}"
    if m := re.match(r"mid_attention(?:\.(.*))?$", layer):
        return "mid_block.attentions.0" + (f".{_ATTENTION.get(m[1], m[1])}" if m[1] else "")
    return _TOP.get(layer, layer)


def _name(key: str) -> str:
    if m := re.match(r"(.*\.attentions\.\d+)\.(query|key|value|proj_attn)\.(\w+)", key):
        key = f"{m[1]}.{_OLD[m[2]]}.{m[3]}"
    if m := re.match(r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", key):
        return f"down.{m[1]}.{_list(m[2])}.{m[3]}.{_leaf(m[4])}"
    if m := re.match(r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", key):
        return f"up.{m[1]}.{_list(m[2])}.{m[3]}.{_leaf(m[4])}"
    if m := re.match(r"(down|up)_blocks\.(\d+)\.(?:down|up)samplers\.0\.((?!conv\.).*)", key):
        return f"{m[1]}.{m[2]}.resample.{_leaf(m[3])}"
    if m := re.match(r"(down|up)_blocks\.(\d+)\.(?:down|up)samplers\.0\.conv\.(.*)", key):
        return f"{m[1]}.{m[2]}.resample.{m[3]}"
    if m := re.match(r"mid_block\.resnets\.(\d)\.(.*)", key):
        return f"mid.{m[1]}.{_leaf(m[2])}"
    if m := re.match(r"mid_block\.attentions\.0\.(.*)", key):
        return f"mid_attention.{_leaf(m[1])}"
    return _leaf(key)


def _list(kind: str) -> str:
    return "blocks" if kind == "resnets" else "attention"


def _leaf(name: str) -> str:
    layer, kind = name.rsplit(".", 1)
    return f"{_LEAVES.get(layer, layer)}.{kind}"
