"""The stages of `benchmarks/gpu.py`, one file each. This module imports no torch, so the parent starts at once."""

from gpu_stages.runner import Stage

STAGES = (
    Stage("ceilings", 20),
    Stage("right", 90, beside="gpu_stages.warm"),
    Stage("resume", 60, beside="gpu_stages.warm"),
    Stage("training", 240),
    Stage("sampling", 120),
    Stage("profile", 40),
    Stage("quality", 150),
)
"""In order of importance. The numbers are shares of the time; time left over goes to the later stages."""
