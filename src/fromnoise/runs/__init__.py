"""Runs: a recipe trained into a folder, and that folder opened again to sample from it."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__,
    read_config="_config",
    Model="_model",
    Asked="_choice",
    Choice="_choice",
    open_model="_model",
    draw="_model",
    train="_training",
)
