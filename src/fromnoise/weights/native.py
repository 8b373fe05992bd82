"""Models on the disk: load and save, nothing executed."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.guidance.noisy_classifier import NoisyClassifier
from fromnoise.nn.coder import Autoencoder
from fromnoise.system.disk import files, storage
from fromnoise.system.disk.hub import hint
from fromnoise.system.disk.room import insist_on_room
from fromnoise.system.hardware import Precision, choose
from fromnoise.weights import hub, opening
from fromnoise.weights.checkpoint import Checkpoints
from fromnoise.weights.describing import (
    Given,
    build_autoencoder,
    build_classifier,
    build_denoiser,
    describe,
    described,
    load_tensors,
    put_average,
    stem_of,
    tensors_of,
)

DENOISER, CLASSIFIER, IMAGE_TEXT, AUTOENCODER = "denoiser", "classifier", "image-text", "autoencoder"
"""Files that say what the tensors beside them are; a latent model has its autoencoder in a folder of that name."""

_MADE_BY = {
    DENOISER: "train digits --out",
    CLASSIFIER: "train-classifier RUN --out",
    IMAGE_TEXT: "train emoji-image-text --out",
    AUTOENCODER: "train-autoencoder digits-kl --out",
}

_WRITTEN = {
    f"{place}{name}"
    for place in ("", f"{AUTOENCODER}/")
    for name in ("model.safetensors", storage.MANIFEST, *(f"{kind}.json" for kind in _MADE_BY))
}

Warn = Callable[[str], None]
T = TypeVar("T", bound=Any)

_PATIENCE = 100


def save(model: nn.Module, path: str | Path) -> None:
    """Write a model into a folder: safetensors, JSON and a manifest; what was there is replaced when it is whole.

    A network of your own class is saved too: `load(path, network=MyNet(...))` gives it back.

    Args:
        model: a Denoiser, a NoisyClassifier, an ImageText or an autoencoder.
        path: of the folder.

    Raises:
        FromNoiseError: another object, a variance or codec that is made from data; a folder that holds something else,
            which would be lost, or cannot be written.
    """
    about = describe(model)
    insist_on_room(path, _WRITTEN, _is_saved, "a saved model")
    codec = model.codec if isinstance(model, Denoiser) else None
    if isinstance(codec, Autoencoded):  # of the weights that are saved, which may be in half precision by now
        about["codec"]["sha256"] = storage.fingerprint(codec.network.state_dict())
    _write(path, tensors_of(model), {stem_of(model): about})
    if isinstance(codec, Autoencoded):
        save(codec.network, Path(path) / AUTOENCODER)


def load(
    path: str | Path,
    ema: bool = True,
    precision: Precision | None = None,
    warn: Warn = warnings.warn,
    *,
    network: nn.Module | None = None,
    schedule: Any = None,
    parameterization: Any = None,
    like: Any = None,
) -> Denoiser:
    """A denoiser, in evaluation mode, from a run, one of its checkpoints, a folder of `save`, or another library's.

    Such a folder may lie on the hub: hf://owner/name[@revision][/folder] is fetched into the hub's own cache as of one
    commit, safetensors and JSON alone; `warn` is told which commit a branch is. Of other libraries the formats of
    `fromnoise list weight-formats` are opened; nothing in a file is executed. Of a run the newest whole checkpoint is
    taken; `warn` is called for damaged ones.

    Args:
        path: the folder, another library's file, or hf://owner/name.
        ema: the averaged weights (what papers report), where there are any.
        precision: None leaves float32 weights on the CPU; "auto", "fp32" or "bf16" puts the network on the
            best device in that format, ready to sample.
        warn: called with one line.
        network, schedule, parameterization: objects of your own classes, into which the weights are loaded; a file
            names only fromnoise's.
        like: what another library's file does not tell, by part: {"network": {"heads": 4}, "schedule": "cosine"}; or
            the Recipe of such a model.

    Raises:
        FromNoiseError: there is no model, or none that is whole; a latent model without its autoencoder; a class that
            is yours and was not given; or weights that do not fit.
    """
    path = hub.local(path, warn)
    if opening.is_foreign(path):
        return _ready(of_kind(opening.read(path, warn, like), Denoiser, path), precision)
    if like is not None:
        raise FromNoiseError(f"like: {path} is one of fromnoise's, which says everything itself: leave it out")
    given = Given(network, schedule, parameterization)
    return reading(path, lambda folder: _denoiser(folder, ema, precision, warn, given, path), warn)


def _denoiser(
    folder: Path, ema: bool, precision: Precision | None, warn: Warn, given: Given, path: str | Path
) -> Denoiser:
    about = _about(folder, DENOISER)
    with described(folder):
        codec = _codec(folder, about["codec"], warn) if "codec" in about else None
        denoiser = build_denoiser(about, given, codec, path)
    _load_weights(denoiser, folder, ema, path)
    return _ready(denoiser, precision)


def _ready(denoiser: Denoiser, precision: Precision | None) -> Denoiser:
    """On the best device in that number format; as it is where none was asked for."""
    if precision is not None:
        choose(precision).prepare(denoiser.network, inference=True)
        if isinstance(denoiser.codec, Autoencoded):
            choose(precision).prepare(denoiser.codec.network, inference=True)
    return denoiser.eval()


def load_classifier(
    path: str | Path,
    precision: Precision | None = None,
    warn: Warn = warnings.warn,
    *,
    network: nn.Module | None = None,
) -> NoisyClassifier:
    """The classifier of noisy images that was trained into a folder, or saved; its averaged weights.

    Args:
        path, precision, warn, network: as in `load`.

    Raises:
        FromNoiseError: as in `load`.
    """
    path = hub.local(path, warn)
    if opening.is_foreign(path):
        classifier = of_kind(opening.read(path, warn), NoisyClassifier, path)
    else:
        classifier = reading(path, reader(CLASSIFIER, build_classifier, network, path), warn, CLASSIFIER)
    if precision is not None:
        choose(precision).prepare(classifier.network, inference=True)
    return classifier.eval()


def load_autoencoder(path: str | Path, warn: Warn = warnings.warn, *, network: nn.Module | None = None) -> Autoencoder:
    """The autoencoder that was trained into a folder, or saved; its averaged weights, float32.

    Raises:
        FromNoiseError: as in `load`.
    """
    path = hub.local(path, warn)
    if opening.is_foreign(path):
        return of_kind(opening.read(path, warn), Autoencoder, path)
    return reading(path, reader(AUTOENCODER, build_autoencoder, network, path), warn, AUTOENCODER).eval()


def of_kind(model: nn.Module, cls: type[T], path: str | Path) -> T:
    """The same, which must be of that class.

    Raises:
        FromNoiseError: it is a model of another kind.
    """
    if isinstance(model, cls):
        return model
    raise FromNoiseError(f"{path}: holds a {type(model).__name__}, and not a {cls.__name__}, which is asked for")


def reader(
    kind: str, build: Callable[[dict[str, Any], Given, object], T], network: nn.Module | None, path: str | Path
) -> Callable[[Path], T]:
    """What `reading` asks for, of a model that is its averaged weights and nothing else."""

    def read(folder: Path) -> T:
        about = _about(folder, kind)
        with described(folder):
            made = build(about, Given(network), path)
        _load_weights(made, folder, True, path)
        return made

    return read


def _codec(folder: Path, about: dict[str, Any], warn: Warn) -> Autoencoded:
    """The autoencoder that a latent model was trained with: beside it, or in its run."""
    places = [folder / AUTOENCODER, folder.parent.parent / AUTOENCODER]
    place = next((p for p in places if p.is_dir()), None)
    if place is None:
        raise FromNoiseError(
            f"{folder}: a latent model, and its autoencoder is missing: put its folder at {places[-1]}"
        )
    codec = Autoencoded(load_autoencoder(place, warn), about["scale"])
    if codec.sha256 != about["sha256"]:
        raise FromNoiseError(f"{place}: not the autoencoder that this model was trained with (its hash starts with "
                             f"{codec.sha256[:12]}, not {about['sha256'][:12]}): put that one there")  # fmt: skip
    return codec


def reading(path: str | Path, read: Callable[[Path], T], warn: Warn = warnings.warn, kind: str = DENOISER) -> T:
    """What `read` makes of the folder that holds the model; a trainer may let go of a checkpoint while it is read, and
    then there is a newer one."""
    for _ in range(_PATIENCE):
        folder = find(path, warn, kind)
        try:
            return read(folder)
        except storage.Damaged:
            if folder.is_dir():
                raise
    raise FromNoiseError(f"{path}: its checkpoints come and go faster than they can be read: try again, or train with "
                         "a larger train.keep")  # fmt: skip


def find(path: str | Path, warn: Warn = warnings.warn, kind: str = DENOISER) -> Path:
    """The folder that holds the model: `path` itself, or the newest whole checkpoint of the run `path`."""
    root = files.expanded(path)
    if os.path.lexists(root / f"{kind}.json"):
        storage.verify_folder(root)
        return root
    if not os.path.lexists(root):
        way = hint(path) or f"; train one with: fromnoise {_MADE_BY[kind]} {path}"
        raise FromNoiseError(f"{path}: no such {'folder' if hint(path) else 'run'}{way}")
    checkpoints = Checkpoints(root / "checkpoints")
    found = checkpoints.newest_whole(warn)
    if found is None:
        _insist(root, kind)
        why = "all its checkpoints are damaged" if checkpoints.steps() else "it holds no checkpoint yet"
        raise FromNoiseError(f"{path}: no model to load, {why}")
    return found


def parameters(folder: Path) -> int:
    """How many numbers the model of a checkpoint has, a learned schedule's included."""
    return sum(t.numel() for t in storage.read_tensors(folder, "model").values())


