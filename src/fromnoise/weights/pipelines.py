"""Folders of diffusers' pipelines, DDPM's, DDIM's, LDM's and DiT's, opened: nothing in them is executed."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fromnoise import nn as networks
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.weights import latent_parts, lora
from fromnoise.weights.describing import load_tensors
from fromnoise.weights.diffusers import from_diffusers, to_diffusers
from fromnoise.weights.names import CONFIG, INDEX, SCHEDULER
from fromnoise.weights.parts import insist_on, insist_on_fit, read_options, weights
from fromnoise.weights.schedulers import CLASSES, meaning
from fromnoise.weights.unet_options import USUAL, options

_UNETS = ("UNet2DModel",)


@dataclass(frozen=True)
class _Pipeline:
    """Which of its parts are read: the network, and what decodes its states."""

    network: str
    codec: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in (self.codec, self.network, "scheduler") if part)


_PIPELINES = {
    "DDPMPipeline": _Pipeline("unet"),
    "DDIMPipeline": _Pipeline("unet"),
    "LDMPipeline": _Pipeline("unet", "vqvae"),
    "DiTPipeline": _Pipeline("transformer", "vae"),
}


@dataclass(frozen=True)
class _Found:
    """A pipeline's index, its network's folder and configuration, the scheduler's, and the folder of what decodes."""

    index: dict[str, Any]
    place: Path
    config: dict[str, Any]
    scheduler: dict[str, Any] | None
    codec: Path | None


def load(path: str | Path, warn: Callable[[str], None]) -> nn.Module:
    """The denoiser of a pipeline, or an autoencoder that lies alone, float32, on the CPU; nothing in it is executed.

    Args:
        path: of the folder: model_index.json with a folder for each part; or config.json, the weights and
            scheduler_config.json beside each other.
        warn: told in a line what does not come along.

    Raises:
        FromNoiseError: another pipeline, network or scheduler, one with options that ours has not, a part that is
            missing or damaged, or weights that do not fit; in one line.
    """
    found = _parts(files.expanded(path))
    if found.config["_class_name"] in latent_parts.AUTOENCODERS:
        return latent_parts.autoencoder(found.place, found.config).eval()
    if found.scheduler is None:
        warn(f"{path}: no {SCHEDULER}, so that DDPM's schedule is taken: linear, 1000 steps, eps")
    make = _of_pixels if found.config["_class_name"] in _UNETS else _transformer
    denoiser = make(found, path)
    scheduler = found.scheduler or {}
    if scheduler.get("thresholding"):
        warn(f"{path}: samples there with dynamic thresholding, which does not come along; here x0 is clipped")
    elif (reach := scheduler.get("clip_sample_range", 1.0)) != 1.0 and scheduler.get("clip_sample", True):
        warn(f"{path}: samples there with x0 clipped to {reach}, which does not come along; here it is clipped to 1")
    elif not scheduler.get("clip_sample", True) and found.codec is None:
        warn(f"{path}: samples there without clipping x0: say so here, clip=False (--no-clip)")
    return denoiser.eval()


def insist_on_known(path: str | Path) -> list[Path]:
    """The folders of the weights that `load` reads, by the JSON files alone, before there are any.

    Raises:
        FromNoiseError: as `load` does of the same.
    """
    found = _parts(files.expanded(path))
    return [found.place] + ([found.codec] if found.codec is not None else [])


def _parts(root: Path) -> _Found:
    index = read_options(root / INDEX) if os.path.lexists(root / INDEX) else {}
    if index:
        insist_on(root / INDEX, index.get("_class_name"), tuple(_PIPELINES))
    elif not os.path.lexists(root / CONFIG):
        raise FromNoiseError(f"{root}: {lora.IS_ONE}")
    kind = _PIPELINES[index["_class_name"]] if index else _Pipeline("unet")
    named = [part for part in kind.parts if isinstance(index.get(part), list) and any(index[part])]
    if gone := next((part for part in named if not os.path.lexists(root / part)), None):
        raise FromNoiseError(f"{root}: its part {gone} is missing, which {INDEX} names: fetch the whole pipeline")
    place = root / kind.network if os.path.lexists(root / kind.network) else root
    config = read_options(place / CONFIG)
    known = latent_parts.TRANSFORMERS if kind.network == "transformer" else _UNETS
    insist_on(place / CONFIG, config.get("_class_name"), known if index else (*known, *latent_parts.AUTOENCODERS))
    codec = root / kind.codec if kind.codec else None
    where = root / "scheduler" / SCHEDULER if place != root else root / SCHEDULER
    if "scheduler" not in named and not os.path.lexists(where):
        return _Found(index, place, config, None, codec)
    scheduler = read_options(where)
    insist_on(where, scheduler.get("_class_name"), CLASSES)
    return _Found(index, place, config, scheduler, codec)


def _of_pixels(found: _Found, where: object) -> Denoiser:
    """Around a UNet2DModel; with an autoencoder its states are latents."""
    config, said = USUAL | found.config, meaning(found.scheduler or {}, where)
    side, channels = config["sample_size"], int(config["in_channels"])
    sides = [side, side] if isinstance(side, int) else side
    if side is not None and not (isinstance(sides, list) and len(sides) == 2 and all(
            isinstance(n, int) and n > 0 for n in sides)):  # fmt: skip
        raise FromNoiseError(
            f"{where}: its sample_size is {files.one_line(side)}, and must be one or two whole numbers"
        )
    shape = None if side is None else (channels, *sides)
    network = networks.blank(options(config, where) | {"time_scale": said.time_scale})
    codec = latent_parts.codec(found.codec) if found.codec is not None else None
    denoiser = Denoiser(network, said.schedule, said.kind, said.variance, shape, codec=codec)
    try:
        state = from_diffusers(weights(found.place), bool(config["flip_sin_to_cos"]))
    except FromNoiseError as error:
        text = str(error)
        raise FromNoiseError(text if text.startswith(str(found.place)) else f"{found.place}: {text}") from None
    insist_on_fit(to_diffusers(network.state_dict()), to_diffusers(state), where)
    load_tensors(denoiser, {name: value.float() for name, value in state.items()}, where, assign=True)
    return denoiser


def _transformer(found: _Found, where: object) -> Denoiser:
    said = meaning(found.scheduler or {}, where)
    made, shape = latent_parts.dit_options(found.config, where)
    network = networks.blank(made | {"time_scale": said.time_scale})
    # a pipeline that says nothing of its variance draws by DDIM, and its network gives one all the same
    variance = "learned_range" if made["out_channels"] == 2 * shape[0] else said.variance
    codec = latent_parts.codec(found.codec) if found.codec is not None else None
    names = latent_parts.class_names(found.index, made["classes"])
    denoiser = Denoiser(network, said.schedule, said.kind, variance, shape, names, codec)
    load_tensors(denoiser, latent_parts.translated(weights(found.place)), where)
    return denoiser
