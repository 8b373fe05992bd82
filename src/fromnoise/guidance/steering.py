"""All guidance options in one object, whose wrappers are applied in the order of the reference codes."""

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
    """classifier(clip(guided(denoiser))), with only the wrappers that have an effect; by default there are none.

    Attributes:
        scale: guidance scale, 1 is off. The prediction moves away from the unconditional one, without the conditions
            that training dropped now and then, or away from that of `weaker`.
        clip: whether to clip the predicted x_0 to [-1, 1] at every step.
        threshold: percentile of dynamic thresholding, which then replaces clipping; Imagen uses 99.5.
        interval: (low, high), the range of sigma/alpha with guidance; default: all levels.
        rescale: in [0, 1], how far the standard deviation of the guided x_0 is moved back to the unguided one.
        channels: number of leading channels to guide; default: all.
        weaker: for autoguidance: a weaker model, used instead of the unconditional prediction.
        classifier: for classifier guidance: a classifier of noisy states, or an image-text model.
        classifier_scale: factor of the classifier's gradient; 0 is off and 1 is Bayes' rule.
        negative: text to move away from; default: the unconditional prediction.
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
        """The denoiser, wrapped in this guidance.

        Raises:
            FromNoiseError: the scale is not 1 but the model has no unconditional prediction, the classifier or the
                weaker model does not fit, or an option cannot be used with this model.
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
                why = "was always given its label" if denoiser.classes else "knows no labels"
                raise FromNoiseError(
                    f"guidance {self.scale:g} needs a model that was trained with some labels or other conditions "
                    f"dropped (train.label_dropout, condition_dropout in Python), and this one {why}; 1 is no guidance"
                )
            denoiser = ClassifierFree(denoiser, denoiser.null_cond | self._away(denoiser), self.scale, **options)
        if self.negative is not None and not isinstance(denoiser, ClassifierFree):
            raise FromNoiseError("negative: guidance moves away from this text, so give guidance a scale other than 1, "
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
        """The null condition for a negative text: its encoding, under the name "text".

        Raises:
            FromNoiseError: the model has no text conditioning.
        """
        if self.negative is None:
            return {}
        if denoiser.text is None:
            raise FromNoiseError("negative: this model has no text conditioning: leave it out")
        return {"text": denoiser.text([self.negative])[0]}


def steer(denoiser: Denoiser, scale: float = 1.0, clip: bool = False, **options: Any) -> Denoiser:
    """The denoiser with `Steering(scale, clip, **options)` around it."""
    return Steering(scale, clip, **options).around(denoiser)
