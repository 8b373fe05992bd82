"""Read the autoencoders and the transformer of diffusers' latent pipelines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fromnoise import nn as networks
from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.errors import FromNoiseError
from fromnoise.nn.coder import Autoencoder
from fromnoise.system.disk import files
from fromnoise.weights.autoencoder_kl import from_diffusers_kl, from_diffusers_vq
from fromnoise.weights.describing import load_tensors
from fromnoise.weights.names import CONFIG
from fromnoise.weights.parts import insist_on, read_options, weights

AUTOENCODERS = ("AutoencoderKL", "VQModel")
TRANSFORMERS = ("DiTTransformer2DModel", "Transformer2DModel")
_CODER: dict[str, Any] = {  # defaults of both classes
    "in_channels": 3, "out_channels": 3, "block_out_channels": [64], "layers_per_block": 1, "norm_num_groups": 32,
    "scaling_factor": 0.18215, "mid_block_add_attention": True,
}  # fmt: skip
_FIXED_CODER: dict[str, Any] = {"act_fn": "silu", "shift_factor": None, "latents_mean": None, "latents_std": None,
                                "use_quant_conv": True, "use_post_quant_conv": True, "norm_type": "group",
                                "lookup_from_codebook": False}  # fmt: skip
_DIT: dict[str, Any] = {
    "num_attention_heads": 16, "attention_head_dim": 72, "in_channels": 4, "out_channels": None, "num_layers": 28,
    "sample_size": 32, "patch_size": 2, "num_embeds_ada_norm": 1000, "norm_eps": 1e-5,
}  # fmt: skip
_FIXED_DIT: dict[str, Any] = {"activation_fn": "gelu-approximate", "norm_type": "ada_norm_zero", "dropout": 0.0,
                              "attention_bias": True, "norm_elementwise_affine": False}  # fmt: skip


def codec(folder: Path) -> Autoencoded:
    """The autoencoder of a pipeline, with the scale of its latents.

    Raises:
        FromNoiseError: if its class or an option is not supported, it is damaged, or its weights do not fit.
    """
    config = read_options(folder / CONFIG)
    insist_on(folder / CONFIG, config.get("_class_name"), AUTOENCODERS)
    return Autoencoded(autoencoder(folder, config), float((_CODER | config)["scaling_factor"]))


def autoencoder(folder: Path, config: Mapping[str, Any]) -> Autoencoder:
    """The autoencoder network alone, in float32.

    Raises:
        FromNoiseError: the errors of `codec`.
    """
    config = _CODER | dict(config)
    _insist_on_plain(config, _FIXED_CODER, folder)
    kinds = {*config.get("down_block_types", ()), *config.get("up_block_types", ())}
    if strange := sorted(kinds - {"DownEncoderBlock2D", "UpDecoderBlock2D"}):
        raise FromNoiseError(f"{folder}: has {files.one_line(strange[0])}, which fromnoise's autoencoders lack")
    is_kl = config["_class_name"] == "AutoencoderKL"
    latent = config.get("latent_channels", 4 if is_kl else 3)
    if config["in_channels"] != config["out_channels"] or config.get("vq_embed_dim") not in (None, latent):
        raise FromNoiseError(f"{folder}: the channels of its encoder and decoder, or of latents and codes, differ")
    widths = [int(width) for width in config["block_out_channels"]]
    if any(width % widths[0] for width in widths):
        raise FromNoiseError(f"{folder}: its widths {widths} are no multiples of the first")
    options = {
        "name": "kl-autoencoder" if is_kl else "vq-autoencoder",
        "in_channels": config["in_channels"],
        "channels": widths[0],
        "mult": [width // widths[0] for width in widths],
        "blocks": config["layers_per_block"],
        "latent": latent,
        "groups": config["norm_num_groups"],
        "mid_attention": config["mid_block_add_attention"],
    } | ({} if is_kl else {"codes": config.get("num_vq_embeddings", 256)})
    made = networks.blank(options)
    theirs = weights(folder)
    state = from_diffusers_kl(theirs) if is_kl else from_diffusers_vq(theirs)
    load_tensors(made, {name: value.float() for name, value in state.items()}, folder, assign=True)
    return made


def dit_options(config: Mapping[str, Any], where: object) -> tuple[dict[str, Any], tuple[int, int, int]]:
    """(options of our `dit`, shape of x_t) for the configuration of a DiTTransformer2DModel.

    Raises:
        FromNoiseError: if our network cannot express it; the message names `where`.
    """
    config = _DIT | dict(config)
    _insist_on_plain(config, _FIXED_DIT, where)
    options = {
        "name": "dit",
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "depth": config["num_layers"],
        "width": config["num_attention_heads"] * config["attention_head_dim"],
        "heads": config["num_attention_heads"],
        "patch": config["patch_size"],
        "time_endpoint": True,
        "mlp_eps": config["norm_eps"],
        "classes": config["num_embeds_ada_norm"],
        "null_label": True,
    }
    return options, (config["in_channels"], config["sample_size"], config["sample_size"])


def class_names(index: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    """Class names from `id2label`, each up to its first comma; () unless it names every label."""
    table = index.get("id2label")
    if not isinstance(table, Mapping) or {str(i) for i in range(classes)} != set(map(str, table)):
        return ()
    names = tuple(str(table[str(i)] if str(i) in table else table[i]).split(",")[0].strip() for i in range(classes))
    return names if len(set(names)) == classes else tuple(f"{i} {name}" for i, name in enumerate(names))


def _insist_on_plain(config: Mapping[str, Any], plain: Mapping[str, Any], where: object) -> None:
    for key, value in plain.items():
        if config.get(key, value) != value:
            raise FromNoiseError(f"{where}: its {key} is {files.one_line(config[key])}, and fromnoise's networks have "
                                 f"{value}")  # fmt: skip


def translated(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the transformer's state to that of our `dit`, in float32."""
    from fromnoise.weights.dit import from_diffusers_dit

    return {name: value.float() for name, value in from_diffusers_dit(state).items()}
