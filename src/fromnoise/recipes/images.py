"""Anyone's folder of images, in colour, 32x32: `fromnoise train images --data PHOTOS`.

The network of `emoji` and half an hour, which on a CPU is a first look and on a GPU a model. Larger images: `--set
data.size=64 network.mult=[1,2,2,4]`, and hours or a GPU. Half of the images are mirrored; letters and digits need
`data.flip=false`. Few images: `data.augment=0.12`. Sub-folders are classes; a folder without any trains as well.
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
