"""Your own folder of colour images, at 32x32: `fromnoise train images --data PHOTOS`.

The network of `emoji`, trained for half an hour, which gives a first impression on a CPU and a usable model on a GPU.
For larger images use `--set data.size=64 network.mult=[1,2,2,4]` and train for hours, or on a GPU. Half of the images
are mirrored; for letters and digits set `data.flip=false`. With few images set `data.augment=0.12`. Sub-folders are
classes; a folder without sub-folders can be used as well.
"""

from fromnoise.recipes.emoji import recipe as emoji

recipe = emoji.with_changes(
    {
        "recipe": "images",
        "expected": "coarse shapes and colours after half an hour on a CPU; more with longer training or a GPU",
        "reproduced": "50,000 CIFAR-10 JPEGs, 10 minutes on two cores without native bf16: 362 steps, coloured blobs; "
        "FD-efficientnet-lite0-1k 219 (UniPC, 40 calls); not trained for longer",
        "data.name": "images",
        "data.flip": True,
        "train.minutes": 30,
        "train.ema": 0.999,
    }
)
