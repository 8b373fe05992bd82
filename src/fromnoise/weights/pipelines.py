"""Folders of diffusers' pipelines of pixels, DDPM's and DDIM's, opened: nothing in them is executed."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fromnoise import nn as networks
from fromnoise import schedules
from fromnoise.denoise import Denoiser
from fromnoise.disk import files
from fromnoise.errors import FromNoiseError
from fromnoise.weights import foreign, lora
from fromnoise.weights.describing import load_tensors
from fromnoise.weights.diffusers import from_diffusers, to_diffusers
from fromnoise.weights.formats.source import read_safetensors

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
STEM = "diffusion_pytorch_model"
_PIPELINES = ("DDPMPipeline", "DDIMPipeline")
_SCHEDULERS = ("DDPMScheduler", "DDIMScheduler")
STEPS = 1000
"""Of a chain, whose times a network of theirs and one of ours see alike."""

KINDS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
VARIANCES = {"fixed_small": "fixed_small", "fixed_small_log": "fixed_small", "fixed_large": "fixed_large",
              "fixed_large_log": "fixed_large", "learned_range": "learned_range"}  # fmt: skip
_FIXED: dict[str, Any] = {  # what else a UNet2DModel can be, and our network cannot
    "center_input_sample": False, "time_embedding_type": "positional", "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1, "act_fn": "silu", "class_embed_type": None,
}  # fmt: skip
_USUAL: dict[str, Any] = {  # UNet2DModel's own defaults, for what a file leaves out
    "in_channels": 3, "out_channels": 3, "freq_shift": 0, "flip_sin_to_cos": True, "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", *["AttnDownBlock2D"] * 3],
    "up_block_types": [*["AttnUpBlock2D"] * 3, "UpBlock2D"], "block_out_channels": [224, 448, 672, 896],
    "downsample_padding": 1, "downsample_type": "conv", "upsample_type": "conv",
    "dropout": 0.0, "attention_head_dim": 8, "norm_num_groups": 32, "norm_eps": 1e-5, "add_attention": True,
    "resnet_time_scale_shift": "default", "num_class_embeds": None, "time_embedding_dim": None, "sample_size": None,
}  # fmt: skip


def load(path: str | Path, warn: Callable[[str], None]) -> Denoiser:
    """The denoiser of a pipeline, float32, on the CPU; nothing in the folder is executed.

    Args:
        path: of the folder: model_index.json with unet/ and scheduler/; or config.json, the weights and
            scheduler_config.json beside each other.
        warn: told in a line what does not come along.

    Raises:
        FromNoiseError: another pipeline, network or scheduler, one with options that ours has not, a part that is
            missing or damaged, or weights that do not fit; in one line.
    """
    unet, config, found = _parts(files.expanded(path))
    config, scheduler = _USUAL | config, found or {}
    if found is None:
        warn(f"{path}: no {SCHEDULER}, so that DDPM's schedule is taken: linear, 1000 steps, eps")
    denoiser = _made(config, scheduler, path)
    theirs = _weights(unet)
    if any(lora.is_tensor(name) for name in theirs):
        raise FromNoiseError(f"{unet}: {lora.IS_ONE}")
    try:
        state = from_diffusers(theirs, bool(config["flip_sin_to_cos"]))
    except FromNoiseError as error:
        raise FromNoiseError(f"{unet}: {error}") from None
    _insist_on_fit(denoiser, state, path)
    load_tensors(denoiser, {name: value.float() for name, value in state.items()}, path)
    if scheduler.get("thresholding"):
        warn(f"{path}: samples there with dynamic thresholding, which does not come along; here x0 is clipped")
    elif not scheduler.get("clip_sample", True):
        warn(f"{path}: samples there without clipping x0: say so here, clip=False (--clip False)")
    return denoiser.eval()


def insist_on_known(path: str | Path) -> None:
    """By the JSON files alone, before there are weights: raises FromNoiseError as `load` does of the same."""
    _parts(files.expanded(path))


def _parts(root: Path) -> tuple[Path, dict[str, Any], dict[str, Any] | None]:
    """Where the U-Net lies, its configuration, and the scheduler's, None where a U-Net lies alone without one."""
    index = _read(root / INDEX) if os.path.lexists(root / INDEX) else {}
    if index:
        _insist(root / INDEX, index.get("_class_name"), _PIPELINES)
    elif not os.path.lexists(root / CONFIG):
        raise FromNoiseError(f"{root}: {lora.IS_ONE}")
    named = [part for part in ("unet", "scheduler") if isinstance(index.get(part), list) and any(index[part])]
    if gone := next((part for part in named if not os.path.lexists(root / part)), None):
        raise FromNoiseError(f"{root}: its part {gone} is missing, which {INDEX} names: fetch the whole pipeline")
    unet = root / "unet" if os.path.lexists(root / "unet") else root
    config = _read(unet / CONFIG)
    _insist(unet / CONFIG, config.get("_class_name"), ("UNet2DModel",))
    place = root / "scheduler" / SCHEDULER if unet != root else root / SCHEDULER
    if "scheduler" not in named and not os.path.lexists(place):
        return unet, config, None
    scheduler = _read(place)
    _insist(place, scheduler.get("_class_name"), _SCHEDULERS)
    return unet, config, scheduler


