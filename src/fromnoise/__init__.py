"""fromnoise: diffusion models, from the equations to the pictures.

Everything is imported when it is first used, so that `import fromnoise` costs milliseconds.
"""

from fromnoise.lazy import lazy_attributes

__version__ = "0.1.0"

__getattr__, __dir__ = lazy_attributes(
    __name__,
    augmentations="augmentations:*",
    autoencoders="autoencoders:*",
    bound="bound:*",
    compose="compose:*",
    data="data:*",
    editing="editing:*",
    errors="errors:*",
    evaluation="evaluation:*",
    features="features:*",
    figures="figures:*",
    flow="flow:*",
    gaussian="gaussian:*",
    langevin="langevin:*",
    guidance="guidance:*",
    hardware="hardware:*",
    likelihood="likelihood:*",
    metrics="metrics:*",
    nn="nn:*",
    noise="noise:*",
    objectives="objectives:*",
    oracle="oracle:*",
    parameterize="parameterize:*",
    recipes="recipes:*",
    runs="runs:*",
    samplers="samplers:*",
    schedules="schedules:*",
    times="times:*",
    train="train:*",
    variance="variance:*",
    verify="verify:*",
    Chain="schedules._base",
    Denoiser="denoise",
    FromNoiseError="errors",
    Gaussian="gaussian",
    Level="gaussian",
    Prediction="parameterize",
    load="io",
    reverse="variance",
    sample="samplers._base",
    save="io",
)
