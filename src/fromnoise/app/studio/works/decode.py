"""A sampling step of a latent model, decoded into images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench


@register("decode")
@dataclass(frozen=True)
class Decode(Work):
    """x_t and x0hat of step `index` as images; `latents` is the number of the job that drew them."""

    latents: int
    index: int

    quick: ClassVar[bool] = True

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        import torch

        from fromnoise.app.studio.works.seen import images

        kept = bench.kept("latents", self.latents)
        if kept is None or self.index not in kept:
            raise FromNoiseError("these latents are no longer kept: draw them again")
        codec, x, x0 = kept[self.index]
        with torch.no_grad():
            send(
                {"kind": "decoded", "index": self.index}, {"x": images(codec.decode(x)), "x0": images(codec.decode(x0))}
            )
