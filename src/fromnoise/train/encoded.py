"""Training on data that was encoded ahead: the model gets the autoencoder that made the latents, or must have it."""

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
from fromnoise.weights import native


def scaled(latents: Latents, codec: Autoencoded) -> Autoencoded:
    """The codec with one over the standard deviation of these latents as its scale, by which they are multiplied.

    Raises:
        FromNoiseError: another autoencoder encoded them.
    """
    _insist_on_maker(latents, codec)
    codec.scale = latents.scale = 1 / max(latents.std(), 1e-12)
    return codec


def examples_for(model: object, name: str, config: DataConfig) -> Examples:
    """What `fit` learns from a name: of an encoded data set its latents, unless the denoiser is of the shape of its
    images; with the words, where a model reads them and they were encoded.

    Raises:
        FromNoiseError: as `load`, or `Latents`.
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
    """Give a model the autoencoder of the latents that it learns, where it has none; and them its scale.

    Raises:
        FromNoiseError: it has another codec than the one that encoded them.
    """
    latents = latents_in(source)
    if latents is None:
        return
    if model.codec is None:
        place: Path = latents.folder / native.AUTOENCODER
        if place.is_dir():
            model.codec = scaled(latents, Autoencoded(native.load_autoencoder(place)))
        return
    if not isinstance(model.codec, Autoencoded):
        raise FromNoiseError(f"data: {latents.folder} holds latents of an autoencoder, and the model's codec is a "
                             f"{type(model.codec).__name__}: encode its latents yourself")  # fmt: skip
    _insist_on_maker(latents, model.codec)
    latents.scale = model.codec.scale


def keep_autoencoder(model: object, run: Path | None) -> None:
    """A copy of a latent model's autoencoder in its run, from which `load` takes it, unless one is there."""
    codec = model.codec if isinstance(model, Denoiser) else None
    if run is None or not isinstance(codec, Autoencoded) or (run / native.AUTOENCODER).exists():
        return
    if storage.fingerprint(codec.network.state_dict()) == codec.sha256:  # not once it is in half precision
        native.save(codec.network, run / native.AUTOENCODER)


def _insist_on_maker(latents: Latents, codec: Autoencoded) -> None:
    maker = latents.description.autoencoder or ""
    if codec.sha256 != maker:
        raise FromNoiseError(f"{latents.folder} was encoded by another autoencoder than the model's (its hash starts "
                             f"with {maker[:12]}, not {codec.sha256[:12]}): take that one, of which it holds a copy, "
                             "or encode again")  # fmt: skip
