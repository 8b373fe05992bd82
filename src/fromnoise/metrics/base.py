"""What a metric is."""

from abc import ABC, abstractmethod

from fromnoise.metrics.figures import Summary


class Metric(ABC):
    """(what is known of the samples, of the reference) -> figures by name.

    Subclasses are frozen dataclasses, one in a file, whose first lines are the equation. Names are those that an
    extractor's `title` completes: "FD" becomes FID for Inception.
    """

    @abstractmethod
    def __call__(self, samples: Summary, reference: Summary) -> dict[str, float]:
        """The figures; none where the extractor lacks what they need."""
