"""The models that a run learns from: it keeps copies of them, so that it is complete wherever it is moved.

Modules that load models are imported inside the functions, because most runs learn from no other model.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise.app.runs.before import TEACHER
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.nn import text
from fromnoise.nn.text.base import TextEncoder
from fromnoise.system.disk import storage
from fromnoise.system.hardware import choose
from fromnoise.weights.describing import AUTOENCODER, IMAGE_TEXT

if TYPE_CHECKING:
    from fromnoise.data.paired import Paired

PAIRS = "pairs"
"""Folder name, inside a student's run, of the pairs that its teacher draws."""


def keep_autoencoder(model: str | Path, out: Path) -> None:
    """Copy an autoencoder into the run `out`, unless it is already there.

    Raises:
        FromNoiseError: if the run holds another one.
    """
    from fromnoise.weights.native import load_autoencoder

    _keep(model, out / AUTOENCODER, load_autoencoder)


def keep_image_text(model: str | Path, out: Path) -> None:
    """Copy an image-text model into the run `out`, unless it is already there.

    Raises:
        FromNoiseError: if the run holds another one.
    """
    from fromnoise.weights.guides import load_image_text

    _keep(model, out / IMAGE_TEXT, load_image_text)


def _keep(model: str | Path, place: Path, load: Callable[[str | Path], Any]) -> None:
    from fromnoise.weights import native

    given = load(model)
    if not place.exists():
        native.save(given, place)
    elif storage.fingerprint(load(place).state_dict()) != storage.fingerprint(given.state_dict()):
        raise FromNoiseError(f"{place} holds another {place.name} than {model}: name another folder for the run")


def teacher_of(given: Path | None, out: Path) -> Denoiser | None:
    """Return the run's teacher, and copy it into the run if there is no copy yet.

    Raises:
        FromNoiseError: if there is no model, or the run already has another teacher.
    """
    from fromnoise.app.runs.model import open_model
    from fromnoise.weights import native

    place = out / TEACHER
    try:
        kept = native.load(place) if place.exists() else None
    except FromNoiseError as error:
        raise FromNoiseError(f"{error}: delete {place}, and name the teacher again") from None
    if given is None:
        return kept
    found = open_model(given, "fp32").denoiser
    if kept is None:
        native.save(found, place)
    elif storage.fingerprint(kept.network.state_dict()) != storage.fingerprint(found.network.state_dict()):
        raise FromNoiseError(f"{place} holds another teacher than {given}: name another folder for the run")
    return found


def words_of(encoder: Mapping[str, Any], teacher: Denoiser | None, init: Path | None) -> TextEncoder:
    """A text encoder; that of the teacher or of `init` if it is of the same kind, since their weights know its tokens.

    A student keeps its teacher's even if the captions have changed.
    """
    fresh = text.build(encoder)
    if teacher is not None and teacher.text is not None and teacher.text.options == fresh.options:
        return teacher.text
    if init is None:
        return fresh
    from fromnoise.app.runs.model import open_model

    theirs = getattr(open_model(init, "fp32").denoiser, "text", None)
    return theirs if type(theirs) is type(fresh) and theirs.options == fresh.options else fresh


def pairs_of(way: Any, seed: int, out: Path) -> "Paired":
    """Pairs drawn by the teacher and kept in the run.

    Raises:
        FromNoiseError: if the teacher is conditioned on an image, which the pairs do not store.
    """
    from fromnoise.data.paired import reflow_pairs

    teacher = way.teacher.to(choose().device)
    if getattr(teacher.network, "image_channels", 0):
        raise FromNoiseError("teacher: it is conditioned on an image: draw the pairs in Python, with "
                             "data.reflow_pairs and cond={'image': ...}")  # fmt: skip
    return reflow_pairs(teacher, way.pairs, sampler=way.sampler, steps=way.steps, seed=seed, folder=out / PAIRS,
                        progress=True)  # fmt: skip
