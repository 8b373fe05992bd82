"""The configuration of an image-text model of noisy images and captions."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from fromnoise.errors import FromNoiseError
from fromnoise.recipes.config import RunConfig, Spec
from fromnoise.recipes.sections import TextConfig

if TYPE_CHECKING:
    from fromnoise.data.examples import Examples
    from fromnoise.denoise import Codec
    from fromnoise.guidance import ImageText
    from fromnoise.nn.text import TextEncoder
    from fromnoise.train.task import Task

_WIDTH = 128
_OUTPUTS = 128


class ImageTextConfig(RunConfig):
    """The complete configuration of an image-text model, which measures how well a text matches a noisy image."""

    what: ClassVar[str] = "an image-text model"
    holds: ClassVar[str] = "image-text"

    kind: Literal["image-text"] = "image-text"
    schedule: Spec
    times: Spec = Field({"name": "stratified"})
    text: TextConfig = TextConfig(dropout=0.0)

    def task(self, source: "Examples", codec: "Codec | None" = None, sampled: Any = None) -> "Task":
        from fromnoise import times
        from fromnoise.data.worded import Worded
        from fromnoise.train import Contrasting

        if not isinstance(source, Worded):
            raise FromNoiseError(f"text: {source.name} must be given with its captions, as data.Worded does")
        return Contrasting(self.build(source.shape, source.encoder), self.seed, times.build(self.times))

    @property
    def outputs(self) -> int:
        """Length of the vectors of images and texts."""
        return self.network.get("outputs", _OUTPUTS)

    def next_command(self, out: Path) -> str:
        return f"fromnoise eval RUN --agreement {out}, or fromnoise sample RUN --classifier {out} --text ..."

    def build(self, shape: tuple[int, ...], encoder: "TextEncoder | None" = None) -> "ImageText":
        """The untrained model of images (C, H, W), with weights drawn from `seed`; default encoder: that of `text`."""
        import torch

        from fromnoise import nn, schedules
        from fromnoise.guidance import ImageText
        from fromnoise.nn import text

        encoder = encoder or text.build(self.text.encoder)
        words = {"width": _WIDTH} | (self.network.get("text") or {}) | encoder.options
        about = {**self.network, "outputs": self.outputs, "text": words}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = nn.build(about, in_channels=shape[0], dims=len(shape) - 1)
        if hasattr(network, "check_size"):
            network.check_size(shape[1:])
        return ImageText(network, schedules.build(self.schedule), shape, encoder)
