"""Runs: a recipe trained into a folder, and that folder opened again to sample from it."""

from fromnoise.lazy import lazy_attributes

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
