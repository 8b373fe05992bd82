"""Reflow: a model trained on its own pairs of noise and sample, which straightens its paths for few steps.

`--teacher` names the model. 5,000 pairs are drawn first, with 10 steps of UniPC each, and stored in the run folder.
"""

from fromnoise.recipes.digits import recipe as digits
from fromnoise.recipes.sections import DistillConfig, SampleConfig

recipe = digits.model_copy(
    update={
        "recipe": "reflow",
        "expected": "FID 4.85 in one step of CIFAR-10 once distilled after reflow (Liu et al. 2023, arXiv 2209.03003)",
        "reproduced": "on digits after 266 steps on 5,000 pairs: FD-digits-1k 39 in one call, 37 in two; the teacher's "
        "50 steps 30",
        "distill": DistillConfig(way={"name": "reflow"}, guidance=2.0),
        "coupling": {"name": "given"},
        "train": digits.train.model_copy(update={"label_dropout": 0.0, "lr": 2e-3}),
        "sample": SampleConfig(sampler={"name": "ddim"}, steps=2, guidance=1.0, clip=False),
    }
)
