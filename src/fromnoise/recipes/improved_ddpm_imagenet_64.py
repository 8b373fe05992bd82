"""Improved DDPM on ImageNet at 64x64: the whole bound with importance sampling, 1.5 million steps.

Hyperparameters: Nichol and Dhariwal 2021, appendix A, and their code (depth 3, mult 1, 2, 3, 4, attention at 16 and 8,
no dropout). Class labels are not used. Name the folder by --data.
"""

from fromnoise.recipes.improved_ddpm_cifar10_vlb import recipe as cifar10

recipe = cifar10.with_changes(
    {
        "recipe": "improved-ddpm-imagenet-64",
        "expected": "NLL 3.53 bits/dim (Nichol and Dhariwal 2021, table 3)",
        "network.mult": [1, 2, 3, 4],
        "network.attention": [4, 8],
        "network.dropout": 0.0,
        "data.name": "imagenet",
        "data.size": 64,
        "data.workers": 16,
        "train.steps": 1_500_000,
    }
)
