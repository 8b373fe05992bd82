"""Training that survives interruptions: exact resume, atomic checkpoints, counter-based randomness."""

from typing import TYPE_CHECKING

from fromnoise.registry.lazy import lazy_attributes

if TYPE_CHECKING:
    from fromnoise.train import lr_schedules as lr_schedules
    from fromnoise.train import optimizers as optimizers
    from fromnoise.train.autoencode import Autoencoding as Autoencoding
    from fromnoise.train.autoencode import Pair as Pair
    from fromnoise.train.classify import Classifying as Classifying
    from fromnoise.train.conditions import Conditioning as Conditioning
    from fromnoise.train.config import TrainConfig as TrainConfig
    from fromnoise.train.contrast import Contrasting as Contrasting
    from fromnoise.train.diffusion import Diffusion as Diffusion
    from fromnoise.train.distributed import Processes as Processes
    from fromnoise.train.ema import EMA as EMA
    from fromnoise.train.fit import Fitted as Fitted
    from fromnoise.train.progress import Watcher as Watcher
    from fromnoise.train.task import Task as Task
    from fromnoise.train.trained import Trained as Trained
    from fromnoise.train.trainer import Trainer as Trainer
else:
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        Autoencoding="autoencode",
        Classifying="classify",
        Conditioning="conditions",
        Contrasting="contrast",
        Diffusion="diffusion",
        EMA="ema",
        Fitted="fit",
        Pair="autoencode",
        Processes="distributed",
        Task="task",
        TrainConfig="config",
        Trained="trained",
        Trainer="trainer",
        Watcher="progress",
        lr_schedules="lr_schedules:*",
        optimizers="optimizers:*",
    )
