"""Digits in two stages: 14x14 drawn from noise, and enlarged to 28x28; 4 minutes of training a stage.

- *base*: the network of the recipe digits without its folding, at a quarter of the pixels; the cosine schedule is not
  lowered, since a smaller picture of the same digit needs less noise to be unreadable.
- *x2*: the same network with its folding, shown the small digit. Noise up to 0.5 in training, 0.2 in sampling: without
  it the distance of the composite is a third higher (docs/steering.md). It is not guided: the small digit says what to
  draw.
"""

from fromnoise.recipes.digits import recipe as digits

recipe = digits.with_changes(
    {
        "recipe": "digits-cascade",
        "expected": "as legible as the recipe digits",
        "reproduced": "FD-digits-1k 24.7, class accuracy 0.999; without augmentation 33.1 (7 min a stage, one core)",
        "network.patch": 1,
        "sample.clip": True,
        "stages": {
            "base": {"data": {"reduce": 2}, "schedule": {"shift": 0.0}},
            "x2": {
                "low": {"factor": 2, "augmentation": {"name": "noise", "most": 0.5}},
                "network": {"patch": 2},
                "sample": {"guidance": 1.0, "strength": 0.2},
            },
        },
    }
)
