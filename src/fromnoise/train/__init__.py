"""Training that survives: exact resume, atomic checkpoints, counted randomness."""

from typing import TYPE_CHECKING

from fromnoise.lazy import lazy_attributes

if TYPE_CHECKING:
    from fromnoise.train.autoencode import Autoencoding as Autoencoding
    from fromnoise.train.autoencode import Pair as Pair
    from fromnoise.train.checkpoint import Checkpoints as Checkpoints
    from fromnoise.train.classify import Classifying as Classifying
    from fromnoise.train.config import TrainConfig as TrainConfig
    from fromnoise.train.diffusion import Diffusion as Diffusion
    from fromnoise.train.distributed import Processes as Processes
    from fromnoise.train.ema import EMA as EMA
    from fromnoise.train.labels import Labels as Labels
    from fromnoise.train.task import Task as Task
    from fromnoise.train.trainer import Trainer as Trainer
else:
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
    )
