"""An image-text model of emoji and captions at every noise level, for `eval --agreement` and guidance by text.

The levels, the data and the text encoder are those of `emoji-text`. A quarter of the emoji is held out, so that the
accuracy is measured on images that it has not seen. To guide a text-conditional model, train it on all emoji:
`--set data.hold_out=0`.
"""

from fromnoise.recipes.contrast import ImageTextConfig
from fromnoise.recipes.emoji_text import recipe as emoji_text
from fromnoise.recipes.sections import TextConfig

assert emoji_text.text is not None

recipe = ImageTextConfig(
    recipe="emoji-image-text",
    expected="the right captions for emoji seen in training, and for some held-out ones (not from a paper)",
    reproduced="5 minutes on two cores with AVX-512 BF16: 24 % of held-out captions among 100, 99 % of those it saw",
    network={"name": "image-text", "channels": 48, "mult": [1, 2, 2], "patch": 2},
    schedule=emoji_text.schedule,
    data=emoji_text.data.model_copy(update={"hold_out": 0.25}),
    text=TextConfig(encoder=emoji_text.text.encoder, dropout=0.0),
    train=emoji_text.train.model_copy(
        update={"minutes": 5, "lr": 2e-3, "optimizer": "adamw", "weight_decay": 0.05, "batch_size": 128, "ema": 0.99}
    ),
)
