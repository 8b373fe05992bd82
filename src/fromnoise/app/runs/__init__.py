"""Runs: train a recipe into a folder, then open that folder to sample from it."""

from typing import TYPE_CHECKING

from fromnoise.registry.lazy import lazy_attributes

if TYPE_CHECKING:
    from fromnoise.app.runs.config import read_config as read_config
    from fromnoise.app.runs.model import Model as Model
    from fromnoise.app.runs.model import draw as draw
    from fromnoise.app.runs.model import open_model as open_model
    from fromnoise.app.runs.plan import SampleOptions as SampleOptions
    from fromnoise.app.runs.plan import SamplingPlan as SamplingPlan
    from fromnoise.app.runs.training import train as train
else:
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        read_config="config",
        Model="model",
        SampleOptions="plan",
        SamplingPlan="plan",
        open_model="model",
        draw="model",
        train="training",
    )
