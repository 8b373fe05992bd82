"""Write a denoiser for improved- and guided-diffusion."""

from pathlib import Path
from typing import Any

from fromnoise import registry
from fromnoise.denoise import Denoiser
from fromnoise.weights import torch_writing
from fromnoise.weights.formats.base import Card
from fromnoise.weights.openai import Attention, Layout, heads_of, to_openai
from fromnoise.weights.torch_writing import variance_of

_PLAIN: dict[str, Any] = {
    "patch": 1, "skips": "blocks", "dims": 2, "augment": False, "mid_attention": True, "groups": 32, "eps": 1e-5,
    "time_endpoint": False, "stem_channels": None, "skip_scale": 1.0, "up_attention": "every", "group_channels": None,
    "label_features": False,
}  # fmt: skip
_SCHEDULES = {"linear": {"beta_start": 1e-4, "beta_end": 0.02}, "cosine": {"s": 0.008, "max_beta": 0.999, "shift": 0.0}}
_KINDS, _VARIANCES = ("eps", "x0"), ("learned_range", "fixed_large", "fixed_small")
_UNTOLD = ("blocks", "heads", "head_channels", "dropout", "time_scale", "null_label")


def write(denoiser: Denoiser, path: Path, card: Card) -> None:
    """Write a folder with a model.pt for `UNetModel(...).load_state_dict`, or `SuperResModel` for super-resolution.

    Args:
        denoiser: a denoiser of images around a `UNet`.
        path: the folder.
        card: the text of its README.

    Raises:
        FromNoiseError: if these libraries cannot express the model (the message says why), or the folder cannot be
            written.
    """
    o, diffusion = _network(denoiser), _diffusion(denoiser)
    attended = tuple(2**i in o["attention"] for i in range(len(o["mult"])))
    layout = Layout(o["blocks"], attended, o["resample"] == "residual")
    state = {k: v.detach().float().cpu() for k, v in denoiser.network.state_dict().items()}
    theirs = to_openai(state, layout, Attention(heads_of(o["heads"], o["head_channels"])))
    said = {
        "network": {key: o[key] for key in _UNTOLD},
        "schedule": registry.spec(denoiser.schedule),
        "parameterization": denoiser.parameterization.name,
        "variance": variance_of(denoiser),
        "class_names": list(denoiser.class_names),
    }
    said |= {"side": denoiser.shape[-1]} if denoiser.shape else {}
    said |= {"factor": denoiser.low.factor if denoiser.low is not None else 1}
    torch_writing.write(denoiser, path, theirs, said, _code(o, diffusion, denoiser), card)


def _network(denoiser: Denoiser) -> dict[str, Any]:
    """The network's options, if a network of theirs can express it."""
    if denoiser.codec is not None:
        raise _cannot("a latent model, which has an autoencoder")
    o, low = torch_writing.own_options(denoiser, "unet", "openai"), denoiser.low
    for key, plain in _PLAIN.items():
        if o[key] != plain:
            raise _cannot(f"a unet with {key}={o[key]}; it must be {plain}")
    if o["resample"] not in ("centered", "residual"):
        raise _cannot(f"a unet with resample={o['resample']}; it must be centered or residual")
    if (o["time_width"] or 4 * o["channels"]) != 4 * (o["time_features"] or o["channels"]):
        raise _cannot("a unet whose time_width is not four times its time_features")
    if o["image_channels"] and (low is None or low.tells or o["image_channels"] != o["in_channels"]):
        raise _cannot("a model with an image condition other than super-resolution without a strength")
    if denoiser.shape is not None and denoiser.shape[1] != denoiser.shape[2]:
        raise _cannot("a model of images that are not square")
    return o


def _diffusion(denoiser: Denoiser) -> dict[str, Any]:
    """The arguments of `create_gaussian_diffusion`."""
    spec = registry.spec(denoiser.schedule)
    name, steps = spec["name"], spec.get("T", 0)
    plain = dict(_SCHEDULES.get(name, {}))
    if name == "linear":  # theirs scales the betas of 1000 steps to any number of steps
        plain = {key: value * 1000 / steps for key, value in plain.items()}
    if not plain or any(abs(spec[key] - value) > 1e-9 for key, value in plain.items()):
        raise _cannot(f"the schedule {name} with these options: it must be cosine, or linear with betas from 0.1/T "
                      "to 20/T")  # fmt: skip
    kind, variance = denoiser.parameterization.name, variance_of(denoiser)
    if kind not in _KINDS or variance not in _VARIANCES:
        raise _cannot(f"the parameterization {kind} with the variance {variance}")
    scale = denoiser.network.time_scale
    if scale not in (1.0, steps / 1000):
        raise _cannot(f"a network with time_scale={scale} and a chain of {steps} steps")
    small = {"sigma_small": True} if variance == "fixed_small" else {}
    return {
        "steps": steps,
        "noise_schedule": name,
        "learn_sigma": variance == "learned_range",
        "predict_xstart": kind == "x0",
        "rescale_timesteps": scale == 1.0 and steps != 1000,
    } | small


def _code(o: dict[str, Any], diffusion: dict[str, Any], denoiser: Denoiser) -> list[str]:
    features, classes = o["time_features"] or o["channels"], o["classes"]
    arguments = {
        "image_size": denoiser.shape[-1] if denoiser.shape else None,
        "in_channels": o["in_channels"],
        "model_channels": features,
        "out_channels": o["out_channels"] or o["in_channels"],
        "num_res_blocks": o["blocks"],
        "attention_resolutions": list(o["attention"]),
        "dropout": o["dropout"],
        "channel_mult": [m * o["channels"] / features for m in o["mult"]],
        "num_classes": classes + o["null_label"] if classes else None,
        "num_heads": o["heads"],
        "num_head_channels": o["head_channels"] or -1,
        "use_scale_shift_norm": o["scale_shift"],
        "resblock_updown": o["resample"] == "residual",
    }
    cls = "SuperResModel" if denoiser.low is not None else "UNetModel"
    return [
        "import torch",
        "from guided_diffusion.script_util import create_gaussian_diffusion",
        f"from guided_diffusion.unet import {cls}",
        "",
        f"model = {cls}(",
        *(f"    {key}={value!r}," for key, value in arguments.items()),
        ")",
        'model.load_state_dict(torch.load("model.pt", weights_only=True))',
        f"diffusion = create_gaussian_diffusion({', '.join(f'{key}={value!r}' for key, value in diffusion.items())})",
    ]


def _cannot(what: str) -> Exception:
    return torch_writing.cannot("openai", what)
