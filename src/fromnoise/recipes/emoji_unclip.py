"""Emoji from text in two stages, as in unCLIP: caption to image embedding, then embedding to image.

- *image-text*: the model of `emoji-image-text`, trained first, on all emoji; its image vectors are the embeddings.
- *prior*: a multi-layer perceptron that predicts the embedding itself (x0), as in the paper, given the caption.
- *decoder*: the network of `emoji-text`, conditioned on the embedding and not on text.

Variations of an image, interpolations of two and changes by text need only the decoder: see `fromnoise edit`.
"""

from fromnoise.recipes.emoji_text import recipe as emoji_text

recipe = emoji_text.with_changes(
    {
        "recipe": "emoji-unclip",
        "expected": "the emoji that a caption names, and variations of any",
        "reproduced": "5 + 3 + 15 minutes on two cores with AVX-512 BF16: 27 of 30 prompts recognised by eye, "
        "variations and interpolations of the same things (docs/text.md)",
        "stages": {
            "prior": {
                "unclip": {"image_text": "emoji-image-text", "role": "prior"},
                "network": {"name": "mlp", "width": 512, "depth": 6},
                "schedule": {"name": "cosine", "T": 1000},
                "parameterization": "x0",
                "times": {"name": "stratified"},
                "train": {"minutes": 3, "optimizer": "adamw", "lr": 1e-3, "batch_size": 256, "ema": 0.999},
                "sample": {"clip": False, "guidance": 2.0},
            },
            "decoder": {
                "unclip": {"image_text": "emoji-image-text", "role": "decoder"},
                "text": None,
                "sample": {"guidance": 2.0},
            },
        },
    }
)
