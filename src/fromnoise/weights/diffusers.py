"""The names that diffusers' UNet2DModel gives to the parameters of DDPM's network."""

import re
from collections.abc import Mapping

from torch import Tensor

from fromnoise.weights._state import checked, joined

# theirs -> ours, after the numbered part of the name is translated
_LEAVES = {
    "time_embedding.linear_1": "time.0", "time_embedding.linear_2": "time.2",
    "conv_in": "stem", "conv_norm_out": "norm", "conv_out": "out",
    "time_emb_proj": "time", "conv_shortcut": "shortcut", "group_norm": "norm", "to_out.0": "out",
}  # fmt: skip
_QKV = ("to_q", "to_k", "to_v")


def from_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A UNet2DModel's state as that of our `UNet` with the same configuration.

    Queries, keys and values, three layers there, are one layer here.

    Raises:
        FromNoiseError: it is no state, or queries, keys or values are missing or differ in shape.
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
            ours[name] = value
    for name, found in parts.items():
        ours[name] = joined(name, found, _QKV)
    return ours


def _name(key: str) -> str:
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
