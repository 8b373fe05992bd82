"""What makes a run small enough for a test, and images to train it on."""

import numpy as np
from PIL import Image

TINY = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]", "train.batch_size=8",
        "train.checkpoint_every=100", "train.sample_every=2", "sample.steps=3", "train.optimizer=adamw"]  # fmt: skip
"""Settings of a network that trains in no time."""


def folder(path, classes=("left", "right"), size=16, n=6):
    """Colour images in sub-folders."""
    rng = np.random.default_rng(0)
    for name in classes:
        (path / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path / name / f"{i}.png")
    return path
