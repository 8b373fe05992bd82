"""Training that survives: exact resume, atomic checkpoints, counted randomness."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__,
    Autoencoding="autoencode",
    Classifying="classify",
    Conditioning="conditions",
    Diffusion="diffusion",
    EMA="ema",
    Fitted="fit",
    Pair="autoencode",
    Processes="distributed",
    Task="task",
    TrainConfig="config",
    Trainer="trainer",
    Watcher="progress",
    lr_schedules="lr_schedules:*",
)
