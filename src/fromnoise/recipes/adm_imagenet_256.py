"""ADM on ImageNet at 256x256: 553,838,086 parameters, class-conditional, learned variance, linear schedule.

Hyperparameters: Dhariwal and Nichol 2021, appendix I, and their code (channels 256, depth 2, mult 1, 1, 2, 2, 4, 4, no
dropout, learning rate 1e-4, batch 256, 1,980,000 steps). Name the folder of the 1,000 classes with --data.
"""

from fromnoise.recipes.adm_imagenet_64 import recipe as small

recipe = small.with_changes(
    {
        "recipe": "adm-imagenet-256",
        "expected": "FID 10.94 in 250 steps, 4.59 with a classifier (Dhariwal and Nichol 2021, table 5)",
        "network.channels": 256,
        "network.mult": [1, 1, 2, 2, 4, 4],
        "network.blocks": 2,
        "network.attention": [8, 16, 32],
        "network.dropout": 0.0,
        "schedule": {"name": "linear", "T": 1000},
        "data.size": 256,
        "train.steps": 1_980_000,
        "train.batch_size": 256,
        "train.lr": 0.0001,
    }
)
