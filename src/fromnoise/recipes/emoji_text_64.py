"""Emoji from text at 64x64 in two stages, as in Imagen: 32x32 from noise, then enlarged, both given the caption.

- *base*: the model of `emoji-text`.
- *x2*: the same network on 4x4 patches, conditioned on the small image, with noise of strength up to 0.5 in training
  and 0.2 in sampling (Saharia et al. 2022, arXiv 2205.11487, section 2.4). It is not guided: the small image already
  determines what to draw.
"""

from fromnoise.recipes.emoji_text import recipe as emoji_text

recipe = emoji_text.with_changes(
    {
        "recipe": "emoji-text-64",
        "expected": "the images of emoji-text with sharper outlines",
        "reproduced": "by eye: 942 steps of the second stage (13 minutes on two cores with AVX-512 BF16) sharpen the "
        "outlines of the first and leave a grain (docs/text.md)",
        "data.size": 64,
        "stages": {
            "base": {"data": {"reduce": 2}},
            "x2": {
                "low": {"factor": 2, "augmentation": {"name": "noise", "most": 0.5}},
                "network": {"patch": 4},
                "sample": {"guidance": 1.0, "strength": 0.2},
            },
        },
    }
)
