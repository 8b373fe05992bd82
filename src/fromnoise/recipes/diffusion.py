"""The configuration of a denoiser: how it is trained, sampled and evaluated."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from fromnoise import distill, nn, parameterizations, recipes, variances
from fromnoise.errors import FromNoiseError
from fromnoise.nn import text
from fromnoise.recipes.config import RunConfig, Spec, merged
from fromnoise.recipes.sections import (
    DistillConfig,
    EvalConfig,
    LatentConfig,
    LowConfig,
    SampleConfig,
    TextConfig,
    UnclipConfig,
    insist_on_folders,
)

if TYPE_CHECKING:
    from fromnoise.augmentations.low_res import LowResolution
    from fromnoise.data.examples import Examples
    from fromnoise.data.images import Images
    from fromnoise.denoise import Codec, Denoiser
    from fromnoise.distill.base import Distillation
    from fromnoise.train.task import Task


_WIDTH = 128
"""Default width of text tokens, if neither the network nor the encoder sets it."""


class Recipe(RunConfig):
    """The complete configuration of a denoiser.

    Attributes:
        times: time sampling; None for the default of the distillation, or uniform times.
        distill: for students: how the model learns from its teacher.
        stages: for cascades: the changes of each stage to the shared configuration, in order, as nested values. Each
            model is stored in a folder with the name of its stage.
    """

    what: ClassVar[str] = "a diffusion model"
    holds: ClassVar[str] = "denoiser"

    kind: Literal["diffusion"] = "diffusion"
    schedule: Spec = Field({"name": "linear", "T": 1000})
    parameterization: str | Spec = "eps"
    variance: str | Spec = "fixed_large"
    objective: Spec = Field({"name": "simple"})
    times: Spec | None = Field({"name": "uniform"})
    coupling: Spec = Field({"name": "independent"})
    low: LowConfig | None = None
    latent: LatentConfig | None = None
    text: TextConfig | None = None
    unclip: UnclipConfig | None = None
    distill: DistillConfig | None = None
    sample: SampleConfig = SampleConfig()
    evaluate: EvalConfig = EvalConfig()
    stages: dict[str, dict[str, Any]] = Field({})

    @property
    def examples_are(self) -> str:  # pyrefly: ignore[bad-override]
        if self.unclip is not None and self.unclip.role == "prior":
            return "embeddings"
        return "images" if self.latent is None else "latents"

    def for_images(self, images: "Images", talk: Callable[[str], None]) -> "Recipe":
        """The recipe for the classes and condition images of a data set; without classes, no labels are used."""
        if (beside := getattr(images, "beside", None)) is not None:
            return self.shown(beside.shape[0]).for_classes(images, talk)
        if self.is_branch:
            raise FromNoiseError("data.pairs: says what the branch is shown beside x: edges, or a folder of images")
        return self.for_classes(images, talk)

    def shown(self, channels: int) -> "Recipe":
        """The recipe for a network with a condition image of this many channels.

        Raises:
            FromNoiseError: it is a latent, super-resolution or unCLIP model.
        """
        if self.latent is not None or self.low is not None or self.unclip is not None:
            raise FromNoiseError("data.pairs: a latent, a super-resolution or an unCLIP model is shown no other "
                                 "image: take another recipe")  # fmt: skip
        changes: dict[str, Any] = {"network.image_channels": channels}
        if "image_strength" in inspect.signature(nn.get(self.network["name"])).parameters:
            changes["network.image_strength"] = False
        return self.with_changes(changes)

    @property
    def is_branch(self) -> bool:
        """Whether it trains a control branch, which must start from another model."""
        return self.network["name"] == "control" and self.distill is None

    def for_classes(self, images: "Images", talk: Callable[[str], None]) -> "Recipe":
        """The recipe for the classes of the images."""
        asked, there = self.network.get("classes"), len(images.classes)
        if not asked or asked == there:
            return self
        if there > 1:
            return self.with_changes({"network.classes": there})
        talk(f"{images.name} has no classes (a sub-folder is one): the model is trained without labels")
        return self.with_changes({"network.classes": None, "train.label_dropout": 0.0, "sample.guidance": 1.0})

    def task(
        self,
        source: "Examples",
        codec: "Codec | None" = None,
        sampled: Any = None,
        teacher: "Denoiser | None" = None,
    ) -> "Task":
        """The training task; see `RunConfig.task`. A student starts with the teacher's weights where they fit."""
        from fromnoise import couplings, objectives, times
        from fromnoise.compose.unclip import CONDITION
        from fromnoise.data.augment import Augment
        from fromnoise.data.embedded import made_by
        from fromnoise.data.worded import Worded
        from fromnoise.train import Conditioning, Diffusion

        shown = source.examples([0])[1].get(CONDITION)
        denoiser = self.build(source.shape, None if shown is None else shown.shape[1])
        denoiser.class_names, denoiser.codec = tuple(source.classes), codec
        denoiser.embeddings = made_by(source)
        dropout = {"label": self.train.label_dropout}
        if self.text is not None:
            if not isinstance(source, Worded):
                raise FromNoiseError(f"text: {source.name} must be given with its captions, as data.Worded does")
            denoiser.text, dropout["text"] = source.encoder, self.text.dropout
        if shown is not None and self.unclip is not None:
            dropout[CONDITION] = self.unclip.dropout
        conditioning = Conditioning(denoiser, source, dropout, self.seed)
        objective, time = objectives.build(self.objective), None if self.times is None else times.build(self.times)
        if self.distill is not None:
            objective = self.distilling(teacher)
            if teacher is not None:
                own, given = denoiser.network.state_dict(), objective.student_of(teacher).network.state_dict()
                fits = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
                denoiser.network.load_state_dict(own | fits)
        augment = Augment(self.data.augment) if self.data.augment else None
        coupling = couplings.build(self.coupling)
        return Diffusion(denoiser, objective, conditioning, self.seed, time, sampled, augment, coupling)

    def distilling(self, teacher: "Denoiser | None") -> "Distillation":
        """The distillation that trains a student; its teacher is wrapped in guidance if `distill.guidance` is not 1.

        Raises:
            FromNoiseError: the distillation needs a teacher and has none, or the teacher cannot be guided.
        """
        from fromnoise.guidance import steer

        assert self.distill is not None
        way, scale = self.distill.way, self.distill.guidance
        if teacher is None and distill.get(way["name"]).needs_teacher:
            raise FromNoiseError(f"distillation {way['name']} needs a teacher: name a run or a saved model")
        if teacher is not None and scale != 1 and (teacher.student is None or teacher.student.is_denoiser):
            teacher = steer(teacher, scale)
        return distill.build(way, teacher=teacher) if teacher is not None else distill.build(way)

    def next_command(self, out: Path) -> str:
        if self.examples_are == "embeddings":
            return "its decoder, which makes images of embeddings"
        if self.low is not None or self.unclip is not None:
            return f"fromnoise sample {out.parent} --n 64 --out {out.parent.name}.png"
        return f"fromnoise sample {out} --n 64 --out {out.name}.png    or: fromnoise show {out}"

    @model_validator(mode="after")
    def _embeds_images_as_they_are(self) -> Self:
        """Refuse augmented images before the image-text model is trained."""
        for key, changed in (("flip", self.data.flip), ("augment", self.data.augment)):
            if self.unclip is not None and changed:
                raise FromNoiseError(f"data.{key}: an embedding is of the image as it is, not of a changed copy: "
                                     "leave it off")  # fmt: skip
        return self

    @field_validator("stages")
    @classmethod
    def _folders_of_their_own(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        insist_on_folders(value)
        return value

    @field_validator("parameterization")
    @classmethod
    def _known_parameterization(cls, value: str | Spec) -> str | Spec:
        parameterizations.registry.check(value)
        return value

    @field_validator("variance")
    @classmethod
    def _known_variance(cls, value: str | Spec) -> str | Spec:
        """The name with underscores, as in files."""
        variances.registry.check(value)
        return value.replace("-", "_") if isinstance(value, str) else value

    def stage(self, name: str) -> "Recipe":
        """The configuration of one stage of a cascade.

        Raises:
            FromNoiseError: the stage changes a key that does not exist, or its sampling strength is out of range.
        """
        made = self.checked(merged(self.model_dump(mode="json"), self.stages[name]) | {"stages": {}})
        made._low_res()  # refuses a wrong strength before the first stage is trained
        return made

    def build(self, shape: tuple[int, ...] | None = None, embedding: int | None = None) -> "Denoiser":
        """The untrained denoiser, with weights drawn from `seed`.

        Args:
            shape: shape of an example: (C, H, W) of images or latents, (D,) of embeddings; default: from `data`.
            embedding: for unCLIP decoders: size of the embedding; default: from the recipe.

        Raises:
            FromNoiseError: the shape is unknown or does not fit the network, or an option is wrong.
        """
        import torch

        from fromnoise import schedules
        from fromnoise.denoise import Denoiser

        shape = self._state_shape() if shape is None else shape
        if self.examples_are == "embeddings" and self.network["name"] != "mlp":
            raise FromNoiseError(
                f"network {self.network['name']}: a prior is of embeddings, which are points: take mlp"
            )
        shown: dict[str, Any] = {"dims": len(shape) - 1, "sides": tuple(shape[1:])}
        shown |= {"image_channels": shape[0]} if self.low else {}
        shown |= {"augment": True} if self.data.augment else {}
        if self.unclip is not None and self.unclip.role == "decoder":
            shown["image_embedding"] = embedding or self._embedding_size()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            outputs = shape[0] * variances.build(self.variance).outputs
            null = self.train.label_dropout > 0
            encoder = text.build(self.text.encoder) if self.text else None
            about = dict(self.network)
            if encoder is not None:
                shown["text"] = {"width": _WIDTH} | (about.pop("text", None) or {}) | encoder.options
            network = nn.build(about, in_channels=shape[0], out_channels=outputs, null_label=null, **shown)
        if not getattr(network, "denoises", True):
            raise FromNoiseError(f"network {self.network['name']} is no denoiser: take unet, dit or mlp")
        if hasattr(network, "check_size"):
            network.check_size(shape[1:])
        if encoder is not None and not getattr(network, "text", None):
            raise FromNoiseError(f"text: network {self.network['name']} reads no words: take unet, dit or mlp")
        if self.low and not getattr(network, "image_channels", 0):
            raise FromNoiseError(f"network {self.network['name']} takes no image to enlarge: take unet")
        if self.data.augment and not getattr(network, "augment", None):
            raise FromNoiseError(f"data.augment: network {self.network['name']} does not take the parameters "
                                 "of the augmentation: take unet or dit")  # fmt: skip
        schedule = schedules.build(self.schedule)
        return Denoiser(network, schedule, self.parameterization, self.variance, shape, low=self._low_res(),
                        text=encoder)  # fmt: skip

    def _low_res(self) -> "LowResolution | None":
        """How a super-resolution model is conditioned on the small image; None for other models.

        Raises:
            FromNoiseError: `sample.strength` is above the largest strength in training.
        """
        if self.low is None:
            return None
        from fromnoise import augmentations
        from fromnoise.augmentations.low_res import LowResolution

        augmentation = augmentations.build(self.low.augmentation)
        if self.sample.strength > augmentation.most:
            raise FromNoiseError(f"sample.strength {self.sample.strength:g} is more than training shows, which is "
                                 f"{augmentation.most:g} for {self.low.augmentation['name']}")  # fmt: skip
        return LowResolution(self.low.factor, augmentation)

    def _embedding_size(self) -> int:
        """Size of the embeddings, from the recipe of the image-text model."""
        assert self.unclip is not None
        return recipes.load(self.unclip.image_text).outputs

    def _state_shape(self) -> tuple[int, ...]:
        """The shape of a state, from the configuration alone.

        (C, H, W) of images or of the latents of the autoencoder's recipe; (D,) of embeddings.
        """
        if self.unclip is not None and self.unclip.role == "prior":
            return (self._embedding_size(),)
        if self.data.reduced is None or self.data.channels is None:
            raise FromNoiseError(f"recipe {self.recipe} takes its size from the data: give build() a shape (C, H, W)")
        if self.latent is None:
            return (self.data.channels, *self.data.reduced)

        return recipes.load(self.latent.autoencoder).latent_shape((self.data.channels, *self.data.reduced))
