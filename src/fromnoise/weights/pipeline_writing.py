"""Write a denoiser as a folder for diffusers, as a DDPMPipeline."""

from pathlib import Path
from typing import Any

from torch import nn

from fromnoise import registry, schedules
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, storage
from fromnoise.system.disk.room import insist_on_room
from fromnoise.weights.diffusers import to_diffusers
from fromnoise.weights.names import CONFIG, INDEX, SCHEDULER, STEM
from fromnoise.weights.schedulers import KINDS, STEPS, VARIANCES
from fromnoise.weights.torch_writing import A_STUDENT, MAKER, README, is_ours

_NETWORK, _WEIGHTS, _STEPS = f"unet/{CONFIG}", f"unet/{STEM}.safetensors", f"scheduler/{SCHEDULER}"
_WRITTEN = (INDEX, README, _NETWORK, _WEIGHTS, _STEPS)


def write(denoiser: Denoiser, path: str | Path, clip: bool = True, about: str = "") -> None:
    """Write a folder for `diffusers.DDPMPipeline.from_pretrained`: model_index.json, unet, scheduler and a card.

    Args:
        denoiser: a denoiser of images around a `UNet`, with a linear, scaled-linear or cosine schedule.
        path: the folder; an older one is replaced once the new one is complete.
        clip: whether the pipeline's sampler clips x0 to [-1, 1].
        about: a paragraph for the card.

    Raises:
        FromNoiseError: if diffusers cannot express the model (the message says why), other files would be lost, or the
            folder cannot be written.
    """
    from safetensors.torch import save_file

    config, scheduler = _config(denoiser), _scheduler(denoiser, clip)
    target = insist_on_room(path, _WRITTEN, is_ours, "such a pipeline")
    state = {k: v.detach().float().cpu().contiguous() for k, v in to_diffusers(denoiser.network.state_dict()).items()}
    index = {"_class_name": "DDPMPipeline", "_diffusers_version": "0.35.0", "unet": ["diffusers", "UNet2DModel"],
             "scheduler": ["diffusers", "DDPMScheduler"]}  # fmt: skip
    try:
        with storage.making(target, listed=False) as writing:
            for name in ("unet", "scheduler"):
                (writing / name).mkdir()
            files.write_json(writing / INDEX, index)
            files.write_json(writing / _NETWORK, config)
            files.write_json(writing / _STEPS, scheduler)
            files.write_text(writing / README, _card(denoiser, about))
            save_file(state, writing / _WEIGHTS, metadata={"format": "pt"})
    except OSError as error:
        raise FromNoiseError(f"{path}: cannot be written ({error.strerror or error})") from None


def _config(denoiser: Denoiser) -> dict[str, Any]:
    """The configuration of UNet2DModel."""
    network, shape = denoiser.network, denoiser.shape
    what = _cannot(denoiser)
    if what:
        raise FromNoiseError(f"diffusers: cannot hold {what}")
    o = registry.spec(network)
    heads, head_channels = o["heads"], o["head_channels"]
    widths = [o["channels"] * m for m in o["mult"]]
    attended = [2**i in o["attention"] for i in range(len(widths))]
    if head_channels is None and heads != 1:
        used = {w for w, own in zip(widths, attended, strict=True) if own} | (
            {widths[-1]} if o["mid_attention"] else set()
        )
        if len(used) > 1:
            raise FromNoiseError(f"diffusers: cannot hold {heads} heads of different widths")
        head_channels = used.pop() // heads if used else None
    residual = o["resample"] == "residual"
    label = getattr(network, "label", None)
    rows = label.num_embeddings if isinstance(label, nn.Embedding) else None
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": "0.35.0",
        "sample_size": None if shape is None else (shape[1] if shape[1] == shape[2] else list(shape[1:])),
        "in_channels": o["in_channels"],
        "out_channels": o["out_channels"] or o["in_channels"],
        "time_embedding_type": "positional",
        "time_embedding_dim": o["time_width"],
        "freq_shift": 1 if o["time_endpoint"] else 0,
        "flip_sin_to_cos": False,
        "down_block_types": ["AttnDownBlock2D" if own else "ResnetDownsampleBlock2D" if residual else "DownBlock2D"
                             for own in attended],
        "up_block_types": ["AttnUpBlock2D" if own else "ResnetUpsampleBlock2D" if residual else "UpBlock2D"
                           for own in reversed(attended)],
        "block_out_channels": widths,
        "layers_per_block": o["blocks"],
        "downsample_padding": 0 if o["resample"] == "ddpm" else 1,
        "downsample_type": "resnet" if residual else "conv",
        "upsample_type": "resnet" if residual else "conv",
        "dropout": o["dropout"],
        "act_fn": "silu",
        "attention_head_dim": head_channels,
        "norm_num_groups": o["groups"],
        "attn_norm_num_groups": o["groups"] if o["scale_shift"] else None,
        "norm_eps": o["eps"],
        "resnet_time_scale_shift": "scale_shift" if o["scale_shift"] else "default",
        "add_attention": o["mid_attention"],
        "num_class_embeds": rows,
    }  # fmt: skip


