"""Convert parameters of the DiT paper's code, of SiT and of diffusers' DiTTransformer2DModel to our `DiT` and back.

Our network needs the options of the file: `eps` is 1e-6, and `time_endpoint` is False for the paper's code and True for
diffusers (where the second norm of a block has the eps of the configuration, 1e-5 in older ones). Both put the cosines
of the time before the sines; ours come the other way round, so the columns of the first layer are exchanged, which is
exact.
"""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.nn.dit import positions
from fromnoise.weights._state import checked, joined

# theirs -> ours
_PAPER = {
    "x_embedder.proj": "stem", "t_embedder.mlp.0": "time.0", "t_embedder.mlp.2": "time.2",
    "y_embedder.embedding_table": "label", "final_layer.adaLN_modulation.1": "modulation", "final_layer.linear": "out",
}  # fmt: skip
_PAPER_BLOCK = {
    "attn.qkv": "qkv", "attn.proj": "mix", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2", "adaLN_modulation.1": "modulation",
}  # fmt: skip
_DIFFUSERS = {"pos_embed.proj": "stem", "proj_out_1": "modulation", "proj_out_2": "out"}
_DIFFUSERS_BLOCK = {
    "attn1.to_q": "q", "attn1.to_k": "k", "attn1.to_v": "v", "attn1.to_out.0": "mix",
    "ff.net.0.proj": "mlp.0", "ff.net.2": "mlp.2", "norm1.linear": "modulation",
}  # fmt: skip
# in diffusers every block has its own copy of these layers, which our network has once
_EMBEDDERS = {
    "norm1.emb.timestep_embedder.linear_1": "time.0", "norm1.emb.timestep_embedder.linear_2": "time.2",
    "norm1.emb.class_embedder.embedding_table": "label",
}  # fmt: skip


def from_dit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state of the paper's DiT to that of our `DiT`.

    Raises:
        FromNoiseError: if a name is not one of this architecture, or the position embeddings are not `positions`.
    """
    ours = {}
    for key, value in _without_places(checked(state, ("pos_embed",)), "pos_embed").items():
        layer, number, kind = _split(key, "blocks")
        name = _PAPER.get(layer) if number is None else _PAPER_BLOCK.get(layer)
        ours[_ours(key, name, number, kind)] = value
    return _cosines_swapped(ours)


def from_sit(state: Mapping[str, Tensor], channels: int) -> dict[str, Tensor]:
    """Convert the state of a SiT to that of our `DiT` with time_scale=0.001.

    SiT predicts the velocity x_0 - eps at the time u in [0, 1]; our network predicts the flow eps - x_0 at the time
    v = 1 - u, so the last layer changes its sign. SiT's first layer of the time reads cos(u f) and sin(u f). Since
    cos(u f) = cos(f) cos(v f) + sin(f) sin(v f) and sin(u f) = sin(f) cos(v f) - cos(f) sin(v f), ours is another
    matrix, computed in float64, that reads the sinusoids of v. The outputs beyond `channels`, which SiT discards, are
    left out.

    Source: Ma et al. 2024 (arXiv 2401.08740), with the linear path.

    Args:
        state: tensors under SiT's names.
        channels: channels of x_t.

    Raises:
        FromNoiseError: the errors of `from_dit`.
    """
    ours = from_dit(state)
    sines, cosines = ours["time.0.weight"].double().chunk(2, 1)
    half = sines.shape[1]
    f = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10000) / half))
    of_sines = cosines * f.sin() - sines * f.cos()
    of_cosines = cosines * f.cos() + sines * f.sin()
    ours["time.0.weight"] = torch.cat([of_sines, of_cosines], 1).to(ours["time.0.weight"])
    for kind in ("weight", "bias"):
        rows = ours[f"out.{kind}"]
        patch = state["x_embedder.proj.weight"].shape[-1]
        ours[f"out.{kind}"] = -rows.unflatten(0, (patch**2, -1))[:, :channels].flatten(0, 1)
    return ours


def to_dit(state: Mapping[str, Tensor], grid: int) -> dict[str, Tensor]:
    """The inverse of `from_dit`.

    Args:
        state: tensors under our names.
        grid: patches along a side of the image; the file stores their position embeddings (16 for 256x256).
    """
    theirs = {"pos_embed": positions(grid, grid, len(state["stem.weight"])).to(state["stem.weight"])[None]}
    for key, value in _cosines_swapped(state).items():
        layer, number, kind = _split(key, "blocks")
        back = _inverse(_PAPER if number is None else _PAPER_BLOCK)
        theirs[_joined("blocks", number, back[layer], kind)] = value
    return theirs


def from_diffusers_dit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state of a DiTTransformer2DModel to that of our `DiT`.

    Raises:
        FromNoiseError: if a name is not one of this architecture, the position embeddings are not `positions`, or the
            blocks have different embeddings of time or label, which does not occur in diffusers' own files.
    """
    ours: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in _without_places(checked(state), "pos_embed.pos_embed").items():
        layer, number, kind = _split(key, "transformer_blocks")
        if number is not None and layer in _EMBEDDERS:
            first = state.get(f"transformer_blocks.0.{layer}.{kind}")
            if first is None or not torch.equal(value, first):
                raise FromNoiseError(f"{key} is not that of block 0: our network has one embedding for all blocks")
            ours[f"{_EMBEDDERS[layer]}.{kind}"] = value
            continue
        name = _DIFFUSERS.get(layer) if number is None else _DIFFUSERS_BLOCK.get(layer)
        if name in ("q", "k", "v"):
            parts.setdefault(f"blocks.{number}.qkv.{kind}", {})[name] = value
        else:
            ours[_ours(key, name, number, kind)] = value
    for name, found in parts.items():
        ours[name] = joined(name, found, "qkv")
    return _cosines_swapped(ours)


