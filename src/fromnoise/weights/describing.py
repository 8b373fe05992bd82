"""Descriptions of models that are stored beside weights: registered names and options to build them from, never code.

A user's own class cannot be named in a file. The file then says so, and the caller passes the object when loading it.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fromnoise import augmentations, registry, schedules
from fromnoise import nn as networks
from fromnoise.augmentations.low_res import LowResolution
from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.denoise import Denoiser, load_state, state
from fromnoise.errors import FromNoiseError
from fromnoise.guidance.image_text import ImageText
from fromnoise.guidance.noisy_classifier import NoisyClassifier
from fromnoise.nn import text
from fromnoise.nn.coder import Autoencoder
from fromnoise.parameterizations import students

About = dict[str, Any]

DENOISER, CLASSIFIER, IMAGE_TEXT, AUTOENCODER = "denoiser", "classifier", "image-text", "autoencoder"
"""Stems of the files that describe a model; a latent model keeps its autoencoder in a folder of the last name."""

_OWN = "own"
"""The key that marks a user's own class; its value is the class's name, for messages."""


@dataclass(frozen=True)
class Given:
    """Objects of the user's own classes, which a file cannot name; an object that is given is always used."""

    network: nn.Module | None = None
    schedule: Any = None
    parameterization: Any = None


def describe(model: nn.Module) -> About:
    """Everything about a model but its weights, as JSON values for the `build_...` functions.

    Raises:
        FromNoiseError: if models of this kind cannot be saved, or a part of the model is made from data.
    """
    return _kind(model).describe(model)


@contextmanager
def described(where: object) -> Iterator[None]:
    """A block that builds from a description, which may come from anyone: its errors become one line about `where`.

    Raises:
        FromNoiseError: if a key is missing, a value has the wrong type, or building fails.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RuntimeError, ArithmeticError) as error:
        if isinstance(error, FromNoiseError):
            raise
        why = f"it does not say {error}" if isinstance(error, KeyError) else str(error).split("\n", 1)[0]
        raise FromNoiseError(f"{where}: no model can be built from its description: {why}") from None


def stem_of(model: nn.Module) -> str:
    """The stem of the file that describes such a model: denoiser, classifier, image-text or autoencoder.

    Raises:
        FromNoiseError: if it is none of these.
    """
    return _kind(model).stem


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """A model's weights under the names that files use."""
    return state(model.network, model.schedule) if isinstance(model, Denoiser) else dict(_weighted(model).state_dict())


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], where: object, assign: bool = False) -> None:
    """Load weights into a model; the inverse of `tensors_of`.

    Args:
        model: receives the weights.
        tensors: the weights by name.
        where: the file or folder they come from, for messages.
        assign: whether to use the tensors themselves as weights, perhaps mapped from a file, instead of copying them;
            for a `nn.blank` network, so that memory holds the weights only once.

    Raises:
        FromNoiseError: if names or shapes do not fit; the message shows the first that does not.
    """
    try:
        if isinstance(model, Denoiser):
            load_state(model.network, model.schedule, dict(tensors), assign)
        else:
            _weighted(model).load_state_dict(dict(tensors), assign=assign)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise FromNoiseError(f"{where}: its weights do not fit this {type(_weighted(model)).__name__}: "
                             f"{' '.join(lines[1:2]) or lines[0]}") from None  # fmt: skip


@torch.no_grad()
def put_average(model: nn.Module, averages: Mapping[str, Tensor], where: object) -> None:
    """Copy averaged weights into the parameters of the same names.

    Raises:
        FromNoiseError: if one is missing, belongs to no parameter, or has another shape.
    """
    own = model.weights() if isinstance(model, Denoiser) else dict(_weighted(model).named_parameters())
    for name in (*own, *averages):
        if name not in own or name not in averages or averages[name].shape != own[name].shape:
            raise FromNoiseError(f"{where}: its averaged weights do not fit: {name}")
    for name, parameter in own.items():
        parameter.copy_(averages[name])


def build_denoiser(about: About, given: Given, codec: Autoencoded | None, where: object) -> Denoiser:
    """Build a denoiser without its weights."""
    low = about.get("low")
    made = Denoiser(
        _made(about["network"], given.network, networks.build, "network", where),
        _made(about["schedule"], given.schedule, schedules.build, "schedule", where),
        given.parameterization or _told(about["parameterization"], "parameterization", where),
        about["variance"],
        tuple(about["shape"]) if about["shape"] else None,
        about.get("classes", ()),  # older files have none
        codec,
        _low(low) if low else None,
        text.build(about["text"]) if "text" in about else None,
    )
    made.student = students.build(about["student"]) if "student" in about else None
    made.embeddings = str(about["embeddings"]) if "embeddings" in about else None
    made.null = {name: torch.zeros(shape) for name, shape in about.get("null", {}).items()}
    return made


