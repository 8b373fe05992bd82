"""fromnoise: diffusion models, from the equations to the images.

Every attribute is imported on first use, so `import fromnoise` takes milliseconds.
"""

from typing import TYPE_CHECKING

from fromnoise.registry.lazy import lazy_attributes

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fromnoise import augmentations as augmentations
    from fromnoise import bound as bound
    from fromnoise import compose as compose
    from fromnoise import couplings as couplings
    from fromnoise import data as data
    from fromnoise import distill as distill
    from fromnoise import editing as editing
    from fromnoise import errors as errors
    from fromnoise import flow as flow
    from fromnoise import gaussian as gaussian
    from fromnoise import guidance as guidance
    from fromnoise import langevin as langevin
    from fromnoise import likelihood as likelihood
    from fromnoise import metrics as metrics
    from fromnoise import nn as nn
    from fromnoise import objectives as objectives
    from fromnoise import oracle as oracle
    from fromnoise import parameterizations as parameterizations
    from fromnoise import paths as paths
    from fromnoise import recipes as recipes
    from fromnoise import samplers as samplers
    from fromnoise import schedules as schedules
    from fromnoise import times as times
    from fromnoise import train as train
    from fromnoise import variances as variances
    from fromnoise import verify as verify
    from fromnoise import weights as weights
    from fromnoise.app import evaluation as evaluation
    from fromnoise.app import figures as figures
    from fromnoise.app import runs as runs
    from fromnoise.denoise import Denoiser as Denoiser
    from fromnoise.errors import FromNoiseError as FromNoiseError
    from fromnoise.gaussian import Gaussian as Gaussian
    from fromnoise.gaussian import Level as Level
    from fromnoise.metrics import features as features
    from fromnoise.nn import text as text
    from fromnoise.parameterizations import students as students
    from fromnoise.parameterizations.prediction import Prediction as Prediction
    from fromnoise.samplers.base import sample as sample
    from fromnoise.schedules import spacings as spacings
    from fromnoise.schedules.base import Chain as Chain
    from fromnoise.system import hardware as hardware
    from fromnoise.system import rng as rng
    from fromnoise.train.fit import Fitted as Fitted
    from fromnoise.train.fit import fit as fit
    from fromnoise.variances.reverse import reverse as reverse
    from fromnoise.weights import graphs as graphs
    from fromnoise.weights.graphs.writing import export as export
    from fromnoise.weights.native import load as load
    from fromnoise.weights.native import save as save
else:
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        augmentations="augmentations:*",
        bound="bound:*",
        compose="compose:*",
        couplings="couplings:*",
        data="data:*",
        distill="distill:*",
        editing="editing:*",
        errors="errors:*",
        evaluation="app.evaluation:*",
        features="metrics.features:*",
        figures="app.figures:*",
        flow="flow:*",
        graphs="weights.graphs:*",
        gaussian="gaussian:*",
        langevin="langevin:*",
        guidance="guidance:*",
        hardware="system.hardware:*",
        likelihood="likelihood:*",
        metrics="metrics:*",
        nn="nn:*",
        objectives="objectives:*",
        oracle="oracle:*",
        parameterizations="parameterizations:*",
        paths="paths:*",
        recipes="recipes:*",
        rng="system.rng:*",
        runs="app.runs:*",
        samplers="samplers:*",
        schedules="schedules:*",
        spacings="schedules.spacings:*",
        students="parameterizations.students:*",
        text="nn.text:*",
        times="times:*",
        train="train:*",
        variances="variances:*",
        verify="verify:*",
        weights="weights:*",
        Chain="schedules.base",
        Denoiser="denoise",
        FromNoiseError="errors",
        Gaussian="gaussian",
        Level="gaussian",
        Prediction="parameterizations.prediction",
        Fitted="train.fit",
        export="weights.graphs.writing",
        fit="train.fit",
        load="weights.native",
        reverse="variances.reverse",
        sample="samplers.base",
        save="weights.native",
    )
