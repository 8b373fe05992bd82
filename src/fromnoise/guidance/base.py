"""Base class of wrappers: everything except `forward` is taken from the wrapped denoiser."""

from typing import ClassVar

from fromnoise.denoise import Denoiser
from fromnoise.system import checks


class Wrapper(Denoiser):
    """A Denoiser around another Denoiser; subclasses override `forward` to change the prediction."""

    guides: ClassVar[bool] = True
    """Whether it changes the distribution of the samples; clipping, for example, is not meant to."""

    def __init__(self, denoiser: Denoiser):
        checks.instance("denoiser", denoiser, Denoiser, "fn.Denoiser(network, schedule)")
        super().__init__(
            denoiser.network,
            denoiser.schedule,
            denoiser.parameterization,
            denoiser.variance,
            denoiser.shape,
            denoiser.class_names,
            denoiser.codec,
            denoiser.low,
            denoiser.text,
        )
        self.inner = denoiser
        self.state_dtype, self.null, self.student = denoiser.state_dtype, denoiser.null, denoiser.student
        self.embeddings = denoiser.embeddings
        self.train(denoiser.training)


def is_guided(denoiser: Denoiser) -> bool:
    """Whether any of the wrappers around a model is guidance."""
    while isinstance(denoiser, Wrapper):
        if denoiser.guides:
            return True
        denoiser = denoiser.inner
    return False