def _insist_on_fit(denoiser: Denoiser, state: Mapping[str, Tensor], where: object) -> None:
    """Raises FromNoiseError with the first tensor that is missing, strange or of another shape, by its name there."""
    wanted, found = (
        {name: list(value.shape) for name, value in to_diffusers(one).items()}
        for one in (denoiser.network.state_dict(), state)
    )
    other = [name for name in wanted if name in found and found[name] != wanted[name]]
    missing, strange = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    what = ""
    if other:
        what = f"{other[0]} has the shape {found[other[0]]}, expected {wanted[other[0]]}"
    elif missing or strange:
        what = f"{missing[0]} is missing" if missing else f"{files.one_line(strange[0])} belongs nowhere"
    if what:
        more = len(other) + len(missing) + len(strange) - 1
        raise FromNoiseError(f"{where}: its weights do not fit its {CONFIG}: {what}"
                             + (f", and {more} more" if more else ""))  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    found = files.read_json(path)
    if not isinstance(found, dict):
        raise FromNoiseError(f"{path}: holds a {type(found).__name__}, not options by name")
    return found


def _insist(path: Path, found: Any, known: tuple[str, ...]) -> None:
    if found not in known:
        raise FromNoiseError(f"{path}: of {files.one_line(found)}; what is read here is {' and '.join(known)}")


def _made(config: Mapping[str, Any], scheduler: Mapping[str, Any], where: object) -> Denoiser:
    side = config["sample_size"]
    channels = int(config["in_channels"])
    shape = None if side is None else (channels, *((side, side) if isinstance(side, int) else map(int, side)))
    network = networks.build(network_options(config, where))
    kind = scheduler.get("prediction_type", "epsilon")
    if kind not in KINDS:
        raise FromNoiseError(f"{where}: predicts {files.one_line(kind)}; what is read here is {', '.join(KINDS)}")
    variance = scheduler.get("variance_type", "fixed_small")
    if variance not in VARIANCES:
        raise FromNoiseError(f"{where}: its variance is {files.one_line(variance)}; what is read here is "
                             f"{', '.join(VARIANCES)}")  # fmt: skip
    return Denoiser(network, schedules.build(_schedule(scheduler, where)), KINDS[kind], VARIANCES[variance], shape)


