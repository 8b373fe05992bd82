"""Load and save models; nothing in a file is executed."""

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
    AUTOENCODER,
    CLASSIFIER,
    DENOISER,
    IMAGE_TEXT,
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
    """Write a model into a folder: safetensors, JSON and a manifest. An older model there is replaced in one step.

    A model with a network of your own class can be saved, too: load it with `load(path, network=MyNet(...))`.

    Args:
        model: a Denoiser, a NoisyClassifier, an ImageText or an autoencoder.
        path: the folder.

    Raises:
        FromNoiseError: if `model` is another object, or has a variance or codec that is made from data; if the folder
            holds other files, which would be lost, or cannot be written.
    """
    about = describe(model)
    insist_on_room(path, _WRITTEN, _is_saved, "a saved model")
    codec = model.codec if isinstance(model, Denoiser) else None
    if isinstance(codec, Autoencoded):  # the hash of the weights as saved, perhaps in half precision
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
    """Load a denoiser in evaluation mode, from a run, a checkpoint, a folder of `save`, or another library's format.

    From a run the newest intact checkpoint is loaded. The formats of `fromnoise list weight-formats` are recognised;
    nothing in a file is executed. A model on the hub, hf://owner/name[@revision][/folder], is downloaded into the hub's
    own cache at one commit, as safetensors and JSON only.

    Args:
        path: the folder, another library's file, or hf://owner/name.
        ema: whether to load the averaged weights, which papers report, if there are any.
        precision: None leaves float32 weights on the CPU; "auto", "fp32" or "bf16" moves the network to the best device
            in that format, ready to sample.
        warn: called with one line, such as about a damaged checkpoint or the commit of a branch on the hub.
        network, schedule, parameterization: objects of your own classes, which a file cannot name; weights are loaded
            into them.
        like: facts that another library's file does not state, {"network": {"heads": 4}, "schedule": "cosine"}, or
            the Recipe of such a model.

    Raises:
        FromNoiseError: if there is no intact model, a latent model lacks its autoencoder, an object of your own class
            is not given, or weights do not fit.
    """
    path = hub.local(path, warn)
    if opening.is_foreign(path):
        return _ready(of_kind(opening.read(path, warn, like), Denoiser, path), precision)
    if like is not None:
        raise FromNoiseError(f"like: {path} is a fromnoise model, which describes itself: leave like out")
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
    """Move the networks to the best device in a number format, unless `precision` is None."""
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
    """Load a classifier of noisy images with its averaged weights, from a run or a saved folder.

    Args:
        path, precision, warn, network: see `load`.

    Raises:
        FromNoiseError: the errors of `load`.
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
    """Load an autoencoder with its averaged weights in float32, from a run or a saved folder.

    Raises:
        FromNoiseError: the errors of `load`.
    """
    path = hub.local(path, warn)
    if opening.is_foreign(path):
        return of_kind(opening.read(path, warn), Autoencoder, path)
    return reading(path, reader(AUTOENCODER, build_autoencoder, network, path), warn, AUTOENCODER).eval()


def of_kind(model: nn.Module, cls: type[T], path: str | Path) -> T:
    """Return a model after checking its class.

    Raises:
        FromNoiseError: if it is a model of another kind.
    """
    if isinstance(model, cls):
        return model
    raise FromNoiseError(f"{path}: must hold a {cls.__name__}, got a {type(model).__name__}")


def reader(
    kind: str, build: Callable[[dict[str, Any], Given, object], T], network: nn.Module | None, path: str | Path
) -> Callable[[Path], T]:
    """The function that `reading` needs, for a model that consists only of its averaged weights."""

    def read(folder: Path) -> T:
        about = _about(folder, kind)
        with described(folder):
            made = build(about, Given(network), path)
        _load_weights(made, folder, True, path)
        return made

    return read


def _codec(folder: Path, about: dict[str, Any], warn: Warn) -> Autoencoded:
    """Load the autoencoder that a latent model was trained with, from its folder or from its run."""
    places = [folder / AUTOENCODER, folder.parent.parent / AUTOENCODER]
    place = next((p for p in places if p.is_dir()), None)
    if place is None:
        raise FromNoiseError(
            f"{folder}: is a latent model without its autoencoder: put the autoencoder's folder at {places[-1]}"
        )
    codec = Autoencoded(load_autoencoder(place, warn), about["scale"])
    if codec.sha256 != about["sha256"]:
        raise FromNoiseError(f"{place}: is not the autoencoder that this model was trained with (its hash starts with "
                             f"{codec.sha256[:12]}, not {about['sha256'][:12]}): put that one there")  # fmt: skip
    return codec


def reading(path: str | Path, read: Callable[[Path], T], warn: Warn = warnings.warn, kind: str = DENOISER) -> T:
    """Return read(folder), for the folder that holds the model. If a trainer removes a checkpoint while it is read, the
    newer one is read instead."""
    for _ in range(_PATIENCE):
        folder = find(path, warn, kind)
        try:
            return read(folder)
        except storage.Damaged:
            if folder.is_dir():
                raise
    raise FromNoiseError(f"{path}: its checkpoints are replaced faster than they can be read: try again, or train with "
                         "a larger train.keep")  # fmt: skip


def find(path: str | Path, warn: Warn = warnings.warn, kind: str = DENOISER) -> Path:
    """The folder that holds the model: `path` itself, or the newest intact checkpoint of the run `path`."""
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
    """The number of parameters in a checkpoint's model, including those of a learned schedule."""
    return sum(t.numel() for t in storage.read_tensors(folder, "model").values())


def _about(folder: Path, kind: str) -> dict[str, Any]:
    _insist(folder, kind)
    return storage.read_text(folder, kind)


def _insist(folder: Path, kind: str) -> None:
    """Raise FromNoiseError if the folder holds a model of another kind."""
    other = next((k for k in _MADE_BY if (folder / f"{k}.json").exists()), kind)
    if other != kind and not (folder / f"{kind}.json").exists():
        raise FromNoiseError(f"{folder}: holds no {kind}; it is of kind {other}")


def _load_weights(model: nn.Module, folder: Path, ema: bool, where: object) -> None:
    """Load all tensors, then the averages over the parameters: buffers and second names of tied weights have none."""
    load_tensors(model, _own(model, storage.read_tensors(folder, "model")), where)
    if ema and storage.holds(folder, "ema"):
        put_average(model, _own(model, storage.read_tensors(folder, "ema")), where)


def _own(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The model's own tensors: in an autoencoder's run those of its adversary are stored beside them."""
    if not isinstance(model, Autoencoder):
        return tensors
    before = f"{AUTOENCODER}."
    return {k.removeprefix(before): v for k, v in tensors.items() if k.startswith(before)} or tensors


def _is_saved(place: Path) -> bool:
    """Whether a folder's manifest belongs to a saved model."""
    return not storage.manifest(place).isdisjoint(f"{kind}.json" for kind in _MADE_BY)


def _write(path: str | Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    try:
        storage.write_folder(files.expanded(path).resolve(), {"model": weights}, about)
    except OSError as error:
        raise FromNoiseError(f"{path}: cannot be written ({error.strerror or error})") from None
