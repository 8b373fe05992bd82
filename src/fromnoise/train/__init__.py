"""Training that survives: exact resume, atomic checkpoints, counted randomness."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__, Trainer="trainer", TrainConfig="config", EMA="ema", Checkpoints="checkpoint", Processes="distributed"
)