def network_options(config: Mapping[str, Any], where: object) -> dict[str, Any]:
    """The options of our `unet` for the configuration of a UNet2DModel.

    Raises:
        FromNoiseError: one that our network cannot express; `where` is named.
    """
    config = _USUAL | dict(config)
    for key, value in _FIXED.items():
        if config.get(key, value) != value:
            raise FromNoiseError(f"{where}: its {key} is {files.one_line(config[key])}, which no network here has "
                                 f"(it is {value} here)")  # fmt: skip
    widths = [int(width) for width in config["block_out_channels"]]
    down, up = list(config["down_block_types"]), list(config["up_block_types"])
    attends = ["Attn" in kind for kind in down]
    if len(down) != len(widths) or attends != ["Attn" in kind for kind in reversed(up)]:
        raise FromNoiseError(f"{where}: attends at other resolutions on the way down than on the way up")
    inside = [kind for kind in (*down, *up) if kind.startswith("Resnet")]
    plain = {"DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D", "ResnetDownsampleBlock2D",
             "ResnetUpsampleBlock2D"}  # fmt: skip
    if strange := next((kind for kind in (*down, *up) if kind not in plain), None):
        raise FromNoiseError(f"{where}: has {files.one_line(strange)}, which no network here has")
    residual = bool(inside) or "resnet" in (config["downsample_type"], config["upsample_type"])
    if any(width % widths[0] for width in widths):
        raise FromNoiseError(f"{where}: its widths {widths} are no multiples of the first")
    scale_shift = config["resnet_time_scale_shift"] == "scale_shift"
    own_groups = config.get(
        "attn_norm_num_groups"
    )  # of the attention in the middle, which else may have no norm at all
    if config["add_attention"] and own_groups != config["norm_num_groups"] and (scale_shift or own_groups is not None):
        raise FromNoiseError(f"{where}: the attention in its middle is normalised otherwise than the others "
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


def _schedule(scheduler: Mapping[str, Any], where: object) -> dict[str, Any]:
    steps = scheduler.get("num_train_timesteps", STEPS)
    if steps != STEPS:
        raise FromNoiseError(f"{where}: its chain has {files.one_line(steps)} steps, and networks here see times as "
                             f"those of {STEPS}")  # fmt: skip
    kind = scheduler.get("beta_schedule", "linear")
    ends = {"beta_start": scheduler.get("beta_start", 1e-4), "beta_end": scheduler.get("beta_end", 0.02)}
    known: dict[str, dict[str, Any]] = {
        "linear": {"name": "linear", **ends},
        "scaled_linear": {"name": "scaled-linear", **ends},
        "squaredcos_cap_v2": {"name": "cosine"},
    }
    if scheduler.get("trained_betas") is not None or kind not in known:
        what = "betas of its own" if kind in known else f"the beta_schedule {files.one_line(kind)}"
        raise FromNoiseError(f"{where}: has {what}; what is read here is {', '.join(known)}")
    made = known[kind]
    return {"name": "zero-terminal", "base": made} if scheduler.get("rescale_betas_zero_snr") else made


def _weights(folder: Path) -> dict[str, Tensor]:
    """Safetensors, in one file or in shards; else the pickle, read where nothing in it can run."""
    for stem in (STEM, f"{STEM}.fp16"):
        if os.path.lexists(folder / f"{stem}.safetensors"):
            return read_safetensors(folder / f"{stem}.safetensors")
        index = folder / f"{STEM}.safetensors.index{stem.removeprefix(STEM)}.json"
        if os.path.lexists(index):
            return _shards(index)
    if os.path.lexists(folder / f"{STEM}.bin"):
        return foreign.plain(folder / f"{STEM}.bin")
    raise FromNoiseError(f"{folder}: no weights in it: {STEM}.safetensors, its shards, or {STEM}.bin")


def _shards(index: Path) -> dict[str, Tensor]:
    names = _read(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise FromNoiseError(f"{index}: does not say in which file each tensor is (weight_map)")
    state: dict[str, Tensor] = {}
    for name in sorted(set(names.values())):
        if Path(name).name != name:
            raise FromNoiseError(f"{index}: names a file elsewhere, {files.one_line(name)}")
        if not os.path.lexists(index.parent / name):
            raise FromNoiseError(f"{index}: its shard {files.one_line(name)}: no such file: fetch all of them")
        state |= read_safetensors(index.parent / name)
    if missing := sorted(set(names) - set(state)):
        raise FromNoiseError(f"{index}: {files.one_line(missing[0])} is in none of its files")
    return state
