"""fromnoise: diffusion models, from the equations to the pictures.

Everything is imported when it is first used, so that `import fromnoise` costs milliseconds.
"""

from fromnoise.lazy import lazy_attributes

__version__ = "0.1.0"

__getattr__, __dir__ = lazy_attributes(
    __name__,
    augmentations="augmentations:*",
    bound="bound:*",
    compose="compose:*",
    data="data:*",
    editing="editing:*",
    errors="errors:*",
    evaluation="app.evaluation:*",
    features="features:*",
    figures="app.figures:*",
    flow="flow:*",
    gaussian="gaussian:*",
    langevin="langevin:*",
    guidance="guidance:*",
    hardware="hardware:*",
    likelihood="likelihood:*",
    metrics="metrics:*",
    nn="nn:*",
    objectives="objectives:*",
    oracle="oracle:*",
    parameterize="parameterize:*",
    recipes="recipes:*",
    rng="rng:*",
    runs="app.runs:*",
    samplers="samplers:*",
    schedules="schedules:*",
    times="times:*",
    train="train:*",
    variance="variance:*",
    verify="verify:*",
    weights="weights:*",
    Chain="schedules.base",
    Denoiser="denoise",
    FromNoiseError="errors",
    Gaussian="gaussian",
    Level="gaussian",
    Prediction="parameterize",
    load="weights.native",
    reverse="variance",
    sample="samplers.base",
    save="weights.native",
)