def to_diffusers_dit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_diffusers_dit`; diffusers' files do not store the position embeddings."""
    numbers = {number for key in state if (number := _split(key, "blocks")[1]) is not None}
    theirs: dict[str, Tensor] = {}
    plain, block, embedders = _inverse(_DIFFUSERS), _inverse(_DIFFUSERS_BLOCK), _inverse(_EMBEDDERS)
    for key, value in _cosines_swapped(state).items():
        layer, number, kind = _split(key, "blocks")
        if layer == "qkv":
            for part, third in zip("qkv", value.chunk(3), strict=True):
                theirs[_joined("transformer_blocks", number, block[part], kind)] = third
        elif number is None and layer in embedders:
            theirs |= {_joined("transformer_blocks", i, embedders[layer], kind): value for i in numbers}
        else:
            theirs[_joined("transformer_blocks", number, (plain if number is None else block)[layer], kind)] = value
    return theirs


def _split(key: str, blocks: str) -> tuple[str, str | None, str]:
    """Split a name into (layer, number of the block or None, "weight" or "bias")."""
    layer, _, kind = key.rpartition(".")
    m = re.fullmatch(rf"{blocks}\.(\d+)\.(.*)", layer)
    return (m[2], m[1], kind) if m else (layer, None, kind)


def _joined(blocks: str, number: str | None, layer: str, kind: str) -> str:
    return f"{layer}.{kind}" if number is None else f"{blocks}.{number}.{layer}.{kind}"


def _ours(key: str, name: str | None, number: str | None, kind: str) -> str:
    if name is None:
        raise FromNoiseError(f"{key!r} is no parameter of a DiT")
    return _joined("blocks", number, name, kind)


def _inverse(names: Mapping[str, str]) -> dict[str, str]:
    return {ours: theirs for theirs, ours in names.items()}


def _without_places(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The state without its position embeddings, which must be `positions`."""
    places = state.get(name)
    if places is not None:
        if places.dim() != 3:
            raise FromNoiseError(f"{name} must have shape [1, patches, features], got {tuple(places.shape)}")
        side = round(places.shape[1] ** 0.5)
        own = positions(side, side, places.shape[2])
        # half precision loses up to a thousandth; positions in another order would be off by 1
        if own.shape != places.shape[1:] or (places[0].cpu() - own).abs().max() > 1e-3:
            raise FromNoiseError(f"{name} does not hold the sines and cosines of the patches' columns and rows")
    return {key: value for key, value in state.items() if key != name}


def _cosines_swapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """[cos, sin] of the time <-> [sin, cos]: exchange the halves of the columns of the first layer."""
    first = "time.0.weight"
    if first in state and state[first].dim() != 2:
        raise FromNoiseError(f"the first layer of the time must be a matrix, got shape {tuple(state[first].shape)}")
    return {key: torch.cat(value.chunk(2, 1)[::-1], 1) if key == first else value for key, value in state.items()}
