"""Handwritten digits by a transformer: `digits` with a small DiT in place of the U-Net, 8 minutes on two cores."""

from fromnoise.recipes.digits import recipe as digits

recipe = digits.with_changes(
    {
        "recipe": "digits-dit",
        "expected": "most digits legible after 8 minutes on 2 cores without native bf16",
        "reproduced": "not yet measured",
        "network": {"name": "dit", "patch": 4, "width": 192, "depth": 6, "heads": 4, "classes": 10},
        "train.minutes": 8,
    }
)
