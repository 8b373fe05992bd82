"""A classifier of noisy images, for classifier guidance of the recipe digits or of the model named by --model."""

from fromnoise.recipes.classifier import for_model
from fromnoise.recipes.digits import recipe as digits

recipe = for_model(digits).model_copy(
    update={
        "recipe": "noisy-classifier",
        "expected": "nearly every digit classified at the least noise, one in ten at the most",
        "reproduced": "docs/steering.md has its accuracy at every level",
    }
)
