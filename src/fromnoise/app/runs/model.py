"""A trained model, opened and sampled."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fromnoise import samplers
from fromnoise.app.runs.config import read_config, read_if_any
from fromnoise.app.runs.plan import SampleOptions, SamplingPlan, fitting
from fromnoise.compose import cascade, unclip
from fromnoise.compose.cascade import Stage
from fromnoise.data.config import DataConfig
from fromnoise.data.images import Images, Progress, to_uint8, to_unit
from fromnoise.data.loading import load as load_images
from fromnoise.data.pairs import Pairs, Shuffled
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.sections import SampleConfig
from fromnoise.system.disk import storage
from fromnoise.system.hardware import Compile, Precision, compile_network, tune
from fromnoise.system.progress import say, warn
from fromnoise.weights import hub, native, opening


@dataclass(frozen=True)
class Model:
    """A denoiser and where it is from.

    Attributes:
        denoiser: the weights that were asked for.
        path: of the run, the checkpoint or the saved model; of one of the hub, where what is made of it is kept.
        digest: SHA-256 of the tensors' file.
        step: of training; None for a model that was saved.
        config: of the run; None for a model that was saved without one.
        ema: whether these are the averaged weights.
        precision: "fp32" or "bf16", in which the network computes.
        before: the model of a cascade that draws what this one enlarges.
        beside: images that the network is shown while it draws, one after the other.
        source: of a model of the hub: its address there, with the commit.
    """

    denoiser: Denoiser
    path: Path
    digest: str
    step: int | None
    config: Recipe | None
    ema: bool
    precision: str
    before: "Model | None" = None
    beside: Images | None = None
    source: str | None = None

    @property
    def sampling(self) -> SampleConfig:
        """How it is best sampled, as its recipe says and as far as it can be."""
        usual = self.config.sample if self.config else SampleConfig(clip=self.denoiser.codec is None)
        return fitting(usual, self.denoiser)

    def choice(self, asked: SampleOptions | None = None) -> SamplingPlan:
        """How it is sampled: what was asked for, and the rest as its recipe says; the stages before it likewise."""
        if asked is not None and self.before is None and not (asked.strength is None and asked.truncated is None):
            raise FromNoiseError("strength and truncated are of what a cascade enlarges, and here is none")
        if asked is not None and self.before is not None and (asked.weaker or asked.classifier):
            raise FromNoiseError("weaker and classifier steer one model, and this is a cascade of several")
        inner = _inner(asked)
        if inner is not None and unclip.embedding_size(self.denoiser) is not None:
            inner = replace(inner, guidance=None)  # a prior that is guided strongly leaves the sphere
        before = self.before.choice(inner) if self.before else None
        if asked is not None and before is not None and self.denoiser.text is None:
            asked = replace(asked, negative=None)  # words are for the stage that reads them
        return SamplingPlan.of(self.sampling, asked, before)

    def stages(self, choice: SamplingPlan) -> list[Stage]:
        """The models of the cascade with their guidance, the smallest first; of a model alone, itself.

        Raises:
            FromNoiseError: guidance that a model cannot have, a class that it does not know, or stages that do not fit.
        """
        before = self.before.stages(choice.before) if self.before and choice.before else []
        denoiser = choice.steered(self.denoiser)
        own = Stage(denoiser, choice.sampler, choice.steps, choice.spacing, choice.strength, choice.truncated)
        found = [*before, own]
        choice.cond(cascade.reader(found), 1)
        cascade.check(found)
        return found

    def steps(self, choice: SamplingPlan) -> int:
        """Of the samplers of all stages, for one batch; chains may have fewer distinct levels than were asked for."""
        return cascade.steps(self.stages(choice))

    def of_images(self) -> "Model":
        """Itself, where it draws images.

        Raises:
            FromNoiseError: its states are points, signals or volumes, which no picture shows.
        """
        shape = self.denoiser.image_shape
        if shape is not None and len(shape) != 3:
            raise FromNoiseError(f"{self.source or self.path}: its model draws states of {list(shape)}, and this "
                                 "command is for images: sample it in Python, fn.sample(fn.load(...), 64), or, of "
                                 "unCLIP, the run that it is a stage of")  # fmt: skip
        return self

    def compile(self, how: Compile) -> None:
        """Have the networks of all stages compiled where that pays, or where it was asked for."""
        for denoiser in self.networks():
            compile_network(denoiser.network, how, inference=True)

    @property
    def needs_images(self) -> bool:
        """Whether the network is shown an image beside x, which nobody but a person can give."""
        return self._shown > 0 and self.denoiser.low is None

    @property
    def _shown(self) -> int:
        return getattr(self.denoiser.network, "image_channels", 0)

    def with_images(self, folder: str | None = None, progress: Progress | None = None) -> "Model":
        """The same with the images that its network is shown: of a folder, else those of its own data.

        Raises:
            FromNoiseError: it is shown none, or there are none.
        """
        if not self.needs_images:
            if folder is not None:
                raise FromNoiseError("pairs: this model is shown no images: leave it out")
            return self
        shape = self.denoiser.shape
        assert shape is not None
        if folder is not None:
            usual = self.config.data if self.config is not None else DataConfig()
            wanted = DataConfig(name=folder, channels=self._shown, size=(shape[1], shape[2]), fit=usual.fit,
                                background=usual.background, memory=usual.memory)  # fmt: skip
            return replace(self, beside=load_images(wanted, progress))
        found = load_images(self.config.data.at(shape), progress) if self.config is not None else None
        if not isinstance(found, Pairs):
            raise FromNoiseError("this model is shown images beside x: name a folder of them as pairs")
        return replace(self, beside=Shuffled(found.beside))

    def told(self, numbers: range) -> Cond:
        """The images of samples of these numbers, over and over, and their classes where the model knows them."""
        if self.beside is None:
            raise FromNoiseError("this model is shown images beside x, and here are none to show: name a folder of "
                                 "them as pairs")  # fmt: skip
        pixels, labels = self.beside.batch([i % len(self.beside) for i in numbers])
        own = self.denoiser.classes and len(self.beside.classes) == self.denoiser.classes
        return {"image": to_unit(pixels)} | ({"label": labels} if own else {})

    def networks(self) -> list[Denoiser]:
        """The denoisers of all stages."""
        return [*(self.before.networks() if self.before else []), self.denoiser]

    def digests(self) -> list[str]:
        """What the weights of all stages are."""
        return [*(self.before.digests() if self.before else []), self.digest]


def _inner(asked: SampleOptions | None) -> SampleOptions | None:
    """What was asked for, as it concerns the stages before the last: only the last enlarges by that strength."""
    return replace(asked, strength=None, truncated=None) if asked is not None else None


def open_model(path: Path, precision: Precision = "auto", ema: bool = True) -> Model:
    """From a run, one of its checkpoints, a saved model or hf://owner/name; a damaged checkpoint is a warning.

    Of a cascade's run the last stage, which knows the ones before it.

    Raises:
        FromNoiseError: there is no model, or none that is whole.
    """
    if hub.is_address(path):
        folder = hub.fetched(path, say)
        opened = open_model(folder, precision, ema)
        return replace(opened, path=hub.kept(path, folder), source=hub.source(path, folder))
    if os.path.lexists(path / "config.yaml") and (stages := read_config(path).stages):
        before: Model | None = None
        for name in stages:
            before = replace(open_model(path / name, precision, ema), before=before, path=path)
        assert before is not None
        return before
    if opening.is_foreign(path):
        tune(precision)
        opened = native.load(path, ema, precision, warn)
        return _model(opened, path, storage.fingerprint(opened.network.state_dict()), None, None, False)
    run = path.parent.parent if path.parent.name == "checkpoints" else path
    config = read_if_any(run)
    tune(precision)

    def read(folder: Path) -> Model:
        averaged = ema and storage.holds(folder, "ema")
        digest = storage.digest(folder, "ema" if averaged else "model")
        state = storage.read_text(folder, "state") if storage.holds(folder, "state") else {}
        return _model(native.load(folder, ema, precision), path, digest, state.get("step"), config, averaged)

    return native.reading(path, read, warn)


def _model(
    denoiser: Denoiser, path: Path, digest: str, step: int | None, config: Recipe | None, averaged: bool
) -> Model:
    weight = next(denoiser.network.parameters())
    number_format = "bf16" if weight.dtype == torch.bfloat16 else "fp32"
    return Model(denoiser, path, digest, step, config, averaged, number_format)


def draw(
    model: Model,
    n: int,
    choice: SamplingPlan,
    seed: int,
    batch_size: int = 64,
    first: int = 0,
    callback: Callable[[samplers.Moment], None] | None = None,
) -> Tensor:
    """uint8 samples `first` to `first + n - 1` of the seed, [n, C, H, W], on the CPU.

    Raises:
        FromNoiseError: a choice that the model cannot serve, before any network call; or samples that are not finite.
    """
    return to_uint8(draw_states(model, n, choice, seed, batch_size, first, callback))


def draw_states(
    model: Model,
    n: int,
    choice: SamplingPlan,
    seed: int,
    batch_size: int = 64,
    first: int = 0,
    callback: Callable[[samplers.Moment], None] | None = None,
    stages: list[Stage] | None = None,
) -> Tensor:
    """The same as they are, [n, ...] of any shape, near [-1, 1] for images.

    Args:
        model, n, choice, seed, batch_size, first, callback: as of `draw`.
        stages: `model.stages(choice)`, where somebody watches their denoisers.

    Raises:
        FromNoiseError: as `draw`.
    """
    stages = model.stages(choice) if stages is None else stages
    cond = choice.cond(cascade.reader(stages), n, first)
    if model.needs_images:
        cond = model.told(range(first, first + n)) | (cond or {})
    return cascade.draw(stages, n, seed, cond, batch_size=batch_size, first=first, callback=callback).cpu()
