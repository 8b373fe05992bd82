"""Models on the disk: load and save, nothing executed."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from fromnoise import augmentations, nn, registry, schedules, storage
from fromnoise.augmentations.low_res import LowResolution
from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.denoise import Denoiser, load_state, state
from fromnoise.errors import FromNoiseError
from fromnoise.guidance.noisy_classifier import NoisyClassifier
from fromnoise.hardware import Precision, choose
from fromnoise.nn.coder import Autoencoder
from fromnoise.train.checkpoint import Checkpoints
from fromnoise.variance import VARIANCES

ABOUT, CLASSIFIER, AUTOENCODER = "denoiser", "classifier", "autoencoder"
"""Files that say what the tensors beside them are; a model of latents has its autoencoder in a folder of that name."""

_MADE_BY = {
    ABOUT: "train digits --out",
    CLASSIFIER: "train-classifier RUN --out",
    AUTOENCODER: "train-autoencoder digits-kl --out",
}

Warn = Callable[[str], None]


def describe(denoiser: Denoiser) -> dict[str, Any]:
    """Everything but the weights, as JSON values from which `load` builds the same denoiser.

    Raises:
        FromNoiseError: the variance has no name that a file could hold.
    """
    if denoiser.variance.name not in VARIANCES:
        raise FromNoiseError(f"variance {denoiser.variance.name} is made from data and cannot be saved; "
                             f"save the model with one of {', '.join(VARIANCES)}")  # fmt: skip
    return {
        "network": registry.spec(denoiser.network),
        "schedule": registry.spec(denoiser.schedule),
        "parameterization": denoiser.parameterization.spec,
        "variance": denoiser.variance.name,
        "shape": list(denoiser.shape) if denoiser.shape else None,
        "classes": list(denoiser.class_names),
    } | _beside(denoiser)


def _beside(denoiser: Denoiser) -> dict[str, Any]:
    """What only some models have."""
    found: dict[str, Any] = {}
    if denoiser.low is not None:
        found["low"] = {"factor": denoiser.low.factor, "augmentation": registry.spec(denoiser.low.augmentation)}
    if denoiser.codec is not None:
        if not isinstance(denoiser.codec, Autoencoded):
            raise FromNoiseError(f"codec {type(denoiser.codec).__name__} cannot be saved; Autoencoded can")
        found["codec"] = {"sha256": denoiser.codec.sha256, "scale": denoiser.codec.scale}
    return found


def save(denoiser: Denoiser, path: str | Path) -> None:
    """Write a denoiser into a folder: safetensors, JSON and a manifest; what was there is replaced when it is whole.

    Raises:
        FromNoiseError: network or schedule are not registered, or the folder cannot be written.
    """
    about = describe(denoiser)
    if isinstance(denoiser.codec, Autoencoded):  # of the weights that are saved, which may be in half precision by now
        about["codec"]["sha256"] = storage.fingerprint(denoiser.codec.network.state_dict())
    _write(path, state(denoiser.network, denoiser.schedule), {ABOUT: about})
    if isinstance(denoiser.codec, Autoencoded):
        save_autoencoder(denoiser.codec.network, Path(path) / AUTOENCODER)


def load(
    path: str | Path, ema: bool = True, precision: Precision | None = None, warn: Warn = warnings.warn
) -> Denoiser:
    """A denoiser, in evaluation mode, from a run, one of its checkpoints, or a folder written by `save`.

    Of a run the newest whole checkpoint is taken; `warn` is told of damaged ones.

    Args:
        path: the folder.
        ema: the averaged weights (what papers report), where there are any.
        precision: None leaves float32 weights on the CPU; "auto", "fp32" or "bf16" puts the network on the
            best device in that format, ready to sample.
        warn: called with one line.

    Raises:
        FromNoiseError: there is no model, or none that is whole; or one of latents without its autoencoder.
    """
    folder = find(path, warn)
    about = _about(folder, ABOUT)
    codec = _codec(folder, about["codec"], warn) if "codec" in about else None
    low = about.get("low")
    network = nn.build(about["network"])
    shape = tuple(about["shape"]) if about["shape"] else None
    names = about.get("classes", ())  # files of before have none
    schedule = schedules.build(about["schedule"])
    load_state(network, schedule, _weights(folder, ema))
    if precision is not None:
        choose(precision).prepare(network, inference=True)
        if codec is not None:
            choose(precision).prepare(codec.network, inference=True)
    return Denoiser(
        network,
        schedule,
        about["parameterization"],
        about["variance"],
        shape,
        names,
        codec,
        LowResolution(low["factor"], augmentations.build(low["augmentation"])) if low else None,
    ).eval()


def _codec(folder: Path, about: dict[str, Any], warn: Warn) -> Autoencoded:
    """The autoencoder that a model of latents was trained with: beside it, or in its run."""
    places = [folder / AUTOENCODER, folder.parent.parent / AUTOENCODER]
    place = next((p for p in places if p.is_dir()), None)
    if place is None:
        raise FromNoiseError(
            f"{folder}: a model of latents, and its autoencoder is missing: put its folder at {places[-1]}"
        )
    codec = Autoencoded(load_autoencoder(place, warn), about["scale"])
    if codec.sha256 != about["sha256"]:
        raise FromNoiseError(f"{place}: not the autoencoder that this model was trained with (its hash starts with "
                             f"{codec.sha256[:12]}, not {about['sha256'][:12]}): put that one there")  # fmt: skip
    return codec


def describe_autoencoder(network: Autoencoder) -> dict[str, Any]:
    """Everything but the weights, as JSON values from which `load_autoencoder` builds the same."""
    return {"network": registry.spec(network)}


def save_autoencoder(network: Autoencoder, path: str | Path) -> None:
    """Write an autoencoder into a folder, as `save` writes a denoiser."""
    _write(path, dict(network.state_dict()), {AUTOENCODER: describe_autoencoder(network)})


def load_autoencoder(path: str | Path, warn: Warn = warnings.warn) -> Autoencoder:
    """The autoencoder that `fromnoise train-autoencoder` trained into a folder; its averaged weights, float32.

    Raises:
        FromNoiseError: there is none, or none that is whole.
    """
    folder = find(path, warn, AUTOENCODER)
    network = nn.build(_about(folder, AUTOENCODER)["network"])
    own = f"{AUTOENCODER}."  # in a run its adversary's weights lie beside its own
    weights = _weights(folder, ema=True)
    weights = {k.removeprefix(own): v for k, v in weights.items() if k.startswith(own)} or weights
    network.load_state_dict(weights)
    return network.eval()


def describe_classifier(classifier: NoisyClassifier) -> dict[str, Any]:
    """Everything but the weights, as JSON values from which `load_classifier` builds the same."""
    return {
        "network": registry.spec(classifier.network),
        "schedule": registry.spec(classifier.schedule),
        "shape": list(classifier.shape),
        "classes": list(classifier.class_names),
    }


def load_classifier(
    path: str | Path, precision: Precision | None = None, warn: Warn = warnings.warn
) -> NoisyClassifier:
    """The classifier of noisy images that `fromnoise train-classifier` trained into a folder; its averaged weights.

    Args:
        path, precision, warn: as in `load`.

    Raises:
        FromNoiseError: there is none, or none that is whole.
    """
    folder = find(path, warn, CLASSIFIER)
    about = _about(folder, CLASSIFIER)
    network = nn.build(about["network"])
    network.load_state_dict(_weights(folder, ema=True))
    if precision is not None:
        choose(precision).prepare(network, inference=True)
    return NoisyClassifier(network, schedules.build(about["schedule"]), tuple(about["shape"]), about["classes"]).eval()


def find(path: str | Path, warn: Warn = warnings.warn, kind: str = ABOUT) -> Path:
    """The folder that holds the model: `path` itself, or the newest whole checkpoint of the run `path`."""
    root = Path(path).expanduser()
    if (root / f"{kind}.json").exists():
        storage.verify_folder(root)
        return root
    if not root.exists():
        raise FromNoiseError(f"{path}: no such run; train one with: fromnoise {_MADE_BY[kind]} {path}")
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


def _weights(folder: Path, ema: bool) -> dict[str, Tensor]:
    averaged = ema and (folder / "ema.safetensors").exists()
    return storage.read_tensors(folder, "ema" if averaged else "model")


def _write(path: str | Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    try:
        storage.write_folder(Path(path).expanduser().resolve(), {"model": weights}, about)
    except OSError as error:
        raise FromNoiseError(f"{path}: cannot be written ({error.strerror or error})") from None
