"""DiT and SiT: transformers of latents, .pt files of tensors alone or of a training checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from fromnoise import nn as networks
from fromnoise import schedules
from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register
from fromnoise.weights.describing import load_tensors
from fromnoise.weights.dit import from_dit, from_sit
from fromnoise.weights.formats.base import Card, Format
from fromnoise.weights.formats.source import Source

_HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}
"""By width, of the published sizes S, B, L and XL."""
_SCALE = 0.18215
"""Of the latents, with Stable Diffusion's autoencoder."""
_KEYS = ("network", "schedule", "parameterization", "variance", "autoencoder", "class_names")


@register("dit")
@dataclass(frozen=True)
class DiTs(Format):
    """A state dict of the paper's `DiT`, or of `SiT`, which has the same names and predicts a velocity.

    Width, depth, patch, classes and the size of the latents follow from names and shapes; SiT is known by the name of
    its file, by the options in it, or by `like={"parameterization": "flow"}`. The autoencoder is another file:
    `like={"autoencoder": FOLDER}` names a folder of diffusers' AutoencoderKL, or of one saved here.
    """

    loads: ClassVar[str] = 'models.DiT(...).load_state_dict(torch.load("{path}/model.pt"))'

    def claims(self, source: Source) -> bool:
        return source.names("x_embedder.proj.weight", "t_embedder.mlp.0.weight", "blocks.0.adaLN_modulation.1.weight")

    def read(self, source: Source) -> nn.Module:
        said, told = source.told(*_KEYS), source.opened.options
        state = {name: value.float() for name, value in source.state.items()}
        is_sit = "sit" in source.path.stem.lower().split("-") or "path_type" in told
        flows = said.get("parameterization", "flow" if is_sit else "eps") == "flow"
        options, shape = _options(state, said.get("network", {}), source)
        if flows:
            ours = from_sit(state, shape[0])
            options |= {"out_channels": shape[0], "time_scale": 0.001}
        else:
            ours = from_dit(state)
        learned = not flows and options["out_channels"] == 2 * shape[0]
        usual = "rectified" if flows else "linear"
        variance = "learned_range" if learned else said.get("variance", "fixed_small" if flows else "fixed_large")
        model = Denoiser(networks.blank({"name": "dit"} | options), schedules.build(said.get("schedule", usual)),
                         "flow" if flows else "eps", variance, shape, said.get("class_names", ()),
                         _codec(said, shape, source))  # fmt: skip
        load_tensors(model, ours, source.path, assign=True)
        return model

    def write(self, denoiser: Denoiser, path: Path, card: Card) -> None:
        from fromnoise.weights import dit_writing

        dit_writing.write(denoiser, path, card)


def _options(state: Mapping[str, Tensor], told: Mapping[str, Any], source: Source) -> tuple[dict[str, Any], Any]:
    """(options of our DiT, shape of a state)."""
    stem = state["x_embedder.proj.weight"]
    width, channels, patch = len(stem), stem.shape[1], stem.shape[-1]
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    heads = told.get("heads", _HEADS.get(width))
    if heads is None:
        raise FromNoiseError(f"{source.path}: does not say how many attention heads it has: say "
                             'like={"network": {"heads": 8}}')  # fmt: skip
    if "y_embedder.embedding_table.weight" not in state or "pos_embed" not in state:
        raise FromNoiseError(f"{source.path}: has no table of classes, or no places (pos_embed), as a DiT has")
    side = round(state["pos_embed"].shape[1] ** 0.5) * patch
    rows, null = len(state["y_embedder.embedding_table.weight"]), told.get("null_label", True)
    options = {
        "in_channels": channels,
        "out_channels": len(state["final_layer.linear.weight"]) // patch**2,
        "depth": depth,
        "width": width,
        "heads": heads,
        "patch": patch,
        "classes": rows - null,
        "null_label": null,
    }
    return options, (channels, side, side)


def _codec(said: Mapping[str, Any], shape: tuple[int, ...], source: Source) -> Autoencoded | None:
    if "autoencoder" in said:
        from fromnoise.weights import native

        network = native.load_autoencoder(said["autoencoder"])
        return Autoencoded(network, _SCALE)
    if shape[0] == 4:
        source.warn(f"{source.path}: a latent model, and its autoencoder is another file: without it latents are "
                    'sampled. Say like={"autoencoder": FOLDER}, of Stable Diffusion\'s AutoencoderKL')  # fmt: skip
    return None
