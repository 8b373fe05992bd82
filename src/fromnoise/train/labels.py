"""What the network is told of each training example beside its level: its label, or that it has none."""

from collections.abc import Sequence

from torch import Tensor

from fromnoise import rng
from fromnoise.data.images import Images
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError


def known(denoiser: Denoiser, images: Images, labels: Tensor) -> Cond | None:
    """What a model is told of images that it is only asked about: their classes where they are its own, else none.

    Raises:
        FromNoiseError: the images have not the network's classes, and it has no label for none.
    """
    if denoiser.null_label is not None and len(images.classes) != denoiser.classes:
        return None
    return Labels(denoiser, images, 0.0, 0).cond(labels, range(len(labels)), 0)


class Labels:
    """label -> the null label with probability `dropout`, else itself (Ho and Salimans 2022, Algorithm 1).

    Which examples lose their label is a function of (seed, step, place in the global batch). One network so learns
    p(x | y) and p(x), as Sedykh eq. 4.30 needs. An image without a class, -1, has the null label always.

    Args:
        denoiser: one that knows classes, or none.
        images: what it is trained on.
        dropout: share of hidden labels.
        seed: of the choice.

    Raises:
        FromNoiseError: the images have not the network's classes, or a label is to be hidden and there is none for it.
    """

    def __init__(self, denoiser: Denoiser, images: Images, dropout: float, seed: int):
        self.classes, self.null, self.dropout, self.seed = denoiser.classes, denoiser.null_label, dropout, seed
        there = len(images.classes)
        if self.classes and self.classes != there:
            what = f"{there} classes" if there else "no classes: put each into a sub-folder of its own"
            raise FromNoiseError(f"the network knows {self.classes} classes, and {images.name} has {what}")
        if dropout and self.null is None:
            raise FromNoiseError("train.label_dropout hides labels, and this network "
                                 + ("has no null label" if self.classes else "knows none"))  # fmt: skip

    def cond(self, labels: Tensor, places: Sequence[int], step: int) -> Cond | None:
        """The condition of a share of step `step`; None for a network that is told nothing.

        Raises:
            FromNoiseError: an image has no class, and the network has no label for that.
        """
        if not self.classes:
            return None
        if self.null is not None:
            hidden = rng.uniform(self.seed, places, step, rng.Stream.LABEL) < self.dropout
            labels = labels.masked_fill(hidden | (labels < 0), self.null)
        elif bool((labels < 0).any()):
            raise FromNoiseError(
                "an image has no class, and the network has no label for that: use train.label_dropout"
            )
        return {"label": labels}
