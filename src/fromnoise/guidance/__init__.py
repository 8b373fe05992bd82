"""Guidance: denoisers that wrap another denoiser and change its prediction."""

from typing import TYPE_CHECKING

from fromnoise.registry.lazy import lazy_attributes

if TYPE_CHECKING:
    from fromnoise.guidance.auto import Auto as Auto
    from fromnoise.guidance.base import Wrapper as Wrapper
    from fromnoise.guidance.classifier import Classifier as Classifier
    from fromnoise.guidance.classifier_free import ClassifierFree as ClassifierFree
    from fromnoise.guidance.clip import Clip as Clip
    from fromnoise.guidance.dynamic_threshold import DynamicThreshold as DynamicThreshold
    from fromnoise.guidance.image_text import ImageText as ImageText
    from fromnoise.guidance.image_text import contrastive as contrastive
    from fromnoise.guidance.noisy_classifier import NoisyClassifier as NoisyClassifier
    from fromnoise.guidance.scale_told import ScaleTold as ScaleTold
    from fromnoise.guidance.steering import Steering as Steering
    from fromnoise.guidance.steering import steer as steer
    from fromnoise.guidance.with_variance import WithVariance as WithVariance
else:
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        Auto="auto",
        Classifier="classifier",
        ClassifierFree="classifier_free",
        Clip="clip",
        DynamicThreshold="dynamic_threshold",
        ImageText="image_text",
        contrastive="image_text",
        NoisyClassifier="noisy_classifier",
        WithVariance="with_variance",
        ScaleTold="scale_told",
        Steering="steering",
        Wrapper="base",
        steer="steering",
    )
