"""What a file says of a model beside its weights: names and options from which the same is built, never code.

A class that is not one of ours cannot be named in a file; the file then says so, and whoever loads it gives the object.
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

_OWN = "own"
"""The key that stands where a class is the user's, with its name for people."""


@dataclass(frozen=True)
class Given:
    """Objects of the user's own classes, for what a file cannot name; each is used in any case where it is given."""

    network: nn.Module | None = None
    schedule: Any = None
    parameterization: Any = None


def describe(model: nn.Module) -> About:
    """Everything but the weights, as JSON values from which `build` makes the same.

    Raises:
        FromNoiseError: no model of a kind that can be saved, or a part of it is made from data.
    """
    return _kind(model).describe(model)


@contextmanager
def described(where: object) -> Iterator[None]:
    """Whatever building from a description raises is one line about the folder: the description may be anybody's.

    Raises:
        FromNoiseError: as such, or a key that is missing, or a value of another kind.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RuntimeError, ArithmeticError) as error:
        if isinstance(error, FromNoiseError):
            raise
        why = f"it does not say {error}" if isinstance(error, KeyError) else str(error).split("\n", 1)[0]
        raise FromNoiseError(f"{where}: its description makes no model: {why}") from None


def stem_of(model: nn.Module) -> str:
    """The name of the file that describes a model of this kind: denoiser, classifier or autoencoder.

    Raises:
        FromNoiseError: it is none of them.
    """
    return _kind(model).stem


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The weights, by the names that files have."""
    return state(model.network, model.schedule) if isinstance(model, Denoiser) else dict(_weighted(model).state_dict())


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], where: object, assign: bool = False) -> None:
    """The inverse of `tensors_of`.

    Args:
        model: it.
        tensors: by name.
        where: they are from.
        assign: whether the tensors become its weights as they lie in memory, perhaps in that of a file, in place of
            being copied: of a `nn.blank` network, so that both are not in memory at once.

    Raises:
        FromNoiseError: names or shapes do not fit; with the first that does not.
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
    """The averaged weights into the parameters of their names.

    Raises:
        FromNoiseError: one is missing, of no parameter, or of another shape.
    """
    own = model.weights() if isinstance(model, Denoiser) else dict(_weighted(model).named_parameters())
    for name in (*own, *averages):
        if name not in own or name not in averages or averages[name].shape != own[name].shape:
            raise FromNoiseError(f"{where}: its averaged weights do not fit: {name}")
    for name, parameter in own.items():
        parameter.copy_(averages[name])


def build_denoiser(about: About, given: Given, codec: Autoencoded | None, where: object) -> Denoiser:
    """A denoiser without its weights."""
    low = about.get("low")
    made = Denoiser(
        _made(about["network"], given.network, networks.build, "network", where),
        _made(about["schedule"], given.schedule, schedules.build, "schedule", where),
        given.parameterization or _told(about["parameterization"], "parameterization", where),
        about["variance"],
        tuple(about["shape"]) if about["shape"] else None,
        about.get("classes", ()),  # files of before have none
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
    """A classifier of noisy images without its weights."""
    network = _made(about["network"], given.network, networks.build, "network", where)
    schedule = _made(about["schedule"], given.schedule, schedules.build, "schedule", where)
    return NoisyClassifier(network, schedule, tuple(about["shape"]), about["classes"])


def build_image_text(about: About, given: Given, where: object) -> ImageText:
    """An image-text model without its weights."""
    network = _made(about["network"], given.network, networks.build, "network", where)
    schedule = _made(about["schedule"], given.schedule, schedules.build, "schedule", where)
    return ImageText(network, schedule, tuple(about["shape"]), text.build(about["text"]))


def build_autoencoder(about: About, given: Given, where: object) -> Autoencoder:
    """An autoencoder without its weights."""
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
    """A kind of model: its class, the file that describes it, and what the file says."""

    cls: type
    stem: str
    describe: Callable[[Any], About]


_KINDS = (
    _Kind(Denoiser, "denoiser", _denoiser),
    _Kind(NoisyClassifier, "classifier", _classifier),
    _Kind(ImageText, "image-text", _image_text),
    _Kind(Autoencoder, "autoencoder", _autoencoder),
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
    """Its registered name and options; or that its class is the user's."""
    if registry.is_entry(type(thing)):
        about = registry.spec(thing)
        try:
            json.dumps(about)
            return about
        except TypeError:
            pass  # an option is an object, which no file holds
    return {_OWN: type(thing).__name__}


def _made(about: Any, given: Any, build: Callable[[Any], Any], what: str, where: object) -> Any:
    return given if given is not None else build(_told(about, what, where))


def _told(about: Any, what: str, where: object) -> Any:
    if isinstance(about, Mapping) and _OWN in about:
        cls = about[_OWN]
        raise FromNoiseError(f"{where}: its {what} is of the class {cls}, which is not one of fromnoise's: give one "
                             f"of the same options, fn.load(path, {what}={cls}(...))")  # fmt: skip
    return about
