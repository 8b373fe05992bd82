"""Easy consistency tuning: turns a trained model into one that needs one or two network calls.

`--teacher` names the model whose weights it starts from; the teacher is not used otherwise.
"""

from fromnoise.recipes.digits import recipe as digits
from fromnoise.recipes.sections import DistillConfig, SampleConfig

recipe = digits.model_copy(
    update={
        "recipe": "easy-consistency",
        "expected": "FID 2.73 in two steps of CIFAR-10 after an hour of one GPU (Geng et al. 2024, arXiv 2406.14548)",
        "reproduced": "on digits after 122 steps: FD-digits-1k 133 in one call, 64 in two, 18 in eight; the teacher's "
        "50 steps 30",
        "distill": DistillConfig(way={"name": "easy-consistency", "double_every": 60}),
        "times": None,
        "train": digits.train.model_copy(update={"label_dropout": 0.0, "lr": 2e-3}),
        "sample": SampleConfig(sampler={"name": "consistency"}, steps=2, guidance=1.0, clip=False),
    }
)
