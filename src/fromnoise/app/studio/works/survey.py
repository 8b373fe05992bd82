"""What training would read from a folder of images: how many, which classes, what is left out and why."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fromnoise import data
from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.errors import unknown
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench

_SHOWN, _SIDE = 32, 64


@register("survey")
@dataclass(frozen=True)
class Survey(Work):
    """Surveys a folder that was uploaded or given at the start, or a named data set."""

    folder: str = ""
    data: str = ""

    sets: ClassVar[tuple[str, ...]] = ("folder",)
    quick: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.folder and self.data not in data.names():  # a path would lead outside
            raise unknown("data set", self.data[:40], data.names())

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        import numpy as np

        from fromnoise.data.config import DataConfig
        from fromnoise.data.folder import load_folder
        from fromnoise.data.images import spread
        from fromnoise.data.loading import load

        if self.folder:
            config = DataConfig(name=str(places["folder"]), size=_SIDE, memory=0)
            images = load_folder(config)
        else:
            images = load(DataConfig(name=self.data))
        pixels, labels = images.batch(spread(len(images), _SHOWN))
        classes = list(images.classes)
        known = getattr(images, "labels", None)
        counts = (
            np.bincount([n for n in known.tolist() if n >= 0], minlength=len(classes))
            if classes and known is not None
            else []
        )
        send(
            {
                "kind": "survey",
                "n": len(images),
                "shape": list(images.shape),
                "classes": classes[:200],
                "counts": [int(c) for c in counts][:200],
                "notes": [note.replace(str(places.get("folder", "")), "the folder") for note in images.notes][:30],
                "labels": [int(label) for label in labels],
            },
            {"x": pixels.numpy()},
        )
