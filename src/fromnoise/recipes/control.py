"""ControlNet: a branch that conditions a trained model on an image, such as edges or an image paired with the data.

`fromnoise train control --model RUN` takes network, levels, data, classes, text and sampling options from RUN, whose
weights are not changed; the new run holds the whole model. `data.pairs` selects the condition image: `edges`, computed
from each image, or a folder of images.
"""

from fromnoise.recipes.digits import recipe as digits

recipe = digits.model_copy(
    update={
        "recipe": "control",
        "expected": "samples whose edges match the given ones, as legible as the model's own samples (arXiv "
        "2302.05543, without a figure for digits)",
        "reproduced": "760 steps: held-out edges are followed with a correlation of 0.996 (without the branch 0.50)",
        "network": {
            "name": "control",
            "of": {**digits.network, "in_channels": 1, "out_channels": 1, "null_label": True},
            "image_channels": 1,
        },
        "data": digits.data.model_copy(update={"pairs": "edges"}),
        "train": digits.train.model_copy(update={"lr": 2e-3}),
    }
)
