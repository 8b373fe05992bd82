"""Emoji in colour at 32x32: ten minutes of training on two cores with 1,898 images, without a separate download.

The choices are those of `digits` as far as they apply to colour images. The differences:

- *data*: Twemoji on white (CC BY 4.0, Twitter and other contributors), with their Unicode groups as classes.
- *network*: one more level, because 32x32 folded into 2x2 patches is 16x16, and 64 channels, because colours and
  outlines are more complex than strokes.
- *averaging* 0.995, and less guidance.
- *evaluation*: ImageNet's EfficientNet-Lite0 (extra `colour`), which sees colours and needs no hub. It has 1,280
  features, for which the covariance of 1,500 samples is not singular. Each sample takes 100 network calls of 15 ms on
  one core in float32: some 40 minutes in total, nearly all of it sampling.
"""

from fromnoise.recipes.digits import recipe as digits
from fromnoise.recipes.sections import EvalConfig, SampleConfig

recipe = digits.with_changes(
    {
        "recipe": "emoji",
        "expected": "the colours and outlines of each group: striped flags, round yellow faces; hours draw the details",
        "reproduced": "368 steps in 10 minutes on two cores without native bf16: striped flags, hearts, coloured "
        "shapes, no details; FD-efficientnet-lite0-300 271 (UniPC, 40 calls), no near-copies; not trained for longer",
        "data.name": "emoji",
        "data.size": 32,
        "data.channels": 3,
        "network.channels": 64,
        "network.mult": [1, 2, 2],
        "network.attention": [2, 4],
        "network.classes": 9,
        "train.minutes": 10,
        "train.ema": 0.995,
    }
).model_copy(
    update={
        "sample": SampleConfig(sampler={"name": "ancestral"}, steps=50, guidance=1.5),
        "evaluate": EvalConfig(features="efficientnet-lite0", n=1500),
    }
)
