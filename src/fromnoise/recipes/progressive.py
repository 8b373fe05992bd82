"""Progressive distillation: students with half the steps of their teachers, down to a single step.

Starting from the teacher that `--teacher` names, students with 16, 8, 4, 2 and 1 steps are trained, each the teacher of
the next. Each is stored in a folder steps-N of the run, and the last is the run itself. `--set distill.way.steps=4`
ends earlier.
"""

from fromnoise.recipes.digits import recipe as digits
from fromnoise.recipes.sections import DistillConfig, SampleConfig

recipe = digits.model_copy(
    update={
        "recipe": "progressive",
        "expected": "FID 9.12 in one step of CIFAR-10, 4.51 in 2, 3.00 in 4 (Salimans and Ho 2022, arXiv 2202.00512)",
        "reproduced": "on digits after 4 minutes in all: FD-digits-1k 46 in one step, 30 in two, 26 in four; the "
        "teacher's 50 steps 30",
        "distill": DistillConfig(way={"name": "progressive", "steps": 1, "of": 32}, guidance=2.0),
        "train": digits.train.model_copy(update={"label_dropout": 0.0, "lr": 2e-3}),
        "sample": SampleConfig(sampler={"name": "ddim"}, steps=1, guidance=1.0, clip=False),
    }
)