def _low(about: About) -> LowResolution:
    return LowResolution(about["factor"], augmentations.build(about["augmentation"]), about.get("tells", True))


def build_classifier(about: About, given: Given, where: object) -> NoisyClassifier:
    """Build a classifier of noisy images without its weights."""
    network = _made(about["network"], given.network, networks.build, "network", where)
    schedule = _made(about["schedule"], given.schedule, schedules.build, "schedule", where)
    return NoisyClassifier(network, schedule, tuple(about["shape"]), about["classes"])


def build_image_text(about: About, given: Given, where: object) -> ImageText:
    """Build an image-text model without its weights."""
    network = _made(about["network"], given.network, networks.build, "network", where)
    schedule = _made(about["schedule"], given.schedule, schedules.build, "schedule", where)
    return ImageText(network, schedule, tuple(about["shape"]), text.build(about["text"]))


def build_autoencoder(about: About, given: Given, where: object) -> Autoencoder:
    """Build an autoencoder without its weights."""
    return _made(about["network"], given.network, networks.build, "network", where)


def _denoiser(denoiser: Denoiser) -> About:
    kind = denoiser.parameterization
    about = {
        "network": _named(denoiser.network),
        "schedule": _named(denoiser.schedule),
        "parameterization": kind.spec if registry.is_entry(type(kind)) else {_OWN: type(kind).__name__},
        "variance": denoiser.variance.spec,
        "shape": list(denoiser.shape) if denoiser.shape else None,
        "classes": list(denoiser.class_names),
    }
    if denoiser.null:
        about["null"] = {name: list(value.shape) for name, value in denoiser.null.items()}
    if denoiser.student is not None:
        about["student"] = registry.spec(denoiser.student)
    if denoiser.text is not None:
        about["text"] = registry.spec(denoiser.text)
    if denoiser.embeddings is not None:
        about["embeddings"] = denoiser.embeddings
    if denoiser.low is not None:
        low = denoiser.low
        about["low"] = {"factor": low.factor, "augmentation": registry.spec(low.augmentation), "tells": low.tells}
    if denoiser.codec is not None:
        if not isinstance(denoiser.codec, Autoencoded):
            raise FromNoiseError(f"codec {type(denoiser.codec).__name__} cannot be saved; Autoencoded can")
        about["codec"] = {"sha256": denoiser.codec.sha256, "scale": denoiser.codec.scale}
    return about


def _classifier(classifier: NoisyClassifier) -> About:
    return {
        "network": _named(classifier.network),
        "schedule": _named(classifier.schedule),
        "shape": list(classifier.shape),
        "classes": list(classifier.class_names),
    }


def _image_text(model: ImageText) -> About:
    return {
        "network": _named(model.network),
        "schedule": _named(model.schedule),
        "shape": list(model.shape),
        "text": registry.spec(model.text),
    }


def _autoencoder(network: Autoencoder) -> About:
    return {"network": _named(network)}


@dataclass(frozen=True)
class _Kind:
    """A kind of model: its class, the stem of the file that describes it, and a function that makes the description."""

    cls: type
    stem: str
    describe: Callable[[Any], About]


_KINDS = (
    _Kind(Denoiser, DENOISER, _denoiser),
    _Kind(NoisyClassifier, CLASSIFIER, _classifier),
    _Kind(ImageText, IMAGE_TEXT, _image_text),
    _Kind(Autoencoder, AUTOENCODER, _autoencoder),
)


def _kind(model: nn.Module) -> _Kind:
    found = next((kind for kind in _KINDS if isinstance(model, kind.cls)), None)
    if found is None:
        what = model.__name__ if isinstance(model, type) else type(model).__name__
        raise FromNoiseError(f"model: a {what}; what can be saved is a Denoiser (fn.Denoiser(network, schedule)), a "
                             "NoisyClassifier, an ImageText or an autoencoder")  # fmt: skip
    return found


def _weighted(model: nn.Module) -> nn.Module:
    return model if isinstance(model, Autoencoder) else model.network  # pyrefly: ignore[bad-return]


def _named(thing: Any) -> About:
    """The object's registered name and options, or a mark that its class is the user's own."""
    if registry.is_entry(type(thing)):
        about = registry.spec(thing)
        try:
            json.dumps(about)
            return about
        except TypeError:
            pass  # an option is an object that JSON cannot hold
    return {_OWN: type(thing).__name__}


def _made(about: Any, given: Any, build: Callable[[Any], Any], what: str, where: object) -> Any:
    return given if given is not None else build(_told(about, what, where))


def _told(about: Any, what: str, where: object) -> Any:
    if isinstance(about, Mapping) and _OWN in about:
        cls = about[_OWN]
        raise FromNoiseError(f"{where}: its {what} is of the class {cls}, which is not one of fromnoise's: give one "
                             f"of the same options, fn.load(path, {what}={cls}(...))")  # fmt: skip
    return about
