"""Training that survives: exact resume, atomic checkpoints, counted randomness."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__,
    Autoencoding="autoencode",
    Checkpoints="checkpoint",
    Classifying="classify",
    Diffusion="diffusion",
    EMA="ema",
    Labels="labels",
    Pair="autoencode",
    Processes="distributed",
    Task="task",
    TrainConfig="config",
    Trainer="trainer",
    optimizers="optimizers:*",
)
