"""The names that diffusers' AutoencoderKL gives to the parameters of latent diffusion's autoencoder."""

import re
from collections.abc import Mapping

from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.nn.vq_autoencoder import FASTER
from fromnoise.weights._state import checked, joined

# (theirs, ours); {…} stands for the same text in both names
_NAMES = [
    ("{side}.conv_in", "{side}.stem"),
    ("{side}.conv_norm_out", "{side}.norm"),
    ("{side}.conv_out", "{side}.out"),
    ("encoder.down_blocks.{i}.downsamplers.0.conv", "encoder.down.{i}.resample"),
    ("decoder.up_blocks.{i}.upsamplers.0.conv", "decoder.up.{i}.resample"),
    ("{side}.{way}_blocks.{i}.resnets.{j}.conv_shortcut", "{side}.{way}.{i}.blocks.{j}.shortcut"),
    ("{side}.{way}_blocks.{i}.resnets.{j}.{leaf}", "{side}.{way}.{i}.blocks.{j}.{leaf}"),
    ("{side}.mid_block.attentions.0.group_norm", "{side}.mid_attention.norm"),
    ("{side}.mid_block.attentions.0.to_out.0", "{side}.mid_attention.out"),
    ("{side}.mid_block.attentions.0.{leaf}", "{side}.mid_attention.{leaf}"),
    ("{side}.mid_block.resnets.{j}.{leaf}", "{side}.mid.{j}.{leaf}"),
    ("quant_conv", "quant_conv"),
    ("post_quant_conv", "post_quant_conv"),
]
_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_QKV = ("to_q", "to_k", "to_v")
_CODES = "quantize.embedding.weight"


def from_diffusers_kl(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state of diffusers' AutoencoderKL to that of our `KLAutoencoder` with the same configuration.

    Queries, keys and values are three layers in diffusers and one layer in ours. Their older names (query, key, value,
    proj_attn) are read too, since published weights use them.

    Raises:
        FromNoiseError: if it is not a state dict, has a name that this architecture does not have, or its queries, keys
            or values are missing or differ in shape.
    """
    ours: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in checked(state).items():
        layer, kind = key.rsplit(".", 1)
        head, _, leaf = layer.rpartition(".")
        name = _translated(f"{head}.{_OLD[leaf]}" if leaf in _OLD else layer, 0)
        head, _, leaf = name.rpartition(".")
        if leaf in _QKV:
            parts.setdefault(f"{head}.qkv.{kind}", {})[leaf] = value
        else:
            ours[f"{name}.{kind}"] = value
    for name, found in parts.items():
        ours[name] = joined(name, found, _QKV)
    return ours


def from_diffusers_vq(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state of diffusers' VQModel to that of our `VQAutoencoder`, which stores codes in units of `FASTER`.

    Raises:
        FromNoiseError: if it has no codes. Also the errors of `from_diffusers_kl`.
    """
    if _CODES not in checked(state):
        raise FromNoiseError(f"{_CODES!r} is missing, the codes of a VQModel")
    rest = {name: value for name, value in state.items() if name != _CODES}
    return from_diffusers_kl(rest) | {"book": state[_CODES].float() / FASTER}


def to_diffusers_kl(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state of our `KLAutoencoder` to that of an AutoencoderKL, with diffusers' current names.

    Raises:
        FromNoiseError: if it is not a state dict, or has a name that this architecture does not have.
    """
    theirs: dict[str, Tensor] = {}
    for key, value in checked(state).items():
        layer, kind = key.rsplit(".", 1)
        head, _, leaf = layer.rpartition(".")
        if leaf == "qkv":
            for name, part in zip(_QKV, value.chunk(3), strict=True):
                theirs[f"{_translated(f'{head}.{name}', 1)}.{kind}"] = part.clone()
        else:
            theirs[f"{_translated(layer, 1)}.{kind}"] = value
    return theirs


def _translated(name: str, column: int) -> str:
    """Translate a name from `column` of the table (0: theirs, 1: ours) to the other column."""
    for row in _NAMES:
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\w+)", re.escape(row[column]))
        if m := re.fullmatch(pattern, name):
            return row[1 - column].format(**m.groupdict())
    raise FromNoiseError(f"{name!r} is no layer of an AutoencoderKL")
