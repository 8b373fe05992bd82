"""Load the models that guide another one: classifiers of noisy images, and image-text models."""

import os
import warnings
from pathlib import Path

from torch import nn

from fromnoise.guidance.image_text import ImageText
from fromnoise.guidance.noisy_classifier import NoisyClassifier
from fromnoise.system.disk import files
from fromnoise.system.hardware import Precision, choose
from fromnoise.weights import hub, native
from fromnoise.weights.checkpoint import Checkpoints
from fromnoise.weights.describing import build_image_text


def load_image_text(
    path: str | Path,
    precision: Precision | None = None,
    warn: native.Warn = warnings.warn,
    *,
    network: nn.Module | None = None,
) -> ImageText:
    """Load an image-text model with its averaged weights, from a run or a saved folder.

    Args:
        path, precision, warn, network: see `load`.

    Raises:
        FromNoiseError: the errors of `load`.
    """
    read = native.reader(native.IMAGE_TEXT, build_image_text, network, path)
    made = native.reading(hub.local(path, warn), read, warn, native.IMAGE_TEXT)
    if precision is not None:
        choose(precision).prepare(made.network, inference=True)
    return made.eval()


def load_guide(path: str | Path, precision: Precision | None = None) -> NoisyClassifier | ImageText:
    """Load a model for classifier guidance: a classifier or an image-text model, whichever the folder holds.

    Raises:
        FromNoiseError: the errors of `load`.
    """
    place = files.expanded(hub.local(path, warnings.warn))
    folder = Checkpoints(place / "checkpoints").newest_whole(lambda line: None) or place
    words = os.path.lexists(folder / f"{native.IMAGE_TEXT}.json")
    return load_image_text(path, precision) if words else native.load_classifier(path, precision)
