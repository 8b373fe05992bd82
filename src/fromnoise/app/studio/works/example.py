"""One image of a model's training data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench


@register("example")
@dataclass(frozen=True)
class Example(Work):
    """Image `number` of a run's data; numbers beyond the last start over from the first."""

    run: str
    number: int = 0

    models: ClassVar[tuple[str, ...]] = ("run",)
    quick: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.number < 0:
            raise FromNoiseError(f"number: must be at least 0, got {self.number}")

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        from fromnoise.app.studio.works._measuring import images_of
        from fromnoise.data.images import to_uint8, to_unit

        images = images_of(bench, bench.model(places["run"]).of_images())
        number = self.number % len(images)
        pixels, labels = images.batch([number])
        label = int(labels[0])
        name = images.classes[label] if 0 <= label < len(images.classes) else ""
        send({"kind": "example", "number": number, "of": len(images), "label": name},
             {"x": to_uint8(to_unit(pixels)).numpy()})  # fmt: skip
