"""The images of a latent model as latents, encoded once."""

from pathlib import Path

from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.data.hashing import content_hash
from fromnoise.data.images import Images
from fromnoise.data.latents import Latents, write
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import storage
from fromnoise.system.hardware import Hardware
from fromnoise.system.progress import Bar
from fromnoise.weights import native


def latents_of(images: Images, run: Path, hardware: Hardware, flip: bool) -> tuple[Latents, Autoencoded]:
    """From the cache where the same autoencoder met the same images; and the scaled codec.

    Raises:
        FromNoiseError: the run's autoencoder is of images with other channels.
    """
    place = run / native.AUTOENCODER
    network = native.load_autoencoder(place)
    codec = Autoencoded(network)
    if network.in_channels != images.shape[0]:
        raise FromNoiseError(f"{place} is of images with {network.in_channels} channels, and {images.name} has "
                             f"{images.shape[0]}")  # fmt: skip
    hardware.prepare(network, inference=True)
    with Bar("hashing the images", len(images)) as bar:
        content = content_hash(images, bar.advance)
    how = (content, tuple(images.classes), str(hardware.dtype), flip)
    folder = storage.cache("latents") / f"{codec.sha256[:16]}-{storage.short_hash(how)}"

    def make() -> None:
        with Bar(f"encoding {images.name}", len(images) * (1 + flip)) as bar:
            write(images, codec.encode, folder, network.latent_shape(images.shape), flip, bar.advance)

    latents = storage.kept(folder, make, lambda place: Latents(images, place))
    codec.scale = 1 / max(latents.std(), 1e-12)
    latents.scale = codec.scale
    return latents, codec
