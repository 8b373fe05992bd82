"""What every wrapper shares: everything but `forward` is the wrapped denoiser's."""

from typing import ClassVar

from fromnoise.denoise import Denoiser
from fromnoise.system import checks


class Wrapper(Denoiser):
    """A Denoiser around a Denoiser: subclasses override `forward` and change the prediction."""

    guides: ClassVar[bool] = True
    """Whether it leads somewhere else than to the data: clipping, for one, does not."""

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
    """Whether a wrapper around it, or around what it wraps, guides."""
    while isinstance(denoiser, Wrapper):
        if denoiser.guides:
            return True
        denoiser = denoiser.inner
    return False
