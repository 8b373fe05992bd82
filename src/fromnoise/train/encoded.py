"""Training on encoded data: the model gets the autoencoder that made the latents, or must already have it."""

from pathlib import Path

from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.data import precomputed
from fromnoise.data.config import DataConfig
from fromnoise.data.examples import Batches, Examples
from fromnoise.data.latents import Latents, latents_in
from fromnoise.data.loading import load
from fromnoise.data.worded import Worded
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import storage
from fromnoise.weights.describing import AUTOENCODER


def scaled(latents: Latents, codec: Autoencoded) -> Autoencoded:
    """The codec, with its scale set to one over the standard deviation of these latents, which are multiplied by it.

    Raises:
        FromNoiseError: the latents were encoded by another autoencoder.
    """
    _insist_on_maker(latents, codec)
    codec.scale = latents.scale = 1 / max(latents.std(), 1e-12)
    return codec


def examples_for(model: object, name: str, config: DataConfig) -> Examples:
    """The examples that `fit` trains on, from a data set's name.

    For an encoded data set, these are its latents, or its images if the denoiser has their shape; with the encoded
    captions if there are any and the model takes text.

    Raises:
        FromNoiseError: the data set cannot be loaded; see `data.load` and `data.Latents`.
    """
    folder = precomputed.named(name)
    if folder is None:
        return load(config)
    about = precomputed.describe(folder)
    own = isinstance(model, Denoiser) and model.codec is None and model.shape == tuple(about.shape)
    found = load(config) if about.latent is None or own else Latents(folder)
    encoder = model.text if isinstance(model, Denoiser) else None
    return found if encoder is None or found.words is None else Worded(found, encoder)


def suit(model: Denoiser, source: Examples | Batches) -> None:
    """Give a model the autoencoder of the latents that it is trained on, unless it has one, and give them its scale.

    Raises:
        FromNoiseError: the model's codec is not the autoencoder that encoded the latents.
    """
    latents = latents_in(source)
    if latents is None:
        return
    if model.codec is None:
        place: Path = latents.folder / AUTOENCODER
        if place.is_dir():
            from fromnoise.weights import native

            model.codec = scaled(latents, Autoencoded(native.load_autoencoder(place)))
        return
    if not isinstance(model.codec, Autoencoded):
        raise FromNoiseError(f"data: {latents.folder} holds latents of an autoencoder, but the model's codec is a "
                             f"{type(model.codec).__name__}: encode its latents yourself")  # fmt: skip
    _insist_on_maker(latents, model.codec)
    latents.scale = model.codec.scale


def keep_autoencoder(model: object, run: Path | None) -> None:
    """Save a latent model's autoencoder in the folder of its run, where `load` finds it, unless it is there already."""
    codec = model.codec if isinstance(model, Denoiser) else None
    if run is None or not isinstance(codec, Autoencoded) or (run / AUTOENCODER).exists():
        return
    if storage.fingerprint(codec.network.state_dict()) == codec.sha256:  # not if it was converted to half precision
        from fromnoise.weights import native

        native.save(codec.network, run / AUTOENCODER)


def _insist_on_maker(latents: Latents, codec: Autoencoded) -> None:
    maker = latents.description.autoencoder or ""
    if codec.sha256 != maker:
        raise FromNoiseError(f"{latents.folder} was encoded by another autoencoder than the model's (its hash starts "
                             f"with {maker[:12]}, not {codec.sha256[:12]}): use that one, of which the folder holds a "
                             "copy, or encode again")  # fmt: skip
