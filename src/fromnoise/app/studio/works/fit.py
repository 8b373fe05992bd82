"""An uploaded image: in full, and as the model receives it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench

_LARGEST = 640
"""The largest side, in pixels, of the image that the page shows for painting."""


@register("fit")
@dataclass(frozen=True)
class Fit(Work):
    """The whole image, the image at the model's size, and the conditioning image of a control model."""

    run: str
    image: str
    sketch: bool = False

    models: ClassVar[tuple[str, ...]] = ("run",)
    uploads: ClassVar[tuple[str, ...]] = ("image",)
    quick: ClassVar[bool] = True

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        from torch.nn.functional import interpolate

        from fromnoise.app.studio import editing
        from fromnoise.data.folder import read_image

        model = bench.model(places["run"]).of_images()
        channels, height, width = model.denoiser.image_shape or (3, 64, 64)
        whole = read_image(places["image"], channels, None)[None]
        size = list(whole.shape[-2:])
        if max(size) > _LARGEST:
            least = [max(1, round(side * _LARGEST / max(size))) for side in size]
            whole = interpolate(whole.float(), least, mode="area").round().byte()
        arrays = {"whole": whole.numpy(), "seen": read_image(places["image"], channels, (height, width))[None].numpy()}
        if model.needs_images:
            pixels, told = editing.condition(model, places["image"], self.sketch)
            arrays |= {"seen": pixels[None].numpy(), "condition": told[None].numpy()}
        send({"kind": "fitted", "height": size[0], "width": size[1], "shape": [channels, height, width],
              "computed": model.needs_images and editing.computed(model) is not None}, arrays)  # fmt: skip
