"""Improved DDPM on CIFAR-10 for likelihood: L_vlb with importance sampling of t.

As in `improved-ddpm-cifar10`, but the objective is the bound alone. The probability of t is proportional to the root of
the mean square of its last 10 losses, mixed with 0.001 of the uniform distribution (Nichol and Dhariwal 2021, section
3.3).
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
