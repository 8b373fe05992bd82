"""The arguments of `fit`, as what the trainer needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fromnoise import couplings, distill, objectives
from fromnoise import times as _times
from fromnoise.couplings.base import Coupling
from fromnoise.data.augment import Augment
from fromnoise.data.config import DataConfig
from fromnoise.data.embedded import made_by
from fromnoise.data.examples import Batches, Examples, examples_of
from fromnoise.data.worded import encoder_of, insist_on_encoder
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError, nearest
from fromnoise.objectives.base import Objective
from fromnoise.system import checks
from fromnoise.system.disk import files
from fromnoise.times.base import TimeSampling
from fromnoise.train.conditions import Conditioning
from fromnoise.train.config import TrainConfig
from fromnoise.train.diffusion import Diffusion
from fromnoise.train.encoded import examples_for, suit
from fromnoise.train.task import Task


def data_of(
    data: Any, validation: Any, model: Denoiser | Task, seed: int
) -> tuple[Examples | Batches, Examples | None]:
    """(the training data, the held-out data or None)."""
    source = _examples(data, model)
    if validation is None:
        return source, None
    share = isinstance(validation, int | float) and not isinstance(validation, bool)
    held_out = source if share else _examples(validation, model)
    if isinstance(held_out, Batches) or (isinstance(source, Batches) and share):
        raise FromNoiseError("validation: an iterable has no fixed examples; give a tensor, a Dataset or a folder")
    return held_out.split(validation, seed) if share else (source, held_out)


def insist_on_the_same_kind(task: Task, source: Examples | Batches, held_out: Examples) -> None:
    """Check the held-out data before training, not only at the first checkpoint.

    Raises:
        FromNoiseError: there is no example, the shape differs, or the network does not take a condition.
    """
    if not len(held_out):
        raise FromNoiseError("validation: no example in it")
    if isinstance(source, Examples) and tuple(held_out.shape) != tuple(source.shape):
        raise FromNoiseError(f"validation: examples of {_words(held_out.shape)}, and data of {_words(source.shape)}")
    if isinstance(source, Examples):
        own, given = (set(examples.examples([0])[1]) for examples in (held_out, source))
        if own != given:
            raise FromNoiseError(f"validation has the conditions {', '.join(sorted(own)) or 'none'}, but data has "
                                 f"{', '.join(sorted(given)) or 'none'}")  # fmt: skip
    task.draw(tuple(held_out.shape), held_out.examples([0])[1], range(1), 0, 1)


def _examples(data: Any, model: Denoiser | Task) -> Examples | Batches:
    if not isinstance(data, str | Path):
        found = examples_of(data)
    else:
        shape = model.shape if isinstance(model, Denoiser) else None
        at: dict[str, Any] = {"channels": shape[0], "size": tuple(shape[1:])} if shape and len(shape) == 3 else {}
        found = examples_for(model, str(data), DataConfig(name=str(data), **at))
    if isinstance(model, Denoiser):
        suit(model, found)
    shape = model.shape if isinstance(model, Denoiser) else None
    if shape and isinstance(found, Examples) and tuple(shape) != tuple(found.shape):
        raise FromNoiseError(f"data: examples of {_words(found.shape)}, and the denoiser's shape is {_words(shape)}")
    return found


def task_of(
    model: Any, source: Examples | Batches, objective: Objective | str, times: TimeSampling | str | None,
    coupling: Any, dropout: float | Mapping[str, float], seed: int, augment: float,
) -> Task:  # fmt: skip
    if isinstance(model, Task):
        if augment:
            raise FromNoiseError("augment: is for a Denoiser, but model is a Task, which augments examples by itself")
        insist_on_encoder(source, getattr(model.model, "text", None))
        return model
    if not isinstance(model, Denoiser):
        what = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise FromNoiseError(f"model: {what}; give fn.Denoiser(network, schedule, parameterization), or a Task")
    examples = source if isinstance(source, Examples) else None
    if examples is not None and not model.class_names:
        model.class_names = tuple(examples.classes)
    if examples is not None and model.shape is None:
        model.shape = tuple(examples.shape)
    model.text = model.text or encoder_of(examples)
    model.embeddings = model.embeddings or made_by(examples)
    checks.objects(objective=objective, times=times, coupling=coupling)
    if isinstance(objective, str) and objective.replace("_", "-") in distill.names():
        raise FromNoiseError(f"objective {objective}: is a distillation, which must be an object: objective="
                             f"fn.distill.{distill.get(objective).__name__}(teacher)")  # fmt: skip
    built = objectives.registry.resolve(objective, Objective)
    time = None if times is None else _times.registry.resolve(times, TimeSampling)
    return Diffusion(model, built, Conditioning(model, examples, dropout, seed), seed, time,
                     augment=Augment(augment) if augment else None,
                     coupling=couplings.registry.resolve(coupling, Coupling))  # fmt: skip


def config_of(options: Mapping[str, Any], **named: Any) -> TrainConfig:
    """The `train` configuration from the arguments of `fit`.

    Raises:
        FromNoiseError: a name is unknown, a value is invalid, or neither steps nor minutes are given.
    """
    for key in options:
        if key not in TrainConfig.model_fields:
            raise FromNoiseError(f"fit has no argument {key!r}{nearest(key, TrainConfig.model_fields)}")
    if named["lr"] is not None and not isinstance(named["optimizer"], str | type):
        raise FromNoiseError("lr: this optimizer has a learning rate of its own, which lr_schedule and warmup scale; "
                             "leave lr out")  # fmt: skip
    if not isinstance(named["optimizer"], str):
        named.pop("optimizer")
    kind = named["lr_schedule"]
    named["lr_schedule"] = {"name": kind} if isinstance(kind, str) else kind if isinstance(kind, Mapping) else None
    given = {key: value for key, value in {**named, **options}.items() if value is not None}
    if given.get("steps") is None and given.get("minutes") is None:
        raise FromNoiseError("this training would never end: give steps or minutes")
    try:
        return TrainConfig(**given)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":
            raise FromNoiseError(str(first["ctx"]["error"])) from None
        said = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        raise FromNoiseError(f"{'.'.join(map(str, first['loc']))}: {said}, got {first['input']!r}") from None


def folder_of(out: str | Path | None, resume: bool) -> Path | None:
    if out is None:
        return None
    folder = files.expanded(out)
    if not resume and any((folder / name).exists() for name in ("checkpoints", "metrics.jsonl")):
        raise FromNoiseError(f"out: {folder} holds a run already: continue it with resume=True, or name another folder")
    files.insist_on_own_folder(folder / "checkpoints")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FromNoiseError(f"out: {folder} cannot be written ({error.strerror or error})") from None
    return folder


def _words(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
