"""Consistency training: one call from noise to the data, learned from data alone.

The losses and levels are those of improved consistency training. `--teacher` names a model to start from; without it,
the network of the recipe digits is trained from scratch.
"""

from fromnoise.recipes.digits import recipe as digits
from fromnoise.recipes.sections import DistillConfig, SampleConfig

recipe = digits.model_copy(
    update={
        "recipe": "consistency-training",
        "expected": "FID 2.83 in one step of CIFAR-10, 2.46 in two (Song and Dhariwal 2023, arXiv 2310.14189)",
        "reproduced": "on digits after 210 steps: FD-digits-1k 121 in one call, 50 in two, 20 in eight; the teacher's "
        "50 steps 30",
        "distill": DistillConfig(way={"name": "consistency-training", "first": 6, "double_every": 60}),
        "times": None,
        "train": digits.train.model_copy(update={"label_dropout": 0.0, "lr": 2e-3}),
        "sample": SampleConfig(sampler={"name": "consistency"}, steps=1, guidance=1.0, clip=False),
    }
)
