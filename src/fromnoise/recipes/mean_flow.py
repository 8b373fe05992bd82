"""Mean flow: one call covers any part of the path, learned from a derivative along it.

`--teacher` names a model whose velocity is followed and whose weights the student starts from. Without it, the network
of the recipe digits is trained from scratch on the velocity of the data.
"""

from fromnoise.recipes.digits import recipe as digits
from fromnoise.recipes.sections import DistillConfig, SampleConfig

recipe = digits.model_copy(
    update={
        "recipe": "mean-flow",
        "expected": "FID 2.92 in one step of CIFAR-10 (Geng et al. 2025, arXiv 2505.13447)",
        "reproduced": "on digits after 97 steps: FD-digits-1k 149 in one call, 29 in four, 18 in eight; the teacher's "
        "50 steps 30",
        "network": digits.network | {"numbers": ["span"], "time_scale": 0.01},
        "distill": DistillConfig(way={"name": "mean-flow"}, guidance=2.0),
        "train": digits.train.model_copy(update={"label_dropout": 0.0, "lr": 2e-3}),
        "sample": SampleConfig(sampler={"name": "mean-flow"}, steps=1, guidance=1.0, clip=False),
    }
)
