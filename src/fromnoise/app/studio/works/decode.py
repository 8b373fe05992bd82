"""A step of a latent model's walk, decoded."""

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
    """x_t and x0hat of step `index` of the walk with that number, as images."""

    latents: int
    index: int

    quick: ClassVar[bool] = True

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        import torch

        from fromnoise.app.studio.works.seen import images

        kept = bench.kept("latents", self.latents)
        if kept is None or self.index not in kept:
            raise FromNoiseError("these latents are not kept any more: draw them again")
        codec, x, x0 = kept[self.index]
        with torch.no_grad():
            send(
                {"kind": "decoded", "index": self.index}, {"x": images(codec.decode(x)), "x0": images(codec.decode(x0))}
            )
