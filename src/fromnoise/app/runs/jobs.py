"""What is trained in a run: one class for each kind of configuration."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fromnoise import nn, objectives, rng, samplers, storage, times
from fromnoise.app.runs.plan import SamplingPlan
from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.data.hashing import content_hash
from fromnoise.data.images import Images, to_uint8, to_unit
from fromnoise.data.latents import Latents
from fromnoise.data.latents import write as write_latents
from fromnoise.errors import FromNoiseError
from fromnoise.hardware import Hardware
from fromnoise.pictures import columns, grid
from fromnoise.progress import Bar
from fromnoise.recipes.autoencoder import AutoencoderRecipe
from fromnoise.recipes.classifier import ClassifierConfig
from fromnoise.recipes.config import RunConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.train.autoencode import Autoencoding, Pair
from fromnoise.train.classify import Classifying
from fromnoise.train.diffusion import Diffusion
from fromnoise.train.labels import Labels, known
from fromnoise.train.task import Task
from fromnoise.weights import native

_GRID = 16
Talk = Callable[[str], None]


class Job(ABC):
    """A configuration and its images, made ready for the trainer.

    Attributes:
        config: as the images want it.
        images: what is fed.
        task: what is trained.
        about: what a checkpoint says of it.
        flip: whether half of the examples are mirrored when they are fed.
    """

    config: RunConfig
    images: Images
    task: Task
    about: dict[str, Any]
    noun = "images"

    @property
    def flip(self) -> bool:
        return self.config.data.flip

    @abstractmethod
    def picture(self, path: Path) -> None:
        """A look in passing."""

    @abstractmethod
    def next(self, out: Path) -> str:
        """What a person does with it."""


class DiffusionJob(Job):
    """A denoiser of images, of latents, or of what lies between a small image and a large one."""

    def __init__(self, config: Recipe, images: Images, out: Path, hardware: Hardware, talk: Talk):
        self.config = config = _with_classes(config, images, talk)
        codec = None
        if config.latent is not None:
            images, codec = _latents_of(images, out, hardware, config.data.flip)
        self.images = images
        self.latents = codec is not None
        self.noun = "latents" if self.latents else "images"
        self.denoiser = denoiser = config.build(images.shape)
        denoiser.class_names, denoiser.codec = tuple(images.classes), codec
        self.choice = SamplingPlan.of(config.sample)  # a wrong option is better known now than at the first grid
        labels = Labels(denoiser, images, config.train.label_dropout, config.seed)
        objective = objectives.build(config.objective)
        self.task = Diffusion(denoiser, objective, labels, config.seed, times.build(config.times))
        self.about = {native.ABOUT: native.describe(denoiser)}

    @property
    def flip(self) -> bool:
        """Latents are mirrored already: half of them are those of mirror images."""
        return self.config.data.flip and not self.latents

    def picture(self, path: Path) -> None:
        choice, denoiser = self.choice, self.choice.steered(self.denoiser)
        steps = min(choice.steps, 50, denoiser.schedule.chain.steps)  # not the final picture
        cond, n = {}, _GRID
        if denoiser.low is not None:
            pixels, labels = self.images.batch(_spread(self.images, n))
            n = len(pixels)
            z = denoiser.low.shrunk(to_unit(pixels))
            strength = torch.full((n,), self.choice.strength, dtype=torch.float64)
            eps = rng.normal(self.config.seed, range(n), 0, tuple(z.shape[1:]), rng.Stream.LOW_NOISE)
            cond = denoiser.low.condition(z, strength, eps) | (known(denoiser, self.images, labels) or {})
        drawn = samplers.sample(
            denoiser, n, choice.sampler, steps, self.config.seed, cond or None, spacing=choice.spacing
        )
        grid(to_uint8(drawn.cpu()), columns(n, denoiser.classes)).save(path)

    def next(self, out: Path) -> str:
        if self.denoiser.low is not None:
            return f"fromnoise sample {out.parent} --n 64 --out {out.parent.name}.png"
        return f"fromnoise sample {out} --n 64 --out {out.name}.png    or: fromnoise show {out}"


class ClassifierJob(Job):
    """A classifier of noisy images."""

    def __init__(self, config: ClassifierConfig, images: Images, out: Path, hardware: Hardware, talk: Talk):
        if len(images.classes) < 2:
            raise FromNoiseError(f"{images.name} has no classes to tell apart: put each into a sub-folder of its own")
        self.config, self.images = config, images
        self.classifier = config.build(images.shape, list(images.classes))
        self.task = Classifying(self.classifier, config.seed, times.build(config.times))
        self.about = {native.CLASSIFIER: native.describe_classifier(self.classifier)}

    def picture(self, path: Path) -> None:
        """There is none: its figure is made once, at the end."""

    def next(self, out: Path) -> str:
        return f"fromnoise sample RUN --classifier {out} --classifier-scale 2, and --guidance 0 if RUN is told classes"


class AutoencoderJob(Job):
    """An autoencoder, with its adversary if it has one."""

    def __init__(self, config: AutoencoderRecipe, images: Images, out: Path, hardware: Hardware, talk: Talk):
        self.config, self.images = config, images
        network, loss = config.build(images.shape[0]), config.loss
        adversary = None
        if loss.discriminator is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                adversary = nn.build(loss.discriminator, in_channels=images.shape[0])
            adversary.check_size(images.shape[1:])
        self.pair = Pair(network, adversary)
        shape = network.latent_shape(images.shape)
        self.task = Autoencoding(
            self.pair, config.seed, shape, loss.penalty, loss.adversarial, loss.after, loss.perceptual
        )
        self.about = {native.AUTOENCODER: native.describe_autoencoder(network)}

    def picture(self, path: Path) -> None:
        """Images above, their reconstructions below."""
        x = to_unit(self.images.batch(_spread(self.images, 8))[0])
        weight = next(self.pair.parameters())
        with torch.no_grad():
            again = self.pair.autoencoder.decode(self.pair.autoencoder.encode(x.to(weight.device)))
        grid(to_uint8(torch.cat([x, again.float().cpu()])), len(x)).save(path)

    def next(self, out: Path) -> str:
        return f"fromnoise train RECIPE --autoencoder {out}, with a recipe of latents such as digits-latent"


JOBS: dict[type[RunConfig], Callable[..., Job]] = {
    Recipe: DiffusionJob,
    ClassifierConfig: ClassifierJob,
    AutoencoderRecipe: AutoencoderJob,
}


def _with_classes(config: Recipe, images: Images, talk: Talk) -> Recipe:
    """A recipe whose network knows classes, made for those of the images; without them the model is told none."""
    asked, there = config.network.get("classes"), len(images.classes)
    if not asked or asked == there:
        return config
    if there > 1:
        return config.with_changes({"network.classes": there})
    talk(f"{images.name} has no classes (a sub-folder is one): the model is trained without labels")
    return config.with_changes({"network.classes": None, "train.label_dropout": 0.0, "sample.guidance": 1.0})


def _spread(images: Images, n: int) -> list[int]:
    """At most n images, evenly over the set, which is often sorted by class."""
    n = min(n, len(images))
    return [i * len(images) // n for i in range(n)]


def _latents_of(images: Images, out: Path, hardware: Hardware, flip: bool) -> tuple[Images, Autoencoded]:
    """The images as latents, from the cache where the same autoencoder met the same images; and the scaled codec."""
    network = native.load_autoencoder(out / native.AUTOENCODER)
    codec = Autoencoded(network)
    if network.in_channels != images.shape[0]:
        raise FromNoiseError(f"{out / native.AUTOENCODER} is of images with {network.in_channels} channels, and "
                             f"{images.name} has {images.shape[0]}")  # fmt: skip
    hardware.prepare(network, inference=True)
    with Bar("hashing the images", len(images)) as bar:
        content = content_hash(images, bar.advance)
    how = (content, tuple(images.classes), str(hardware.dtype), flip)
    folder = storage.cache("latents") / f"{codec.sha256[:16]}-{storage.short_hash(how)}"
    with storage.locked(folder):
        if not folder.exists():
            write_latents(images, codec.encode, folder, network.latent_shape(images.shape), flip)
    latents = Latents(images, folder)
    codec.scale = 1 / max(latents.std(), 1e-12)
    latents.scale = codec.scale
    return latents, codec
