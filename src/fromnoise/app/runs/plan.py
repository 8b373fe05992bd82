"""How to sample: the requested options, with defaults from the recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from fromnoise import registry, samplers
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError, nearest
from fromnoise.guidance import ImageText, NoisyClassifier, Steering
from fromnoise.parameterizations.students.base import Student
from fromnoise.recipes.sections import SampleConfig
from fromnoise.system.disk import storage


@dataclass(frozen=True)
class SampleOptions:
    """Requested sampling options; None takes the default from the recipe.

    Attributes:
        sampler, options, steps, spacing: the sampler, its options, and the chain of levels.
        clip, threshold, guidance, interval, rescale: see `guidance.Steering`.
        weaker: a weaker model for autoguidance.
        classifier, classifier_scale: for classifier guidance.
        label: the class of every sample, by name or number.
        texts: prompts, used in turn.
        negative: a text that guidance moves away from.
        strength, truncated: the augmentation between the stages of a cascade.
    """

    sampler: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None
    spacing: str | None = None
    clip: bool | None = None
    guidance: float | None = None
    interval: tuple[float, float] | None = None
    rescale: float | None = None
    weaker: Denoiser | None = None
    classifier: NoisyClassifier | ImageText | None = None
    classifier_scale: float = 1.0
    label: str | None = None
    texts: tuple[str, ...] = ()
    negative: str | None = None
    threshold: float | None = None
    strength: float | None = None
    truncated: bool | None = None


@dataclass(frozen=True)
class SamplingPlan:
    """Everything that decides how a model is sampled, including the earlier stages of a cascade.

    Attributes:
        sampler, steps, spacing: the sampler and its chain of levels.
        steering: guidance and clipping.
        label: the class of every sample; None cycles through all classes.
        texts: prompts, used in turn; empty means no text.
        strength, truncated: the augmentation of the image that the model enlarges.
        before: for cascades, how the stage before is sampled.
    """

    sampler: samplers.Sampler
    steps: int
    spacing: str
    steering: Steering = field(default_factory=Steering)
    label: str | None = None
    texts: tuple[str, ...] = ()
    strength: float = 0.0
    truncated: bool = False
    before: "SamplingPlan | None" = None

    @classmethod
    def of(
        cls, usual: SampleConfig, asked: SampleOptions | None = None, before: "SamplingPlan | None" = None
    ) -> "SamplingPlan":
        """Combine the requested options with the recipe's defaults; `before` is the plan of the stage before.

        Raises:
            FromNoiseError: if a requested option would have no effect.
        """
        a = asked or SampleOptions()
        sampler = samplers.build(({"name": a.sampler} if a.sampler else usual.sampler) | a.options)
        spacing = a.spacing or (None if a.sampler else usual.spacing) or sampler.default_spacing
        steering = Steering(
            scale=usual.guidance if a.guidance is None else a.guidance,
            clip=usual.clip if a.clip is None else a.clip,
            interval=a.interval or usual.guidance_interval,
            rescale=usual.guidance_rescale if a.rescale is None else a.rescale,
            channels=usual.guidance_channels,
            weaker=a.weaker,
            classifier=a.classifier,
            classifier_scale=a.classifier_scale,
            # cascade stages without guidance in their recipe have nothing to move away from
            negative=a.negative if before is None or a.guidance is not None or usual.guidance != 1 else None,
            # asking for clipping overrides a recipe's threshold
            threshold=usual.threshold if a.threshold is None and a.clip is None else a.threshold,
        )
        idle = [word for word, given in (("a guidance interval", a.interval), ("guidance rescale", a.rescale),
                                         ("a weaker model", a.weaker)) if given]  # fmt: skip
        if idle and steering.scale == 1 and before is None:
            raise FromNoiseError(f"{' and '.join(idle)} without guidance: set a guidance scale other than 1")
        return cls(
            sampler,
            usual.steps if a.steps is None else a.steps,
            spacing,
            steering,
            a.label,
            a.texts,
            usual.strength if a.strength is None else a.strength,
            usual.truncated if a.truncated is None else a.truncated,
            before,
        )

    def steered(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser with its guidance and clipping."""
        return self.steering.around(denoiser)

    def cond(self, denoiser: Denoiser, n: int, first: int = 0) -> Cond | None:
        """The condition of samples `first` to `first + n - 1`: the requested class and the prompts in turn.

        Returns None if neither is requested, which leaves the choice to the sampler.

        Raises:
            FromNoiseError: if the model has no classes, or takes no text.
        """
        found: Cond = {} if self.label is None else {"label": torch.full((n,), class_number(denoiser, self.label))}
        if self.texts:
            if denoiser.text is None:
                raise FromNoiseError("text: this model has no text conditioning; train one with a recipe that has "
                                     "text, such as emoji-text")  # fmt: skip
            found["text"] = denoiser.text([self.texts[i % len(self.texts)] for i in range(first, first + n)])
        return found or None

    def kinds(self, denoiser: Denoiser) -> Sequence[str]:
        """Prompts or class names of samples 0, 1, ..., repeating in turn; empty if all samples are of one kind."""
        if self.texts:
            return self.texts
        classes = self.steered(denoiser).classes if self.label is None else 0
        return (denoiser.class_names or [str(i) for i in range(classes)]) if classes else ()

    def described(self) -> dict[str, Any]:
        """JSON values that describe the plan. Options that are off are left out, so old hashes stay valid."""
        s = self.steering
        more = {
            "interval": list(s.interval) if s.interval else None,
            "rescale": s.rescale or None,
            "channels": s.channels,
            "weaker": storage.fingerprint(s.weaker.network.state_dict()) if s.weaker else None,
            "classifier": storage.fingerprint(s.classifier.network.state_dict()) if s.classifier else None,
            "classifier_scale": s.classifier_scale if s.classifier else None,
            "texts": list(self.texts) or None,
            "negative": s.negative,
            "threshold": s.threshold,
            "strength": self.strength or None,
            "truncated": self.truncated or None,
            "before": self.before.described() if self.before else None,
        }
        return {
            "sampler": registry.spec(self.sampler),
            "steps": self.steps,
            "spacing": self.spacing,
            "clip": s.clip,
            "guidance": s.scale,
            "class": self.label,
        } | {key: value for key, value in more.items() if value is not None}


