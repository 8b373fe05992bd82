"""The base of all configurations, and how dotted keys change them."""

import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import ValidationError, model_validator

from fromnoise.data.config import DataConfig
from fromnoise.errors import FromNoiseError, nearest
from fromnoise.registry.section import Section
from fromnoise.train.config import TrainConfig

if TYPE_CHECKING:
    from fromnoise.data.examples import Examples
    from fromnoise.data.images import Images
    from fromnoise.denoise import Codec
    from fromnoise.train.task import Task

Spec = dict[str, Any]


class RunConfig(Section):
    """Everything that determines a run, stored as `config.yaml` in its folder. Subclasses say what is trained.

    Attributes:
        kind: the kind of model that is trained.
        recipe: name of the recipe that the run started from.
        expected: the published figure and its source, shown by `fromnoise list`.
        reproduced: the figure reached so far, shown by `fromnoise list`.
    """

    what: ClassVar[str]
    """What is trained, in words, for messages."""
    holds: ClassVar[str]
    """Name of the checkpoint file that describes the model."""
    examples_are: ClassVar[str] = "images"
    """What the model is trained on, in words, for messages."""

    kind: str
    recipe: str
    expected: str = ""
    reproduced: str = "not on this hardware"
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    network: Spec
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _augments_what_it_tells(self) -> Self:
        if self.data.augment and (self.holds != "denoiser" or self.examples_are != "images"):
            of = self.what if self.holds != "denoiser" else f"a model trained on {self.examples_are}"
            raise FromNoiseError(f"data.augment: is for a diffusion model of images, and this is {of}: leave it at 0")
        return self

    def for_images(self, images: "Images", talk: Callable[[str], None]) -> Self:
        """The configuration adapted to these images; `talk` is called with notes for the user."""
        return self

    @abstractmethod
    def task(self, source: "Examples", codec: "Codec | None" = None, sampled: Any = None) -> "Task":
        """The training task of this configuration.

        Args:
            source: the examples: images, or the latents of `codec`.
            codec: for latent models: the autoencoder.
            sampled: for denoisers: draws the sample images during training; see `train.Diffusion`.

        Raises:
            FromNoiseError: the examples, the network and other options do not fit together.
        """

    @abstractmethod
    def next_command(self, out: Path) -> str:
        """The next command to run, as advice for the user."""

    @classmethod
    def checked(cls, values: Any) -> Self:
        """The configuration from plain values, as in a run's config.yaml.

        Raises:
            FromNoiseError: a value is wrong or a key unknown; the message has the key, and for an unknown one the
                nearest known key.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise cls._unknown_key(key, values) from None
            own = first.get("ctx", {}).get("error")
            if isinstance(own, FromNoiseError):  # raised by a validator: already a complete message
                raise FromNoiseError(f"{key}: {own}" if key else str(own)) from None
            said = f"{first['msg'][0].lower()}{first['msg'][1:]}"
            raise FromNoiseError(f"{key}: {said}, got {first['input']!r}") from None

    def with_changes(self, changes: Mapping[str, Any]) -> Self:
        """A configuration with dotted keys replaced, e.g. {"train.lr": 1e-3, "network.channels": 64}.

        Setting only `train.steps` removes the recipe's `train.minutes`, and vice versa.

        Raises:
            FromNoiseError: a key is unknown or a value is wrong; see `checked`.
        """
        values = self.model_dump(mode="json")
        limits = {"train.steps", "train.minutes"}
        if len(given := limits & changes.keys()) == 1:
            changes = {(limits - given).pop(): None} | dict(changes)
        for key, value in changes.items():
            self._put(values, key, value)
            stages = values.get("stages", {})
            if not isinstance(stages, dict) or not all(isinstance(stage, dict) for stage in stages.values()):
                raise FromNoiseError(
                    f"{key}: the stages of a cascade are set key by key, e.g. stages.NAME.train.lr=1e-3"
                )
            for stage in stages.values():
                _drop(stage, key)  # a change applies to every stage
        return self.checked(values)

    @classmethod
    def _put(cls, values: dict[str, Any], key: str, value: Any) -> None:
        *parents, last = key.split(".")
        of_stage = len(parents) > 1 and parents[0] == "stages" and parents[1] in values.get("stages", {})
        is_field = key in cls._fields()
        free = of_stage or is_field or (bool(parents) and parents[-1] in _FREE)
        place: Any = values
        for depth, part in enumerate(parents):
            if isinstance(place, dict) and place.get(part) is None and (is_field or (of_stage and depth > 1)):
                place[part] = {}  # a section without a value so far
            if not isinstance(place, dict) or part not in place:
                raise cls._unknown_key(key, values)
            place = place[part]
        if not isinstance(place, dict) or (last not in place and not free):
            raise cls._unknown_key(key, values)
        if isinstance(value, str) and (
            isinstance(place.get(last), dict) or (last in _FREE and place.get(last) is None)
        ):
            place[last] = {"name": value}  # --set schedule=cosine
        else:
            place[last] = value

    @classmethod
    @functools.cache  # pydantic takes 50 ms to build the schema, which every setting needs
    def _fields(cls) -> frozenset[str]:
        return frozenset(_keys(cls.model_json_schema()))

    @classmethod
    def _unknown_key(cls, key: str, values: dict[str, Any]) -> FromNoiseError:
        known = (cls._fields() | _dotted(values)) - {key}
        hint = nearest(key, known)
        part = key.split(".")[0]
        same = sorted(k for k in known if k.startswith(part + ".")) or sorted({k.split(".")[0] for k in known})
        return FromNoiseError(f"unknown key {key!r}{hint}; there is {', '.join(same)}")


_FREE = ("network", "schedule", "objective", "times", "coupling", "sampler", "augmentation", "discriminator",
         "lr_schedule", "columns", "way", "encoder")  # fmt: skip
"""Sections with free keys, which are checked when their object is built, or as values."""


def merged(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A nested dictionary with nested changes; a change with the key "name" replaces the whole inner dictionary."""
    out = dict(values)
    for key, value in changes.items():
        old = out.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping) and "name" not in value:
            out[key] = merged(old, value)
        else:
            out[key] = value
    return out


def _drop(values: dict[str, Any], key: str) -> None:
    """Remove a dotted key, if it exists."""
    *parents, last = key.split(".")
    for part in parents:
        if not isinstance(values := values.get(part, {}), dict):
            return
    values.pop(last, None)


def _dotted(values: Mapping[str, Any], before: str = "") -> set[str]:
    found = set()
    for key, value in values.items():
        found |= _dotted(value, f"{before}{key}.") if isinstance(value, dict) else {before + key}
    return found


def _keys(schema: dict[str, Any]) -> set[str]:
    """The dotted keys of all sections with fixed fields."""
    found = set()
    for key, field in schema["properties"].items():
        options = (*field.get("allOf", ()), *field.get("anyOf", ()))
        reference = field.get("$ref") or next((f["$ref"] for f in options if "$ref" in f), None)
        if reference:
            section = schema["$defs"][reference.rsplit("/", 1)[1]]
            found |= {f"{key}.{inner}" for inner in section["properties"]}
        else:
            found.add(key)
    return found
