"""The wrappers that a person asks for by number, in the references' order."""

from dataclasses import dataclass
from typing import Any

from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.guidance.auto import Auto
from fromnoise.guidance.classifier import Classifier
from fromnoise.guidance.classifier_free import ClassifierFree
from fromnoise.guidance.clip import Clip
from fromnoise.guidance.dynamic_threshold import DynamicThreshold
from fromnoise.guidance.image_text import ImageText
from fromnoise.guidance.noisy_classifier import NoisyClassifier
from fromnoise.guidance.scale_told import ScaleTold
from fromnoise.parameterizations.students.base import insist_on_denoiser
from fromnoise.parameterizations.students.guided import Guided


@dataclass(frozen=True)
class Steering:
    """classifier(clip(guided(denoiser))): each wrapper only where it does something; the defaults are none.

    Attributes:
        scale: guidance scale, 1 is off. The prediction moves away from the unconditional one, in which every condition
            that training sometimes dropped is dropped, or away from the prediction of `weaker`.
        clip: the predicted image to [-1, 1] at every step.
        threshold: percentile of dynamic thresholding, which then replaces clipping; Imagen uses 99.5.
        interval: of sigma/alpha in which the scale holds.
        rescale: share of the standard deviation of x_0 that is given back.
        channels: only the first so many are guided.
        weaker: for autoguidance, in place of the model without labels.
        classifier: of noisy states, for classifier guidance; or an image-text model.
        classifier_scale: of its gradient, 0 is off and 1 Bayes' rule.
        negative: words to move away from; the unconditional prediction by default.
    """

    scale: float = 1.0
    clip: bool = False
    interval: tuple[float, float] | None = None
    rescale: float = 0.0
    channels: int | None = None
    weaker: Denoiser | None = None
    classifier: NoisyClassifier | ImageText | None = None
    classifier_scale: float = 1.0
    negative: str | None = None
    threshold: float | None = None

    def around(self, denoiser: Denoiser) -> Denoiser:
        """The model with its guidance.

        Raises:
            FromNoiseError: a scale other than 1 for a model that was always told its label, or never; or a classifier
                or weaker model that does not belong to it.
        """
        options: dict[str, Any] = {"interval": self.interval, "rescale": self.rescale, "channels": self.channels}
        if self.weaker is not None:
            denoiser = Auto(denoiser, self.weaker, self.scale, **options)
        elif self.scale != 1 and isinstance(denoiser.student, Guided):
            idle = [word for word, given in (("interval", self.interval), ("rescale", self.rescale),
                                             ("channels", self.channels)) if given]  # fmt: skip
            if idle:
                raise FromNoiseError(f"guidance {' and '.join(idle)}: this model was distilled with its scale as a "
                                     "condition, and has no unguided prediction: leave it out")  # fmt: skip
            denoiser = ScaleTold(denoiser, denoiser.student.checked(self.scale))
        elif self.scale != 1:
            insist_on_denoiser(denoiser, f"guidance {self.scale:g}")
            if not denoiser.null_cond:
                why = "was always told its label" if denoiser.classes else "knows no labels"
                raise FromNoiseError(
                    f"guidance {self.scale:g} needs a model that was trained with some labels or other conditions "
                    f"hidden (train.label_dropout, condition_dropout in Python), and this one {why}; 1 is no guidance"
                )
            denoiser = ClassifierFree(denoiser, denoiser.null_cond | self._away(denoiser), self.scale, **options)
        if self.negative is not None and not isinstance(denoiser, ClassifierFree):
            raise FromNoiseError("negative: is what guidance moves away from, so give guidance a scale other than 1, "
                                 "and no weaker model")  # fmt: skip
        if self.clip or self.threshold is not None:
            if denoiser.codec is not None:
                raise FromNoiseError("latents have no range to be clipped to: leave clip and threshold off")
            denoiser = Clip(denoiser) if self.threshold is None else DynamicThreshold(denoiser, self.threshold)
        if self.classifier is not None and self.classifier_scale:
            self.classifier.check(denoiser)
            names, words = (getattr(self.classifier, name, None) for name in ("class_names", "text"))
            denoiser = Classifier(denoiser, self.classifier.log_prob, self.classifier_scale, names, words)
        return denoiser

    def _away(self, denoiser: Denoiser) -> Cond:
        """The encoded negative words, by the name of their condition.

        Raises:
            FromNoiseError: a negative text for a model that is given none.
        """
        if self.negative is None:
            return {}
        if denoiser.text is None:
            raise FromNoiseError("negative: this model has no text conditioning: leave it out")
        return {"text": denoiser.text([self.negative])[0]}


def steer(denoiser: Denoiser, scale: float = 1.0, clip: bool = False, **options: Any) -> Denoiser:
    """The denoiser with `Steering(scale, clip, **options)` around it."""
    return Steering(scale, clip, **options).around(denoiser)
