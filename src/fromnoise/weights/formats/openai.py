"""Improved- and guided-diffusion: U-Nets, super-resolution models and noisy classifiers, in .pt files of tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fromnoise import augmentations, schedules
from fromnoise import nn as networks
from fromnoise.augmentations.low_res import LowResolution
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.guidance.noisy_classifier import NoisyClassifier
from fromnoise.registry import register
from fromnoise.weights.describing import load_tensors, tensors_of
from fromnoise.weights.formats.base import Card, Format
from fromnoise.weights.formats.said import class_names, merged, network
from fromnoise.weights.formats.source import Source
from fromnoise.weights.openai import Attention, Layout, from_openai, heads_of, layout_of, to_openai
from fromnoise.weights.parts import insist_on_fit

_IMPROVED = {"heads": 4}
_GUIDED = {"head_channels": 64}
_LINEAR, _COSINE = {"name": "linear"}, {"name": "cosine"}
_LONG = {"name": "cosine", "T": 4000}
_LONG_LINEAR = {"name": "linear", "T": 4000, "beta_start": 2.5e-5, "beta_end": 0.005}
_COUNTED = {"time_scale": 4.0}  # these take times 0..3999, the others with 4000 steps 0..1000

PUBLISHED: dict[str, dict[str, Any]] = {
    "imagenet64_uncond_100M_1500K": {"network": _IMPROVED, "schedule": _LONG, "side": 64},
    "imagenet64_uncond_vlb_100M_1500K": {"network": _IMPROVED, "schedule": _LONG, "side": 64},
    "imagenet64_cond_270M_250K": {"network": _IMPROVED | _COUNTED, "schedule": _LONG, "side": 64},
    "cifar10_uncond_50M_500K": {"network": _IMPROVED | {"dropout": 0.3}, "schedule": _LONG, "side": 32},
    "cifar10_uncond_vlb_50M_500K": {"network": _IMPROVED | {"dropout": 0.3}, "schedule": _LONG, "side": 32},
    "upsample_cond_500K": {"network": _IMPROVED | _COUNTED, "schedule": _LONG_LINEAR, "side": 256, "factor": 4},
    "lsun_uncond_100M_1200K_bs128": {"network": {"heads": 1}, "schedule": _LINEAR, "side": 256},
    "lsun_uncond_100M_2400K_bs64": {"network": {"heads": 1}, "schedule": _LINEAR, "side": 256},
    "64x64_diffusion": {"network": _GUIDED | {"dropout": 0.1}, "schedule": _COSINE, "side": 64, "by_head": False},
    "128x128_diffusion": {"network": {"heads": 4}, "schedule": _LINEAR, "side": 128},
    "256x256_diffusion": {"network": _GUIDED, "schedule": _LINEAR, "side": 256},
    "256x256_diffusion_uncond": {"network": _GUIDED, "schedule": _LINEAR, "side": 256},
    "512x512_diffusion": {"network": _GUIDED, "schedule": _LINEAR, "side": 512},
    "64_256_upsampler": {"network": {"heads": 4}, "schedule": _LINEAR, "side": 256, "factor": 4},
    "128_512_upsampler": {"network": _GUIDED, "schedule": _LINEAR, "side": 512, "factor": 4},
    "lsun_bedroom": {"network": _GUIDED | {"dropout": 0.1}, "schedule": _LINEAR, "side": 256},
    "lsun_cat": {"network": _GUIDED | {"dropout": 0.1}, "schedule": _LINEAR, "side": 256},
    "lsun_horse": {"network": _GUIDED | {"dropout": 0.1}, "schedule": _LINEAR, "side": 256},
    "lsun_horse_nodropout": {"network": _GUIDED, "schedule": _LINEAR, "side": 256},
    "64x64_classifier": {"network": _GUIDED, "schedule": _COSINE, "side": 64},
    "128x128_classifier": {"network": _GUIDED, "schedule": _LINEAR, "side": 128},
    "256x256_classifier": {"network": _GUIDED, "schedule": _LINEAR, "side": 256},
    "512x512_classifier": {"network": _GUIDED, "schedule": _LINEAR, "side": 512},
}
"""What published files do not state, by file name; taken from the flags in the READMEs of the two repositories."""

_UNTOLD = ("heads", "head_channels", "dropout", "time_scale", "null_label")
_KEYS = ("network", "schedule", "parameterization", "variance", "side", "factor", "by_head", "class_names")


@register("openai")
@dataclass(frozen=True)
class OpenAI(Format):
    """A state dict of `UNetModel`, `SuperResModel` or `EncoderUNetModel`.

    A file holds only tensors. The layout follows from their names and shapes. The number of attention heads, the
    schedule and the size of the images are known for published files by their names. For other files give them with
    `like={"network": {"heads": 4}, "schedule": {"name": "cosine", "T": 4000}, "side": 64}` (and "factor" for
    super-resolution, "by_head": False for use_new_attention_order), or put that JSON beside the weights, under their
    name with the ending .json. Otherwise defaults are assumed, with a warning.
    """

    loads: ClassVar[str] = 'guided_diffusion.unet.UNetModel(...).load_state_dict(torch.load("{path}/model.pt"))'

    def claims(self, source: Source) -> bool:
        return source.names("time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.0.in_layers.0.weight")

    def read(self, source: Source) -> nn.Module:
        state = source.floats()
        said = merged(PUBLISHED.get(source.path.stem, {}), source.told(*_KEYS))
        told = said.get("network", {})
        layout = layout_of(state, told.get("blocks"))
        own = _options(state, layout)
        if told.get("null_label") is True and own.get("classes"):
            own["classes"] -= 1  # the last label stands for no label
        options = network(own, told, _UNTOLD, source)
        if not {"heads", "head_channels"} & set(told):
            options |= {"heads": 4} if layout.way_up else _GUIDED  # their scripts' defaults
            taken = "4 are" if layout.way_up else "64 channels each are"
            source.warn(f"{source.path}: does not state its attention heads; {taken} assumed; else give "
                        'like={"network": {"heads": 2}}')  # fmt: skip
        if "schedule" not in said:
            source.warn(f"{source.path}: does not state its schedule; linear with 1000 steps is assumed; else give "
                        'like={"schedule": {"name": "cosine", "T": 4000}}')  # fmt: skip
        schedule = schedules.build(said.get("schedule", _LINEAR))
        heads = heads_of(options.get("heads", 1), options.get("head_channels"))
        make = self._denoiser if layout.way_up else self._classifier
        model = make(options, schedule, said, source)
        if layout.way_up:  # so that errors about missing tensors or shapes use the file's names
            shapes = {name: torch.empty(value.shape, device="meta") for name, value in tensors_of(model).items()}
            insist_on_fit(to_openai(shapes, layout, Attention(heads)), state, source.path)
        ours = from_openai(state, layout, Attention(heads, said.get("by_head", True)))
        load_tensors(model, ours, source.path, assign=True)
        return model

    def write(self, denoiser: Denoiser, path: Path, card: Card) -> None:
        from fromnoise.weights import openai_writing

        openai_writing.write(denoiser, path, card)

    def _denoiser(self, options: dict[str, Any], schedule: Any, said: Mapping[str, Any], source: Source) -> Denoiser:
        seen, out, factor, side = options["in_channels"], options["out_channels"], said.get("factor"), said.get("side")
        unclear = factor is None and ((seen == 6 and out in (3, 6)) or (seen == 2 and out in (1, 2)))
        channels, low = seen, None
        if unclear or factor not in (None, 1):
            if factor is None or seen % 2:
                raise FromNoiseError(f"{source.path}: has {seen} channels, as a super-resolution model has: give the "
                                     'factor by which it enlarges, like={"factor": 4}, or 1')  # fmt: skip
            channels = seen // 2
            low = LowResolution(factor, augmentations.build("none"), tells=False)
            options |= {"in_channels": channels, "image_channels": channels, "image_strength": False}
        learned = out == 2 * channels
        if not learned and out != channels:
            raise FromNoiseError(f"{source.path}: returns {out} channels for images of {channels}")
        if side is None:
            source.warn(f'{source.path}: does not state the size of its images: give like={{"side": 64}} to sample it')
        shape = None if side is None else (channels, side, side)
        variance = said.get("variance", "learned_range" if learned else "fixed_large")
        if (variance == "learned_range") != learned:
            raise FromNoiseError(f"{source.path}: the variance {variance} does not fit its network, which returns "
                                 f"{out} channels for {channels}")  # fmt: skip
        made = networks.blank({"name": "unet"} | options)
        names = class_names(said, options["classes"], source.path)
        made.check_size(shape[1:] if shape else (made.factor, made.factor))
        return Denoiser(made, schedule, said.get("parameterization", "eps"), variance, shape, names, low=low)

    def _classifier(
        self, options: dict[str, Any], schedule: Any, said: Mapping[str, Any], source: Source
    ) -> NoisyClassifier:
        places = source.state["out.2.positional_embedding"].shape[1] - 1
        side = round(places**0.5) * 2 ** (len(options["mult"]) - 1)
        outputs: int = options.pop("out_channels")
        made = networks.blank({"name": "half-unet", "outputs": outputs, "size": [side, side]} | options)
        shape = (int(options["in_channels"]), side, side)
        return NoisyClassifier(made, schedule, shape, [str(i) for i in range(outputs)])


def _options(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Any]:
    """The network's options that follow from names and shapes."""
    per = layout.blocks + 1
    widths = [len(state[f"input_blocks.{1 + i * per}.0.out_layers.3.weight"]) for i in range(len(layout.attended))]
    stem, emb = state["input_blocks.0.0.weight"], state["time_embed.0.weight"]
    if stem.dim() != 4:
        raise FromNoiseError(
            f"input_blocks.0.0.weight has shape {tuple(stem.shape)}: only networks for images can be read"
        )
    if any(width % widths[0] for width in widths) or len(stem) != widths[0]:
        raise FromNoiseError(f"its widths {widths} are no multiples of the first")
    shift = state["input_blocks.1.0.emb_layers.1.weight"]
    told: dict[str, Any] = {
        "in_channels": stem.shape[1],
        "channels": widths[0],
        "mult": [width // widths[0] for width in widths],
        "blocks": layout.blocks,
        "attention": [2**i for i, attends in enumerate(layout.attended) if attends],
        "groups": 32,
        "eps": 1e-5,
        "time_features": emb.shape[1],
        "time_width": emb.shape[0],
        "time_endpoint": False,
        "resample": "residual" if layout.residual else "centered",
        "scale_shift": len(shift) == 2 * widths[0],
    }
    if layout.way_up:
        told["out_channels"] = len(state["out.2.weight"])
        told["classes"] = len(state["label_emb.weight"]) if "label_emb.weight" in state else None
        return told
    if "out.2.positional_embedding" not in state:
        raise FromNoiseError("a classifier without attention pooling: only classifier_pool=attention can be read")
    return told | {"out_channels": len(state["out.2.c_proj.weight"])}
