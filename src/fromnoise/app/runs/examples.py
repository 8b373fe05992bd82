"""The data that a configuration names: images, or latents that were encoded in advance."""

from pathlib import Path

from fromnoise.data import precomputed
from fromnoise.data.images import Images, Progress
from fromnoise.data.loading import load
from fromnoise.errors import FromNoiseError
from fromnoise.recipes.config import RunConfig
from fromnoise.weights.describing import AUTOENCODER


def examples_of(config: RunConfig, progress: Progress | None) -> Images:
    """Load the data that a configuration names: images, or latents if the data set is already encoded.

    Raises:
        FromNoiseError: if the data is encoded but the model trains on images, or if loading fails.
    """
    folder = precomputed.named(config.data.name)
    if folder is None or precomputed.describe(folder).latent is None:
        return load(config.data, progress)
    if getattr(config, "latent", None) is None:
        raise FromNoiseError(f"{folder} holds latents, and recipe {config.recipe} trains on images: name an image "
                             "data set, or use the recipe of a latent model, such as digits-latent")  # fmt: skip
    from fromnoise.data.latents import Latents

    found = Latents(folder, progress)
    if found.description.flip != config.data.flip:
        has = "includes mirror images" if found.description.flip else "has no mirror images"
        raise FromNoiseError(f"data.flip is {str(config.data.flip).lower()}, and {folder} {has}: set data.flip to "
                             f"{str(found.description.flip).lower()}, or encode again")  # fmt: skip
    return found


def kept_autoencoder(config: RunConfig) -> Path | None:
    """The autoencoder that encoded a latent model's data; None if the data is not encoded in advance."""
    folder = precomputed.named(config.data.name) if getattr(config, "latent", None) is not None else None
    return folder / AUTOENCODER if folder is not None and (folder / AUTOENCODER).is_dir() else None