def fitting(usual: SampleConfig, denoiser: Denoiser) -> SampleConfig:
    """Restrict a recipe's sampling to what this model supports.

    Without a null condition there is no guidance, and the chain is no longer than the model's own.
    """
    if denoiser.student is not None:
        usual = student_sampling(denoiser.student, usual)
    guidance = usual.guidance if denoiser.null_cond else 1.0
    return usual.model_copy(update={"guidance": guidance, "steps": min(usual.steps, denoiser.schedule.chain.steps)})


def student_sampling(student: Student, usual: SampleConfig) -> SampleConfig:
    """The sampling options of a student: its own sampler and steps; guidance is off unless it is a denoiser."""
    if student.sampler == usual.sampler["name"]:
        own: dict[str, Any] = {"steps": student.walks(usual.steps)}
    else:
        own = {"sampler": {"name": student.sampler}, "steps": student.calls, "spacing": None}
    return usual.model_copy(update=own if student.is_denoiser else own | {"guidance": 1.0})


def class_number(denoiser: Denoiser, text: str) -> int:
    """Return the number of a class that is given by name or number.

    Raises:
        FromNoiseError: if the model has no classes, or none of that name.
    """
    names = denoiser.class_names or tuple(map(str, range(denoiser.classes)))
    if not denoiser.classes:
        raise FromNoiseError(f"class {text}: this model has no classes")
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < denoiser.classes:
        return int(text)
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise FromNoiseError(f"class {text}: no such class{nearest(text, names)}; there is {shown}, or a number from 0 "
                         f"to {denoiser.classes - 1}")  # fmt: skip
