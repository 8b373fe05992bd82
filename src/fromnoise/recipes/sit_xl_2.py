"""SiT-XL/2 on latents of 256x256 ImageNet: the network of DiT-XL/2 on the straight path (Ma et al. 2024).

The network of `dit-xl-2`, 675 million parameters, learns the velocity of x_t = (1 - t) x_0 + t eps at uniform times.
Otherwise it is trained like DiT: AdamW at 1e-4 without weight decay or warm-up, batches of 256, one label in ten
dropped, images mirrored, 7,000,000 steps. The published network outputs four more channels, which are not used. It is
sampled by Heun's method in 125 steps, some 250 network calls, guided by 1.5; the best published figure is for an SDE
with 250 steps.
"""

from fromnoise.recipes.dit_xl_2 import recipe as dit

recipe = dit.with_changes(
    {
        "recipe": "sit-xl-2",
        "expected": "FID 2.06 with guidance 1.5 by the SDE, 8.3 without, after 7 M steps (Ma et al. 2024, arXiv "
        "2401.08740)",
        "schedule": {"name": "rectified", "T": 1000},
        "parameterization": "flow",
        "variance": "fixed_large",
        "objective": {"name": "simple"},
        "times": {"name": "uniform"},
        "sample.sampler": {"name": "heun"},
        "sample.steps": 125,
    }
)
