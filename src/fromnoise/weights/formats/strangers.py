"""Third-party files that are recognised but cannot be read: what they are, and what can be done."""

from collections.abc import Callable
from dataclasses import dataclass

from fromnoise.weights import lora
from fromnoise.weights.formats.source import Source


@dataclass(frozen=True)
class Stranger:
    """A kind of file: how it is recognised, and the end of a sentence that begins with the file's name."""

    claims: Callable[[set[str], set[str]], bool]
    what: str


def _any(names: set[str], *parts: str) -> bool:
    return any(part in name for name in names for part in parts)


# `claims` gets the names of the tensors and the names at the top of the file
_KNOWN = (
    Stranger(lambda names, _: any(map(lora.is_tensor, names)), lora.IS_ONE),
    Stranger(lambda names, _: _any(names, "model.diffusion_model.", "first_stage_model."),
             "is a latent diffusion or Stable Diffusion checkpoint with its autoencoder and perhaps a text encoder in "
             "one file: convert it to a folder with diffusers' from_single_file(...).save_pretrained(FOLDER)"),
    Stranger(lambda names, entries: _any(names, "all_modules."),
             "is of score_sde (NCSN++ or DDPM++ of Song et al. 2021), whose FIR resampling fromnoise does not have"),
    Stranger(lambda names, _: _any(names, "emb_gain", "attn_qkv", "emb_noise"),
             "is of EDM2, whose magnitude-preserving layers fromnoise does not have"),
    Stranger(lambda names, entries: {"step", "opt", "ema", "version"} <= entries or _any(names, "ema_model."),
             "is of denoising-diffusion-pytorch, whose network has RMS norms and linear attention, which fromnoise "
             "does not have"),
    Stranger(lambda names, _: _any(names, "attn2.", "text_model.", "double_blocks."),
             "is of a text-conditional network, and fromnoise reads none from other libraries yet"),
)  # fmt: skip


def recognized(source: Source) -> str:
    """What a file is, as the end of a sentence that begins with its name; "" if it is not recognised."""
    names, entries = set(source.state), set(source.opened.entries)
    return next((stranger.what for stranger in _KNOWN if stranger.claims(names, entries)), "")
