"""Emoji in colour from words, 32x32: 1,898 pictures and the names of their code points.

The choices of `emoji`; what differs:

- *text*: byte-pair tokens of the captions, read by two layers that are trained with the network (GLIDE's way); a tenth
  of the captions is hidden, so that guidance has something to move away from. `--set text.encoder=minilm` takes a
  frozen sentence encoder instead (extra `text-small`), which knows more words than these captions have.
- *network*: no classes; attention sees the words beside the places.
- *path*: the straight one, its velocity and its times, as in `digits-flow`, which learned digits in half the steps.
- *guidance* 4.
"""

from fromnoise.recipes.emoji import recipe as emoji
from fromnoise.recipes.sections import SampleConfig, TextConfig

recipe = emoji.with_changes(
    {
        "recipe": "emoji-text",
        "expected": "the emoji that a caption names, by colour and outline",
        "reproduced": "not on this path; on the cosine one 553 steps in 20 minutes of busy cores without native bf16: "
        "colours, faces, flags and clocks are those asked for, hearts and fruit have no shape",
        "network.classes": None,
        "train.label_dropout": 0.0,
        "train.minutes": 20,
        "schedule": {"name": "rectified", "T": 1000},
        "parameterization": "flow",
        "times": {"name": "lognormal", "mean": 0.0, "std": 1.0},
    }
).model_copy(
    update={
        "text": TextConfig(encoder={"name": "learned", "vocabulary": 1024, "length": 24}),
        "sample": SampleConfig(sampler={"name": "unipc"}, steps=20, guidance=4.0),
    }
)
