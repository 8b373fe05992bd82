"""Denoisers that wrap a denoiser, with the same signature."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__,
    Auto="auto",
    Classifier="classifier",
    ClassifierFree="classifier_free",
    Clip="clip",
    NoisyClassifier="noisy_classifier",
    WithVariance="with_variance",
    Steering="steering",
    Wrapper="base",
    steer="steering",
)
