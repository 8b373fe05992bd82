"""Opening a trained model and sampling from it."""

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
    """A denoiser with its provenance.

    Attributes:
        denoiser: the denoiser with the requested weights.
        path: the run, checkpoint or saved model. For a model from the hub, the folder that keeps its results.
        digest: SHA-256 of the tensor file.
        step: training step; None for a saved model.
        config: configuration of the run; None for a model saved without one.
        ema: whether these are the averaged weights.
        precision: "fp32" or "bf16", the precision in which the network computes.
        before: for cascades, the model that draws the images that this one enlarges.
        beside: conditioning images for a network that takes an image beside x; used in turn.
        source: for a model from the hub, its address with the commit.
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
        """The recipe's sampling settings, restricted to what this model supports."""
        usual = self.config.sample if self.config else SampleConfig(clip=self.denoiser.codec is None)
        return fitting(usual, self.denoiser)

    def choice(self, asked: SampleOptions | None = None) -> SamplingPlan:
        """Plan the sampling: requested options, with defaults from the recipe; likewise for earlier stages."""
        if asked is not None and self.before is None and not (asked.strength is None and asked.truncated is None):
            raise FromNoiseError("strength and truncated apply to cascades, and this model is not one")
        if asked is not None and self.before is not None and (asked.weaker or asked.classifier):
            raise FromNoiseError("weaker and classifier steer a single model, and this is a cascade")
        inner = _inner(asked)
        if inner is not None and unclip.embedding_size(self.denoiser) is not None:
            inner = replace(inner, guidance=None)  # a prior that is guided strongly leaves the sphere
        before = self.before.choice(inner) if self.before else None
        if asked is not None and before is not None and self.denoiser.text is None:
            asked = replace(asked, negative=None)  # the negative text is for the stage that reads text
        return SamplingPlan.of(self.sampling, asked, before)

    def stages(self, choice: SamplingPlan) -> list[Stage]:
        """Return the stages of the cascade with their guidance, the smallest first; a single model is one stage.

        Raises:
            FromNoiseError: if a model does not support the guidance or the class, or the stages do not fit together.
        """
        before = self.before.stages(choice.before) if self.before and choice.before else []
        denoiser = choice.steered(self.denoiser)
        own = Stage(denoiser, choice.sampler, choice.steps, choice.spacing, choice.strength, choice.truncated)
        found = [*before, own]
        choice.cond(cascade.reader(found), 1)
        cascade.check(found)
        return found

    def steps(self, choice: SamplingPlan) -> int:
        """Count the sampler steps of all stages for one batch; a chain may have fewer levels than requested."""
        return cascade.steps(self.stages(choice))

    def of_images(self) -> "Model":
        """Return the model itself if it generates images.

        Raises:
            FromNoiseError: if its states are points, signals or volumes.
        """
        shape = self.denoiser.image_shape
        if shape is not None and len(shape) != 3:
            raise FromNoiseError(f"{self.source or self.path}: its model draws states of shape {list(shape)}, and "
                                 "this command is for images: sample it in Python, fn.sample(fn.load(...), 64), or, "
                                 "for unCLIP, name the run that it is a stage of")  # fmt: skip
        return self

    def compile(self, how: Compile) -> None:
        """Compile the networks of all stages where that pays off or is requested."""
        for denoiser in self.networks():
            compile_network(denoiser.network, how, inference=True)

    @property
    def needs_images(self) -> bool:
        """Whether the network is conditioned on an image that the user has to provide."""
        return self._shown > 0 and self.denoiser.low is None

    @property
    def _shown(self) -> int:
        return getattr(self.denoiser.network, "image_channels", 0)

    def with_images(self, folder: str | None = None, progress: Progress | None = None) -> "Model":
        """Return a copy with conditioning images: from a folder, or by default from the model's own data.

        Raises:
            FromNoiseError: if a folder is given but the network takes no images, or if there are no images.
        """
        if not self.needs_images:
            if folder is not None:
                raise FromNoiseError("pairs: this model takes no conditioning images: leave it out")
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
            raise FromNoiseError("this model is conditioned on images: name a folder of them as pairs")
        return replace(self, beside=Shuffled(found.beside))

    def told(self, numbers: range) -> Cond:
        """The conditioning images of these sample numbers, repeating in turn, with classes if the model has them."""
        if self.beside is None:
            raise FromNoiseError("this model is conditioned on images, and none are given: name a folder of them "
                                 "as pairs")  # fmt: skip
        pixels, labels = self.beside.batch([i % len(self.beside) for i in numbers])
        own = self.denoiser.classes and len(self.beside.classes) == self.denoiser.classes
        return {"image": to_unit(pixels)} | ({"label": labels} if own else {})

    def networks(self) -> list[Denoiser]:
        """The denoisers of all stages."""
        return [*(self.before.networks() if self.before else []), self.denoiser]

    def digests(self) -> list[str]:
        """SHA-256 of the weights of all stages."""
        return [*(self.before.digests() if self.before else []), self.digest]


def _inner(asked: SampleOptions | None) -> SampleOptions | None:
    """The options for the stages before the last: `strength` and `truncated` apply to the last stage only."""
    return replace(asked, strength=None, truncated=None) if asked is not None else None


def open_model(path: Path, precision: Precision = "auto", ema: bool = True) -> Model:
    """Open a run, one of its checkpoints, a saved model or hf://owner/name; warns about damaged checkpoints.

    For the run of a cascade, returns the last stage, which refers to the earlier ones.

    Raises:
        FromNoiseError: if there is no model, or no intact one.
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
    """Draw samples `first` to `first + n - 1` of the seed: uint8 [n, C, H, W] on the CPU.

    Raises:
        FromNoiseError: if the model does not support the plan (before any network call), or samples are not finite.
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
    """Draw samples as float tensors of any shape, [n, ...]; images are near [-1, 1].

    Args:
        model, n, choice, seed, batch_size, first, callback: see `draw`.
        stages: `model.stages(choice)`, possibly with wrapped denoisers; default: computed here.

    Raises:
        FromNoiseError: see `draw`.
    """
    stages = model.stages(choice) if stages is None else stages
    cond = choice.cond(cascade.reader(stages), n, first)
    if model.needs_images:
        cond = model.told(range(first, first + n)) | (cond or {})
    return cascade.draw(stages, n, seed, cond, batch_size=batch_size, first=first, callback=callback).cpu()