def _cannot(denoiser: Denoiser) -> str:
    """The feature that UNet2DModel lacks, in words; "" if it can express the model."""
    if denoiser.codec is not None or denoiser.low is not None:
        return "a latent or a super-resolution model as a DDPM pipeline"
    if denoiser.student is not None:
        return A_STUDENT
    network = denoiser.network
    if not (registry.is_entry(type(network)) and registry.spec(network)["name"] == "unet"):
        return f"a {type(network).__name__} as a UNet2DModel"
    o = registry.spec(network)
    for key, plain in (("patch", 1), ("skips", "blocks"), ("dims", 2), ("image_channels", 0), ("augment", False),
                       ("skip_scale", 1.0), ("up_attention", "every"), ("label_features", False),
                       ("group_channels", None), ("stem_channels", None), ("numbers", []), ("text", None),
                       ("image_embedding", None)):  # fmt: skip
        if o[key] != plain:
            return f"a U-Net with {key}={o[key]}"
    if o["resample"] in ("4x4", "projected"):
        return f"a U-Net with resample={o['resample']}"
    if o["time_features"] not in (None, o["channels"]):
        return f"a U-Net with time_features={o['time_features']}"
    return ""


def _scheduler(denoiser: Denoiser, clip: bool) -> dict[str, Any]:
    """The configuration of DDPMScheduler."""
    about = registry.spec(denoiser.schedule) if registry.is_entry(type(denoiser.schedule)) else {"name": "own"}
    rescaled = about["name"] == "zero-terminal"
    base = about["base"] if rescaled else about
    base = {"name": base} if isinstance(base, str) else dict(base)
    built = registry.spec(schedules.build(base)) if base["name"] in schedules.names() else base
    theirs = {"linear": "linear", "scaled-linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}.get(built["name"])
    plain = built["name"] != "cosine" or (built["s"], built["max_beta"], built["shift"]) == (0.008, 0.999, 0.0)
    if theirs is None or not plain:
        raise FromNoiseError(f"diffusers: cannot hold the schedule {built['name']} with these options: take linear, "
                             "scaled-linear or cosine")  # fmt: skip
    steps, scale = int(built["T"]), getattr(denoiser.network, "time_scale", 1.0)
    if scale != steps / STEPS:
        raise FromNoiseError(f"diffusers: cannot hold a chain of {steps} steps whose network gets times up to "
                             f"{STEPS * scale:g}: its networks count steps (time_scale={steps / STEPS:g})")  # fmt: skip
    kind = {ours: name for name, ours in KINDS.items()}.get(denoiser.parameterization.name)
    variance = denoiser.variance.spec if isinstance(denoiser.variance.spec, str) else denoiser.variance.spec["name"]
    variance = variance.replace("-", "_")
    if kind is None or variance not in VARIANCES.values():
        raise FromNoiseError("diffusers: cannot hold the parameterization "
                             f"{denoiser.parameterization.name} with the variance {variance}")  # fmt: skip
    ends = {key: built[key] for key in ("beta_start", "beta_end") if key in built}
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": "0.35.0",
        "num_train_timesteps": steps,
        "beta_schedule": theirs,
        **ends,
        "prediction_type": kind,
        "variance_type": variance,
        "clip_sample": clip,
        "timestep_spacing": "leading",
        "rescale_betas_zero_snr": rescaled,
    }


def _card(denoiser: Denoiser, about: str) -> str:
    count = sum(p.numel() for p in denoiser.network.parameters())
    shape = "x".join(map(str, denoiser.shape or ()))
    classes = ", ".join(denoiser.class_names[:20])
    lines = [
        "---",
        "library_name: diffusers",
        "tags: [unconditional-image-generation, fromnoise]",
        "---",
        "",
        f"# A diffusion model of {shape or 'images'}",
        "",
        f"{count:,} parameters, {MAKER}. {about}".strip(),
        *(["", f"Classes, in the order of their labels: {classes}."] if classes else []),
        "",
        "```python",
        "from diffusers import DDPMPipeline",
        "",
        "images = DDPMPipeline.from_pretrained(FOLDER)().images",
        "```",
    ]
    return "\n".join(lines) + "\n"
