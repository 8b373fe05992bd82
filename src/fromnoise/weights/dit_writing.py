"""Write a denoiser for the DiT paper's code."""

from pathlib import Path
from typing import Any

from fromnoise import registry, schedules
from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.denoise import Denoiser
from fromnoise.nn.dit import DiT
from fromnoise.weights import torch_writing
from fromnoise.weights.dit import to_dit
from fromnoise.weights.formats.base import Card
from fromnoise.weights.torch_writing import variance_of

_PLAIN: dict[str, Any] = {
    "time_features": 256, "time_endpoint": False, "eps": 1e-6, "augment": False, "time_scale": 1.0,
}  # fmt: skip


def write(denoiser: Denoiser, path: Path, card: Card) -> None:
    """Write a folder with a model.pt for the paper's `DiT(...).load_state_dict`.

    For latent models only the transformer is written: in the paper's code, too, the autoencoder is another file.

    Args:
        denoiser: a denoiser around a `DiT` with classes, for square images or latents.
        path: the folder.
        card: the text of its README.

    Raises:
        FromNoiseError: if the paper's code cannot express the model (the message says why), or the folder cannot be
            written.
    """
    o, shape, variance = torch_writing.own_options(denoiser, "dit", "dit"), denoiser.shape, variance_of(denoiser)
    for key, plain in _PLAIN.items():
        if o[key] != plain:
            raise _cannot(f"a dit with {key}={o[key]}; it must be {plain}")
    if o["mlp_eps"] not in (None, o["eps"]):
        raise _cannot(f"a dit with mlp_eps={o['mlp_eps']}; it must equal eps")
    if registry.spec(denoiser.schedule) != registry.spec(schedules.build("linear")):
        raise _cannot("a schedule other than linear with 1000 steps")
    if denoiser.parameterization.name != "eps" or variance not in ("learned_range", "fixed_large"):
        raise _cannot(f"the parameterization {denoiser.parameterization.name} with the variance {variance}")
    if not o["classes"] or shape is None or shape[1] != shape[2]:
        raise _cannot("a network without classes, or of states that are not square")
    network = denoiser.network
    assert isinstance(network, DiT)
    theirs = to_dit({k: v.detach().float().cpu() for k, v in network.state_dict().items()}, shape[1] // o["patch"])
    said = {
        "network": {"heads": network.heads, "null_label": o["null_label"]},
        "variance": variance,
        "class_names": list(denoiser.class_names),
    } | ({"scale": denoiser.codec.scale} if isinstance(denoiser.codec, Autoencoded) else {})
    arguments = {
        "input_size": shape[1],
        "patch_size": o["patch"],
        "in_channels": o["in_channels"],
        "hidden_size": network.stem.out_channels,
        "depth": len(network.blocks),
        "num_heads": network.heads,
        "class_dropout_prob": 0.1 if o["null_label"] else 0.0,
        "num_classes": o["classes"],
        "learn_sigma": variance == "learned_range",
    }
    code = [
        "import torch",
        "from diffusion import create_diffusion",
        "from models import DiT",
        "",
        f"model = DiT({', '.join(f'{key}={value!r}' for key, value in arguments.items())})",
        'model.load_state_dict(torch.load("model.pt", weights_only=True))',
        f'diffusion = create_diffusion("250", learn_sigma={arguments["learn_sigma"]})',
    ]
    torch_writing.write(denoiser, path, theirs, said, code, card)


def _cannot(what: str) -> Exception:
    return torch_writing.cannot("dit", what)
