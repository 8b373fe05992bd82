"""Translate the configuration of diffusers' UNet2DModel to options of our `unet`."""

from collections.abc import Mapping
from typing import Any

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

_FIXED: dict[str, Any] = {  # options of UNet2DModel for which our network has only this value
    "center_input_sample": False, "time_embedding_type": "positional", "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1, "act_fn": "silu", "class_embed_type": None,
}  # fmt: skip
USUAL: dict[str, Any] = {  # UNet2DModel's own defaults, for what a file leaves out
    "in_channels": 3, "out_channels": 3, "freq_shift": 0, "flip_sin_to_cos": True, "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", *["AttnDownBlock2D"] * 3],
    "up_block_types": [*["AttnUpBlock2D"] * 3, "UpBlock2D"], "block_out_channels": [224, 448, 672, 896],
    "downsample_padding": 1, "downsample_type": "conv", "upsample_type": "conv",
    "dropout": 0.0, "attention_head_dim": 8, "norm_num_groups": 32, "norm_eps": 1e-5, "add_attention": True,
    "resnet_time_scale_shift": "default", "num_class_embeds": None, "time_embedding_dim": None, "sample_size": None,
}  # fmt: skip


def options(config: Mapping[str, Any], where: object) -> dict[str, Any]:
    """The options of our `unet` for the configuration of a UNet2DModel.

    Raises:
        FromNoiseError: if our network cannot express it; the message names `where`.
    """
    config = USUAL | dict(config)
    for key, value in _FIXED.items():
        if config.get(key, value) != value:
            raise FromNoiseError(f"{where}: its {key} is {files.one_line(config[key])}, and fromnoise's networks "
                                 f"have {value}")  # fmt: skip
    widths = [int(width) for width in config["block_out_channels"]]
    down, up = list(config["down_block_types"]), list(config["up_block_types"])
    attends = ["Attn" in kind for kind in down]
    if len(down) != len(widths) or attends != ["Attn" in kind for kind in reversed(up)]:
        raise FromNoiseError(f"{where}: has attention at different resolutions on the way down and on the way up")
    inside = [kind for kind in (*down, *up) if kind.startswith("Resnet")]
    plain = {"DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D", "ResnetDownsampleBlock2D",
             "ResnetUpsampleBlock2D"}  # fmt: skip
    if strange := next((kind for kind in (*down, *up) if kind not in plain), None):
        raise FromNoiseError(f"{where}: has {files.one_line(strange)}, which fromnoise's networks lack")
    residual = bool(inside) or "resnet" in (config["downsample_type"], config["upsample_type"])
    if any(width % widths[0] for width in widths):
        raise FromNoiseError(f"{where}: its widths {widths} are no multiples of the first")
    scale_shift = config["resnet_time_scale_shift"] == "scale_shift"
    own_groups = config.get(
        "attn_norm_num_groups"
    )  # groups of the attention in the middle; with None it may have no norm at all
    if config["add_attention"] and own_groups != config["norm_num_groups"] and (scale_shift or own_groups is not None):
        raise FromNoiseError(f"{where}: the attention in its middle is normalised differently from the others "
                             f"(attn_norm_num_groups {files.one_line(own_groups)})")  # fmt: skip
    shift = config["freq_shift"]
    if shift not in (0, 1):
        raise FromNoiseError(f"{where}: its freq_shift is {files.one_line(shift)}, and must be 0 or 1")
    return {
        "name": "unet",
        "in_channels": int(config["in_channels"]),
        "out_channels": int(config["out_channels"]),
        "channels": widths[0],
        "mult": [width // widths[0] for width in widths],
        "blocks": int(config["layers_per_block"]),
        "attention": [2**i for i, attended in enumerate(attends) if attended],
        "mid_attention": bool(config["add_attention"]),
        "head_channels": config["attention_head_dim"],
        "groups": int(config["norm_num_groups"]),
        "eps": float(config["norm_eps"]),
        "dropout": float(config["dropout"]),
        "time_width": config["time_embedding_dim"],
        "time_endpoint": shift == 1,
        "resample": "residual" if residual else ("ddpm" if config["downsample_padding"] == 0 else "centered"),
        "scale_shift": scale_shift,
        "classes": config["num_class_embeds"],
    }
