"""Denoisers that wrap a denoiser, with the same signature."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__,
    Wrapper="_base",
    Clip="clip",
    Classifier="classifier",
    ClassifierFree="classifier_free",
    Revalued="revalued",
    steer="_steer",
)
