"""Autoguidance: away from the prediction of a weaker model."""

from torch import Tensor

from fromnoise import registry
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.guidance._contrast import Contrast
from fromnoise.parameterizations.prediction import Prediction


class Auto(Contrast):
    """F <- F_weak + scale (F - F_weak): extrapolates from a weaker model to a better one, and beyond.

    Unlike classifier-free guidance it needs no labels and costs little variety. Source: Karras et al. 2024, eq. 3.

    Args:
        denoiser: the better model.
        weaker: a less well trained version of it: an earlier checkpoint, or a smaller network.
        scale: guidance scale; 1 is off.
        options: `interval`, `rescale` and `channels`: see `ClassifierFree`.

    Raises:
        FromNoiseError: the two models differ in shape, schedule, parameterisation, classes, autoencoder or text
            encoder, so that their outputs cannot be compared.
    """

    def __init__(self, denoiser: Denoiser, weaker: Denoiser, scale: float = 1.0, **options):
        super().__init__(denoiser, scale, **options)
        for what, one, other in (
            ("shape", denoiser.shape, weaker.shape),
            ("schedule", registry.spec(denoiser.schedule), registry.spec(weaker.schedule)),
            ("parameterization", denoiser.parameterization.spec, weaker.parameterization.spec),
            ("classes", denoiser.classes, weaker.classes),
            ("autoencoder", _sha256(denoiser), _sha256(weaker)),
        ):
            if one != other:
                raise FromNoiseError(f"autoguidance compares two trainings of one model; these differ in {what}: "
                                     f"{one} and {other}")  # fmt: skip
        if denoiser.text is not None and not denoiser.text.reads_as(weaker.text):
            raise FromNoiseError("autoguidance compares two trainings of one model; these have different text "
                                 "encoders: train both on the same captions and text.encoder")  # fmt: skip
        self.weaker = weaker

    def pair(self, x_t: Tensor, t: Level, cond: Cond | None) -> tuple[Prediction, Tensor]:
        return self.inner(x_t, t, cond), self.weaker(x_t, t, cond).output


def _sha256(denoiser: Denoiser) -> str | None:
    return getattr(denoiser.codec, "sha256", None)
