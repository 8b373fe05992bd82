"""The wrappers that a person asks for by number, in the references' order."""

import torch

from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.guidance.classifier_free import ClassifierFree
from fromnoise.guidance.clip import Clip


def steer(denoiser: Denoiser, scale: float = 1.0, clip: bool = False) -> Denoiser:
    """clip(classifier_free(denoiser)): each wrapper only where it does something.

    Args:
        denoiser: a trained model.
        scale: of classifier-free guidance, 1 = off.
        clip: the predicted image to [-1, 1] at every step.

    Raises:
        FromNoiseError: a scale other than 1 for a model that was always told its label, or never.
    """
    if scale != 1:
        if denoiser.null_label is None:
            why = "was always told its label" if denoiser.classes else "knows no labels"
            raise FromNoiseError(f"guidance {scale:g} needs a model that was trained with some labels hidden "
                                 f"(train.label_dropout), and this one {why}; 1 is no guidance")  # fmt: skip
        denoiser = ClassifierFree(denoiser, {"label": torch.tensor(denoiser.null_label)}, scale)
    return Clip(denoiser) if clip else denoiser
