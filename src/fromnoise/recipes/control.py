"""A branch beside a trained model, by which an image steers it (ControlNet): edges, or any images beside the data.

`fromnoise train control --model RUN` takes network, levels, data, classes, words and sampling of RUN, whose weights
stay as they are; the run holds the whole model. `data.pairs` says what it is shown: `edges`, computed from each
image, or a folder of images.
"""

from fromnoise.recipes.digits import recipe as digits

recipe = digits.model_copy(
    update={
        "recipe": "control",
        "expected": "samples whose edges are those that they were shown, as legible as the model's own (arXiv "
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
