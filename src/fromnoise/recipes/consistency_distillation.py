"""Consistency distillation: one call from noise to the data, learned from the paths of a teacher.

`--teacher` names the teacher; the student starts as a copy of it.
"""

from fromnoise.recipes.digits import recipe as digits
from fromnoise.recipes.sections import DistillConfig, SampleConfig

recipe = digits.model_copy(
    update={
        "recipe": "consistency-distillation",
        "expected": "FID 3.55 in one step of CIFAR-10, 2.93 in two (Song et al. 2023, arXiv 2303.01469)",
        "reproduced": "not on CIFAR-10; digits after 150 steps: FD-digits-1k 63 in one call, 49 in two (teacher 30)",
        "distill": DistillConfig(way={"name": "consistency-distillation", "n": 8, "order": 1}, guidance=2.0),
        "times": None,
        "train": digits.train.model_copy(update={"label_dropout": 0.0, "lr": 1e-3}),
        "sample": SampleConfig(sampler={"name": "consistency"}, steps=1, guidance=1.0, clip=False),
    }
)
