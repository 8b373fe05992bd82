"""Base class of metrics."""

from abc import ABC, abstractmethod

from fromnoise.metrics.figures import Summary


class Metric(ABC):
    """(summary of the samples, summary of the reference) -> figures by name.

    Subclasses are frozen dataclasses, one per file, whose docstrings start with the equation. The `title` of a feature
    extractor completes the names: "FD" becomes FID for Inception.
    """

    @abstractmethod
    def __call__(self, samples: Summary, reference: Summary) -> dict[str, float]:
        """The figures by name; empty if the extractor does not provide what they need."""
