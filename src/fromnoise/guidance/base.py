"""What every wrapper shares: everything but `forward` is the wrapped denoiser's."""

from fromnoise.denoise import Denoiser


class Wrapper(Denoiser):
    """A Denoiser around a Denoiser: subclasses override `forward` and change the prediction."""

    def __init__(self, denoiser: Denoiser):
        super().__init__(
            denoiser.network,
            denoiser.schedule,
            denoiser.parameterization,
            denoiser.variance,
            denoiser.shape,
            denoiser.class_names,
            denoiser.codec,
            denoiser.low,
        )
        self.inner = denoiser
        self.state_dtype = denoiser.state_dtype
        self.train(denoiser.training)
