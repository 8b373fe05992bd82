"""The reference that samples are compared with, summarised once per data set and extractor."""

from dataclasses import dataclass
from typing import Any

from fromnoise.data.hashing import batches, content_hash
from fromnoise.data.images import Images
from fromnoise.metrics.comparison import summarise
from fromnoise.metrics.features.base import Extractor
from fromnoise.metrics.figures import Summary
from fromnoise.system.disk import storage
from fromnoise.system.progress import Bar


@dataclass(frozen=True)
class Reference:
    """The summary of a data set, with the provenance that figures report."""

    summary: Summary
    about: dict[str, Any]


def reference(images: Images, name: str, extractor: Extractor, split: str = "train") -> Reference:
    """Return the summary of a data set, cached by the hashes of the pixels and the extractor.

    Args:
        images: all images of the split.
        name: name of the extractor.
        extractor: the extractor itself.
        split: name of the split, for the report.
    """
    with Bar("hashing the reference", len(images)) as bar:
        content = content_hash(images, bar.advance)
    folder = storage.cache("reference") / f"{name}-{extractor.hash[:16]}-{content[:32]}"

    def make() -> None:
        with Bar(f"{name} features of {images.name}", len(images)) as bar:
            summary = summarise(batches(images), len(images), extractor, bar.advance)
        storage.write_folder(folder, {"summary": summary.tensors()}, {})

    summary = storage.kept(folder, make, lambda place: Summary.of(storage.read_tensors(place, "summary")))
    shape = "x".join(map(str, images.shape))
    return Reference(
        summary, {"data": images.name, "split": split, "n": len(images), "shape": shape, "sha256": content}
    )
