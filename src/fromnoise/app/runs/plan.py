"""How to sample: the recipe's word, and what a person asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from fromnoise import registry, samplers
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError, nearest
from fromnoise.guidance import ImageText, NoisyClassifier, Steering
from fromnoise.recipes.distillation import sampling
from fromnoise.recipes.sections import SampleConfig
from fromnoise.system.disk import storage


@dataclass(frozen=True)
class SampleOptions:
    """What was said of the sampling; None leaves it to the recipe.

    Attributes:
        sampler, options, steps, spacing: how to walk.
        clip, threshold, guidance, interval, rescale: how to steer; see `guidance.Steering`.
        weaker: model for autoguidance.
        classifier, classifier_scale: for classifier guidance.
        label: of every sample, a class by name or number.
        texts: prompts, used in turn.
        negative: words that guidance moves away from.
        strength, truncated: of the augmentation between the stages of a cascade.
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
    """Everything that decides how a model is sampled, the stages before it in a cascade included.

    Attributes:
        sampler, steps, spacing: how to walk.
        steering: how to steer.
        label: of every sample; None is every class in turn.
        texts: of the samples, in turn; none is no text.
        strength, truncated: of the augmentation of what the model enlarges.
        before: how what it enlarges is drawn.
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
        """What was asked for, and the rest as the recipe says; `before` is how the stage before is sampled.

        Raises:
            FromNoiseError: something was asked for that would do nothing.
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
            # the stages of a cascade that their recipe does not guide have nothing to move away from
            negative=a.negative if before is None or a.guidance is not None or usual.guidance != 1 else None,
            # asking for clipping overrides a recipe's threshold
            threshold=usual.threshold if a.threshold is None and a.clip is None else a.threshold,
        )
        idle = [word for word, given in (("a guidance interval", a.interval), ("guidance rescale", a.rescale),
                                         ("a weaker model", a.weaker)) if given]  # fmt: skip
        if idle and steering.scale == 1 and before is None:
            raise FromNoiseError(f"{' and '.join(idle)} without guidance: give guidance a scale other than 1")
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
        """The class that was asked for, n times, and the texts of samples `first` and so on in turn; None leaves the
        choice to the sampler.

        Raises:
            FromNoiseError: a class or a text for a model that has none.
        """
        found: Cond = {} if self.label is None else {"label": torch.full((n,), class_number(denoiser, self.label))}
        if self.texts:
            if denoiser.text is None:
                raise FromNoiseError("text: this model has no text conditioning; train one with a recipe that has "
                                     "text, such as emoji-text")  # fmt: skip
            found["text"] = denoiser.text([self.texts[i % len(self.texts)] for i in range(first, first + n)])
        return found or None

    def kinds(self, denoiser: Denoiser) -> Sequence[str]:
        """Names of what samples 0, 1, ... show, cycling: prompts or classes; empty if all are alike."""
        if self.texts:
            return self.texts
        classes = self.steered(denoiser).classes if self.label is None else 0
        return (denoiser.class_names or [str(i) for i in range(classes)]) if classes else ()

    def described(self) -> dict[str, Any]:
        """JSON values that say it all; what is off is left out, so that a new option changes no old description."""
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
    """A recipe's sampling as far as this model can have it: no guidance where nothing stands for no condition, and no
    longer chain than its own."""
    if denoiser.student is not None:
        usual = sampling(denoiser.student, usual)
    guidance = usual.guidance if denoiser.null_cond else 1.0
    return usual.model_copy(update={"guidance": guidance, "steps": min(usual.steps, denoiser.schedule.chain.steps)})


def class_number(denoiser: Denoiser, text: str) -> int:
    """The class that a person named, or gave the number of.

    Raises:
        FromNoiseError: the model knows no classes, or none like that.
    """
    names = denoiser.class_names or tuple(map(str, range(denoiser.classes)))
    if not denoiser.classes:
        raise FromNoiseError(f"class {text}: this model knows no classes")
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < denoiser.classes:
        return int(text)
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise FromNoiseError(f"class {text}: no such class{nearest(text, names)}; there is {shown}, or a number from 0 "
                         f"to {denoiser.classes - 1}")  # fmt: skip
