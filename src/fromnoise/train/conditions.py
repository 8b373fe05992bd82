"""The conditions that the network is trained with, some of them dropped for classifier-free guidance."""

import inspect
from collections.abc import Mapping, Sequence
from zlib import crc32

import torch
from torch import Tensor

from fromnoise.data.examples import Conditions, Examples
from fromnoise.data.worded import insist_on_encoder
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError, nearest
from fromnoise.system import rng

_MADE_FOR = ("augment", "text", "image_embedding")
"""Conditions that a network of fromnoise takes only if it was built for them; otherwise its attribute is None."""


def known(denoiser: Denoiser, source: Examples, conditions: Conditions) -> Cond | None:
    """The conditions with which a model is evaluated on examples: none if their classes are not the model's.

    Raises:
        FromNoiseError: the examples do not have the network's classes, and the network has no null label.
    """
    if denoiser.null_label is not None and len(source.classes) != denoiser.classes:
        return None
    n = len(next(iter(conditions.values()), ()))
    return Conditioning(denoiser, source).of(conditions, range(n), 0) or None


class Conditioning:
    """Replace each condition by its null value with probability `dropout`, independently (Ho and Salimans 2022, arXiv
    2207.12598, Algorithm 1).

    One network thus learns p(x | c) and p(x), as Sedykh eq. 4.30 needs. Which examples lose a condition is a function
    of (seed, step, position in the global batch). An example without a class, label -1, always gets the null label.

    Args:
        denoiser: the model; the conditions that it takes are its network's arguments after x and the time.
        source: the training data.
        dropout: the share of examples that lose a condition: a number for the label, or shares by condition name.
        seed: seed of the random choice.

    Raises:
        FromNoiseError: the examples do not have the network's classes; their captions were encoded by another encoder;
            or a condition is to be dropped that the network does not take, or that has no null value.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        source: Examples | None = None,
        dropout: float | Mapping[str, float] = 0.0,
        seed: int = 0,
    ):
        self.denoiser, self.seed, self.source = denoiser, seed, source
        shares = dropout if isinstance(dropout, Mapping) else {"label": dropout}
        self.dropout = {name: share for name, share in shares.items() if share}
        # Asked before training, when the network is not yet wrapped.
        self.names, self.nulls = accepted(denoiser), denoiser.null_cond
        self.classes, self.null_label = denoiser.classes, denoiser.null_label
        self.ours = hasattr(denoiser.network, "classes")
        self._check_classes()
        insist_on_encoder(source, denoiser.text)
        for name, share in self.dropout.items():
            if not 0 < share < 1:
                raise FromNoiseError(f"dropout of the condition {name!r} must lie in [0, 1), got {share:g}")
            if self.names is not None and name not in self.names:
                what = ("drops labels, but this network takes none" if name == "label"
                        else f"drops {name!r}, which this network does not take")  # fmt: skip
                raise FromNoiseError(f"condition dropout {what}")

    def of(self, conditions: Conditions, places: Sequence[int], step: int) -> Cond:
        """The conditions for the examples at these positions of the batch of step `step`.

        Raises:
            FromNoiseError: the network does not take a condition, or an example needs a null value that does not exist.
        """
        return {name: self._one(name, value, places, step) for name, value in self._taken(conditions).items()}

    def _taken(self, conditions: Conditions) -> Conditions:
        """The conditions that the network takes. Only labels may be ignored, because most data sets have them."""
        if self.names is None:
            return conditions
        aside = {"label"} if not self.names or self.ours else set()
        strangers = [name for name in conditions if name not in self.names and name not in aside]
        if strangers:
            raise FromNoiseError(f"data has the condition {strangers[0]!r}{nearest(strangers[0], self.names)}, but the "
                                 f"network takes {', '.join(self.names) or 'none'}")  # fmt: skip
        return {name: value for name, value in conditions.items() if name in self.names}

    def _one(self, name: str, value: Tensor, places: Sequence[int], step: int) -> Tensor:
        if name == "label" and not value.is_floating_point():
            value = value.long()
        none = self._missing(value) if name == "label" else torch.zeros(len(value), dtype=torch.bool)
        share = self.dropout.get(name, 0.0)
        if share:
            stream = rng.Stream.LABEL if name == "label" else rng.Stream.CONDITION | crc32(name.encode()) << 8
            none = none | (rng.uniform(self.seed, places, step, stream) < share)
        if not share and not bool(none.any()):
            return value
        null = self._null(name, value)
        return torch.where(none.view(-1, *[1] * (value.dim() - 1)), null.to(value.dtype), value)

    def _missing(self, label: Tensor) -> Tensor:
        none = label < 0 if not label.is_floating_point() else torch.zeros(len(label), dtype=torch.bool)
        if self.null_label is None and label.dim() == 1 and bool(none.any()):
            raise FromNoiseError("an example has no class, but the network has no null label: use "
                                 "train.label_dropout (condition_dropout in Python)")  # fmt: skip
        classes = self.classes
        if classes and not label.is_floating_point() and bool((label >= classes).any()):
            raise FromNoiseError(f"label {int(label.max())}: the network has {classes} classes, 0 to {classes - 1}")
        return none

    def _null(self, name: str, value: Tensor) -> Tensor:
        if name not in self.nulls:
            if not value.is_floating_point():
                raise FromNoiseError(f"the condition {name!r} is to be dropped, but has no null value: give the "
                                     f"network an attribute null_cond = {{{name!r}: value}}"
                                     + (", or null_label" if name == "label" else ""))  # fmt: skip
            self.nulls[name] = self.denoiser.null[name] = torch.zeros(value.shape[1:])
        return self.nulls[name].cpu()

    def _check_classes(self) -> None:
        known, source = self.classes, self.source
        if source is None or not self.ours:
            return
        there = len(source.classes)
        if known and there and known != there:
            raise FromNoiseError(f"the network has {known} classes, but {source.name} has {there} classes")
        if known and not there and "label" not in source.examples([0])[1]:
            raise FromNoiseError(f"the network has {known} classes, but {source.name} has no classes: put each class "
                                 "into its own subfolder, or give (x, label)")  # fmt: skip
        if "label" in self.dropout and self.null_label is None:
            raise FromNoiseError("condition dropout drops labels, but this network "
                                 + ("has no null label" if known else "takes none"))  # fmt: skip


def insist_on_augment(denoiser: Denoiser) -> None:
    """Check that a model can be conditioned on augmentations, and can also be called without.

    Raises:
        FromNoiseError: it is a latent model, or its network has no argument `augment` with a default.
    """
    if denoiser.codec is not None:
        raise FromNoiseError("augment: transforms images, but this is a latent model: leave it at 0")
    names = accepted(denoiser)
    if names is not None and "augment" not in names:
        raise FromNoiseError("augment: the network is not conditioned on augmentations: make a unet or dit with "
                             "augment=True, or give your forward an argument augment=None, [B, 9]")  # fmt: skip
    own = inspect.signature(denoiser.network.forward).parameters.get("augment")
    if own is not None and own.default is own.empty:
        raise FromNoiseError("augment: sampling uses no augmentation: give the argument of your network's forward a "
                             "default that means none, augment=None")  # fmt: skip


def accepted(denoiser: Denoiser) -> tuple[str, ...] | None:
    """The names of the conditions that a network takes: the arguments of its `forward` after x and the time.

    None for a network that takes any condition (**conditions). A network of fromnoise takes only the conditions that it
    was built for.
    """
    parameters = list(inspect.signature(denoiser.network.forward).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    parameters = parameters[2:]
    names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
    if hasattr(denoiser.network, "classes") and not denoiser.network.classes:
        names = [name for name in names if name != "label"]
    without = [name for name in _MADE_FOR if getattr(denoiser.network, name, ...) is None]
    return tuple(name for name in names if name not in without)
