"""Improved DDPM on CIFAR-10 for likelihood: L_vlb with importance sampling of t.

As `improved-ddpm-cifar10`, but the whole objective is the bound; t is drawn in proportion to the root of the loss's
second moment over its last 10 values, mixed with 0.001 of uniform (Nichol and Dhariwal 2021, section 3.3).
"""

from fromnoise.recipes.improved_ddpm_cifar10 import recipe as hybrid

recipe = hybrid.with_changes(
    {
        "recipe": "improved-ddpm-cifar10-vlb",
        "expected": "NLL 2.94 bits/dim, FID 11.47 (Nichol and Dhariwal 2021, table 2)",
        "objective": "vlb",
        "times": "importance",
    }
)
