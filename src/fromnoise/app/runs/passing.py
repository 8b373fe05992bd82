"""Preview samples during training, drawn with the recipe's settings."""

import torch
from torch import Tensor

from fromnoise import samplers
from fromnoise.app.runs.plan import SamplingPlan, fitting
from fromnoise.data.examples import Examples
from fromnoise.data.feed import as_state
from fromnoise.data.images import to_uint8
from fromnoise.denoise import Cond, Denoiser
from fromnoise.recipes.diffusion import Recipe
from fromnoise.system import rng
from fromnoise.system.disk.pictures import columns
from fromnoise.train.conditions import known

_N, _STEPS = 16, 50
_SHOWN = ("image_channels", "image_embedding")
"""Attributes of networks that are conditioned on an image or its embedding."""


class Passing:
    """Draws a preview: 16 samples in at most 50 steps, one column per class.

    Raises:
        FromNoiseError: if the recipe's sampler has a wrong option; checked here, before training starts.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        SamplingPlan.of(recipe.sample)

    def __call__(self, denoiser: Denoiser, source: Examples) -> tuple[Tensor, int | None]:
        plan = SamplingPlan.of(fitting(self.recipe.sample, denoiser))
        steered = plan.steered(denoiser)
        cond: Cond | None = None
        n = _N
        if denoiser.low is not None:
            cond, n = self._enlarged(denoiser, source)
        elif denoiser.text is not None or any(getattr(denoiser.network, part, 0) for part in _SHOWN):
            x, conditions = source.examples(source.few(_N))
            cond, n = known(denoiser, source, conditions), len(x)
        steps, seed = min(plan.steps, _STEPS), self.recipe.seed
        drawn = samplers.sample(steered, n, plan.sampler, steps, seed, cond, spacing=plan.spacing)
        return to_uint8(drawn.cpu()), columns(n, steered.classes)

    def _enlarged(self, denoiser: Denoiser, source: Examples) -> tuple[Cond, int]:
        """The condition of a super-resolution model: a few training images, shrunk; with their number."""
        low = denoiser.low
        assert low is not None
        x, conditions = source.examples(source.few(_N))
        z = low.shrunk(as_state(x, None))
        strength = torch.full((len(z),), self.recipe.sample.strength, dtype=torch.float64)
        eps = rng.normal(self.recipe.seed, range(len(z)), 0, tuple(z.shape[1:]), rng.Stream.LOW_NOISE)
        return low.condition(z, strength, eps) | (known(denoiser, source, conditions) or {}), len(z)
