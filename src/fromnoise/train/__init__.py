"""Training that survives: exact resume, atomic checkpoints, counted randomness."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__,
    Checkpoints="checkpoint",
    Diffusion="diffusion",
    EMA="ema",
    Labels="labels",
    Processes="distributed",
    Task="task",
    TrainConfig="config",
    Trainer="trainer",
)
