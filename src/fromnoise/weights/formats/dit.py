"""DiT and SiT: transformers for latents, in .pt files with tensors alone or with a training checkpoint."""

import re
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
from fromnoise.schedules.rectified import Rectified
from fromnoise.system.disk import files
from fromnoise.weights import latent_parts
from fromnoise.weights.describing import load_tensors
from fromnoise.weights.dit import from_dit, from_sit
from fromnoise.weights.formats.base import Card, Format
from fromnoise.weights.formats.said import class_names, network
from fromnoise.weights.formats.source import Source
from fromnoise.weights.names import CONFIG

_HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}
"""Attention heads by width, for the published sizes S, B, L and XL."""
_SCALE = 0.18215
"""The scale of latents of Stable Diffusion's autoencoder."""
_KEYS = ("network", "schedule", "parameterization", "variance", "autoencoder", "scale", "class_names")
_UNTOLD = ("heads",)


@register("dit")
@dataclass(frozen=True)
class DiTs(Format):
    """A state dict of the paper's `DiT`, or of `SiT`, which has the same names and predicts a velocity.

    Width, depth, patch, classes and the size of the latents follow from names and shapes. SiT is recognised by the name
    of its file, by the options in it, or by `like={"parameterization": "flow"}`. The autoencoder is another file:
    `like={"autoencoder": FOLDER}` names a folder with diffusers' AutoencoderKL or an autoencoder saved by fromnoise.
    """

    loads: ClassVar[str] = 'models.DiT(...).load_state_dict(torch.load("{path}/model.pt"))'

    def claims(self, source: Source) -> bool:
        return source.names("x_embedder.proj.weight", "t_embedder.mlp.0.weight", "blocks.0.adaLN_modulation.1.weight")

    def read(self, source: Source) -> nn.Module:
        said, state = source.told(*_KEYS), source.floats()
        flows = _flows(said, source)
        own, shape = _options(state, said.get("network", {}).get("null_label", True), source)
        options = network(own, said.get("network", {}) | {"null_label": own["null_label"]}, _UNTOLD, source)
        if "heads" not in options:
            raise FromNoiseError(f"{source.path}: does not state its number of attention heads: give "
                                 'like={"network": {"heads": 8}}')  # fmt: skip
        if flows:
            ours = from_sit(state, shape[0])
            options |= {"out_channels": shape[0], "time_scale": 0.001}
        else:
            ours = from_dit(state)
        learned = not flows and options["out_channels"] == 2 * shape[0]
        usual, kind = ("rectified", "flow") if flows else ("linear", "eps")
        schedule = schedules.build(said.get("schedule", usual))
        if flows != isinstance(schedule, Rectified):
            raise FromNoiseError(f"{source.path}: its schedule must be {usual}, got "
                                 f"{type(schedule).__name__}")  # fmt: skip
        variance = said.get("variance", "learned_range" if learned else "fixed_small" if flows else "fixed_large")
        if (variance == "learned_range") != learned:
            raise FromNoiseError(f"{source.path}: the variance {variance} does not fit its network, which returns "
                                 f"{options['out_channels']} channels for {shape[0]}")  # fmt: skip
        names = class_names(said, options["classes"], source.path)
        made = networks.blank({"name": "dit"} | options)
        model = Denoiser(made, schedule, kind, variance, shape, names, _codec(said, shape, source))
        load_tensors(model, ours, source.path, assign=True)
        return model

    def write(self, denoiser: Denoiser, path: Path, card: Card) -> None:
        from fromnoise.weights import dit_writing

        dit_writing.write(denoiser, path, card)


def _flows(said: Mapping[str, Any], source: Source) -> bool:
    """Whether the network predicts SiT's velocity, judged by `like`, by the options in the file, or by its name.

    Raises:
        FromNoiseError: if SiT's path or prediction is not supported, or the parameterization is neither eps nor flow.
    """
    told = source.opened.options
    for key, plain in (("path_type", "Linear"), ("prediction", "velocity")):
        if told.get(key, plain) != plain:
            raise FromNoiseError(f"{source.path}: is a SiT whose {key} is {files.one_line(told[key])}; it must be "
                                 f"{plain}")  # fmt: skip
    kind = said.get("parameterization")
    if kind not in (None, "eps", "flow"):
        raise FromNoiseError(f"{source.path}: its parameterization must be eps (DiT) or flow (SiT), got "
                             f"{files.one_line(kind)}")  # fmt: skip
    if kind is not None or "path_type" in told:
        return kind != "eps"
    name = source.path.stem.lower()
    if re.search(r"(?<![a-z])sit(?![a-km-rt-wyz])", name):
        return True
    if not re.search(r"(?<![a-z])dit", name) and "DiT" not in str(told.get("model", "")):
        source.warn(f"{source.path}: is taken for a DiT; a SiT has the same names: if it is one, give "
                    'like={"parameterization": "flow"}')  # fmt: skip
    return False


def _options(state: Mapping[str, Tensor], null: bool, source: Source) -> tuple[dict[str, Any], tuple[int, int, int]]:
    """(options of our DiT that follow from names and shapes, shape of x_t)."""
    stem = state["x_embedder.proj.weight"]
    width, channels, patch = len(stem), stem.shape[1], stem.shape[-1]
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    if "y_embedder.embedding_table.weight" not in state or "pos_embed" not in state:
        raise FromNoiseError(f"{source.path}: lacks a DiT's table of classes or position embeddings (pos_embed)")
    side = round(state["pos_embed"].shape[1] ** 0.5) * patch
    rows = len(state["y_embedder.embedding_table.weight"])
    if rows - null < 1:
        raise FromNoiseError(f"{source.path}: its table of classes has {rows} rows")
    options = {
        "in_channels": channels,
        "out_channels": len(state["final_layer.linear.weight"]) // patch**2,
        "depth": depth,
        "width": width,
        "patch": patch,
        "classes": rows - null,
        "null_label": null,
    } | ({"heads": _HEADS[width]} if width in _HEADS else {})
    return options, (channels, side, side)


def _codec(said: Mapping[str, Any], shape: tuple[int, ...], source: Source) -> Autoencoded | None:
    if "autoencoder" in said:
        from fromnoise.weights import native

        place = files.expanded(said["autoencoder"])
        if not place.is_dir():
            raise FromNoiseError(f"autoencoder: {place} is no folder; name a folder with diffusers' AutoencoderKL, or "
                                 "with an autoencoder saved by fromnoise")  # fmt: skip
        if (place / CONFIG).exists() and "scale" not in said:
            return latent_parts.codec(place)
        return Autoencoded(native.load_autoencoder(place), float(said.get("scale", _SCALE)))
    if shape[0] == 4:
        source.warn(f"{source.path}: is a latent model without its autoencoder, so samples are latents: give "
                    'like={"autoencoder": FOLDER}, a folder with Stable Diffusion\'s AutoencoderKL')  # fmt: skip
    return None
