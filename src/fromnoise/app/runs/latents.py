"""Latents for training latent models: encoded once by all training processes together, or in advance."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fromnoise.app.encoding.asked import describe
from fromnoise.app.encoding.work import Work
from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.data import precomputed
from fromnoise.data.images import Images
from fromnoise.data.latents import Latents
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import storage
from fromnoise.system.hardware import Hardware
from fromnoise.system.progress import say
from fromnoise.train.distributed import Processes
from fromnoise.train.encoded import scaled
from fromnoise.weights import native

Encoded = tuple[Latents, Autoencoded]


def encoding(images: Images, run: Path, hardware: Hardware, flip: bool, processes: Processes) -> Callable[[], Encoded]:
    """Return a function that returns the latents and the scaled codec.

    All processes of the run must call the returned function; each encodes a share of the images. Latents are cached
    in parts, by the hashes of the autoencoder and the images. The first process compares cached parts with all of the
    images, so it must call `encoding` before the others do.

    Raises:
        FromNoiseError: if the run's autoencoder expects other channels, or did not encode the data.
    """
    own = native.load_autoencoder(run / native.AUTOENCODER)
    codec = Autoencoded(own)
    if isinstance(images, Latents):
        hardware.prepare(own, inference=True)
        return lambda: (images, scaled(images, codec))
    description = describe(images, codec, hardware, flip, precomputed.PART, precomputed.BATCH)
    place = storage.cache("latents") / f"{codec.sha256[:16]}-{description.key}"
    if processes.is_first:
        _begin(place, description)
    hardware.prepare(own, inference=True)
    work = Work(place, description, images, codec.encode, None, processes.is_first, processes.rank / processes.world)
    work.look(at_images=processes.is_first)

    def finish() -> Encoded:
        work.run()
        latents = Latents(place, checked=True)
        latents.name, latents.words, latents.notes = images.name, images.words, images.notes
        return latents, scaled(latents, codec)

    return finish


def latents_of(images: Images, run: Path, hardware: Hardware, flip: bool) -> Encoded:
    """Return the latents and the scaled codec in a run of one process. See `encoding`."""
    return encoding(images, run, hardware, flip, Processes())()


def _begin(place: Path, description: precomputed.Description) -> None:
    """Create the folder with its description, unless it exists."""
    with suppress(FromNoiseError):  # the description is missing or damaged
        if precomputed.describe(place).key == description.key:
            return
    for old in sorted(place.parent.glob(f"{place.name[:16]}-*/latents.npy"))[:1]:
        say(f"{old.parent}: latents in a single file, the format of older versions, are no longer read: the images "
            "are encoded again, in parts")  # fmt: skip
    place.mkdir(parents=True, exist_ok=True)
    storage.write_folder(place / precomputed.DESCRIPTION, {}, {precomputed.STEM: description.model_dump(mode="json")})
