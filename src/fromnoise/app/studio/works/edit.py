"""Editing one's own image with a model: all that `fromnoise edit` does, and images drawn from a sketch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench

MOST = 64
TAKES = {
    "inpaint": ("n", "mask", "repeats", "sampler", "steps"),
    "image-to-image": ("n", "strength", "sampler", "steps"),
    "interpolate": ("n", "other"),
    "reconstruct": (),
    "upscale": ("n", "sampler", "steps"),
    "variations": ("n", "strength", "steps"),
    "text-difference": ("n", "strength", "text", "from_text"),
    "control": ("n", "sampler", "steps", "text", "sketch"),
}
"""The fields that each kind uses; all kinds use class, guidance and seed."""
_RANGES = {"n": (1, MOST), "strength": (0, 1), "steps": (1, 100_000), "repeats": (1, 100), "guidance": (0, 100)}
_WORDS = 1000


@register("edit")
@dataclass(frozen=True)
class Edit(Work):
    """n images made from an image; defaults are those of the command.

    Attributes:
        run, kind: the model, and the kind of edit: a key of `TAKES`.
        image, other, mask: keys of uploads; `other` is the second image of an interpolation.
        image_name, other_name: file names, for the command.
        sketch: for control, whether the image itself is the conditioning image, instead of being the image from which
            that is computed.
        text, from_text: what the image should become, and what it shows now; for control, `text` is the prompt.
    """

    run: str
    kind: str
    image: str
    other: str = ""
    mask: str = ""
    image_name: str = ""
    other_name: str = ""
    n: int | None = None
    strength: float | None = None
    repeats: int | None = None
    seed: int = 0
    sampler: str = ""
    steps: int | None = None
    label: str = ""
    guidance: float | None = None
    text: str = ""
    from_text: str = ""
    sketch: bool = False

    models: ClassVar[tuple[str, ...]] = ("run",)
    uploads: ClassVar[tuple[str, ...]] = ("image", "other", "mask")

    def __post_init__(self) -> None:
        if self.kind not in TAKES:
            raise unknown("kind", self.kind[:40], TAKES)
        if not self.image:
            raise FromNoiseError("image: choose an image first")
        for name in sorted(set().union(*TAKES.values()) - set(TAKES[self.kind])):
            if getattr(self, name) not in (None, "", False):
                raise FromNoiseError(f"{name}: {self.kind} does not use it; it uses "
                                     f"{', '.join((*TAKES[self.kind], 'label', 'guidance'))}")  # fmt: skip
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise FromNoiseError(f"{name}: must be from {low:g} to {high:,}, got {value:g}")
        if self.strength == 0 and self.kind != "variations":
            raise FromNoiseError("strength: must be above 0; with 0 nothing would change")
        if self.kind == "interpolate" and self.n == 1:
            raise FromNoiseError("n: an interpolation has at least 2 images, its two ends")
        self._complete()

    def _complete(self) -> None:
        """Raise FromNoiseError if a field that this kind needs is missing, or a text is too long."""
        if self.kind == "inpaint" and not self.mask:
            raise FromNoiseError("mask: paint over the area that the model should draw")
        if self.kind == "interpolate" and not self.other:
            raise FromNoiseError("other: an interpolation needs a second image")
        if self.kind == "text-difference" and not (self.text.strip() and self.from_text.strip()):
            raise FromNoiseError("text: describe what the image shows, and what it should become")
        for name in ("text", "from_text", "image_name", "other_name", "label", "sampler"):
            if len(getattr(self, name)) > _WORDS:
                raise FromNoiseError(f"{name}: has {len(getattr(self, name)):,} characters; the limit is {_WORDS:,}")

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        from fromnoise.app.studio import editing

        model = bench.model(places["run"]).of_images()
        editing.insist_on_fit(self, model)
        change = editing.control if self.kind == "control" else editing.changed
        change(self, model, places, send)
