"""unCLIP's training images with their embeddings, which are computed once and cached."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fromnoise.app.runs.before import shared_image_text
from fromnoise.data.embedded import Embedded, Embeddings, embeddings
from fromnoise.data.hashing import content_hash
from fromnoise.data.images import Images
from fromnoise.errors import FromNoiseError
from fromnoise.guidance import ImageText
from fromnoise.recipes.sections import UnclipConfig
from fromnoise.system.disk import storage
from fromnoise.system.hardware import Hardware
from fromnoise.system.progress import Bar
from fromnoise.weights import guides, native


def image_text_of(run: Path) -> Path | None:
    """Folder of a run's image-text model: inside the run, or beside it if the run is a stage."""
    own = run / native.IMAGE_TEXT
    return own if own.is_dir() else shared_image_text(run)


def opened(path: Path) -> ImageText | None:
    """Load the image-text model of a run, stage or checkpoint in evaluation mode; None if there is none."""
    place = image_text_of(path.parent.parent if path.parent.name == "checkpoints" else path)
    return guides.load_image_text(place) if place is not None else None


def embedded(
    images: Images,
    run: Path,
    unclip: UnclipConfig,
    hardware: Hardware,
    progress: Callable[[str, int], Callable[[], None]] | None,
) -> Embedded | Embeddings:
    """Return the images with their embeddings, cached by the hashes of the image-text model and the images.

    Raises:
        FromNoiseError: if there is no image-text model, or it expects other images.
    """
    place = image_text_of(run)
    if place is None:
        raise FromNoiseError(f"{run}: its image-text model is missing: copy its folder to {run / native.IMAGE_TEXT}")
    model = guides.load_image_text(place)
    with Bar("hashing the images", len(images)) as bar:
        content = content_hash(images, bar.advance)
    own = storage.fingerprint(model.network.state_dict())
    key = storage.short_hash((own, content))
    folder = storage.cache("embeddings") / key

    def make() -> None:
        model.to(hardware.device)
        with storage.making(folder) as writing:
            np.save(writing / "embeddings.npy", embeddings(images, model, progress).numpy())

    table = torch.from_numpy(storage.kept(folder, make, lambda place: np.load(place / "embeddings.npy")))
    return (Embeddings if unclip.role == "prior" else Embedded)(images, table, own)