def _about(folder: Path, kind: str) -> dict[str, Any]:
    _insist(folder, kind)
    return storage.read_text(folder, kind)


def _insist(folder: Path, kind: str) -> None:
    """Raises FromNoiseError where the folder holds a model of another kind."""
    other = next((k for k in _MADE_BY if (folder / f"{k}.json").exists()), kind)
    if other != kind and not (folder / f"{kind}.json").exists():
        raise FromNoiseError(f"{folder}: holds no {kind}; it is of kind {other}")


def _load_weights(model: nn.Module, folder: Path, ema: bool, where: object) -> None:
    """All tensors of the model, and over its parameters their averages: buffers have none, nor have tied names."""
    load_tensors(model, _own(model, storage.read_tensors(folder, "model")), where)
    if ema and storage.holds(folder, "ema"):
        put_average(model, _own(model, storage.read_tensors(folder, "ema")), where)


def _own(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """In the run of an autoencoder its adversary's weights lie beside its own."""
    if not isinstance(model, Autoencoder):
        return tensors
    before = f"{AUTOENCODER}."
    return {k.removeprefix(before): v for k, v in tensors.items() if k.startswith(before)} or tensors


def _is_saved(place: Path) -> bool:
    """Whether the manifest of a folder is that of a saved model."""
    return not storage.manifest(place).isdisjoint(f"{kind}.json" for kind in _MADE_BY)


def _write(path: str | Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    try:
        storage.write_folder(files.expanded(path).resolve(), {"model": weights}, about)
    except OSError as error:
        raise FromNoiseError(f"{path}: cannot be written ({error.strerror or error})") from None
