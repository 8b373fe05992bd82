"""Samples beside their nearest training images, and how many of them are copies."""

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from fromnoise.app.studio.bench import Bench

MOST = 500
_BESIDE, _KEPT, _SAME = 3, 5, 0.01


@register("copies")
@dataclass(frozen=True)
class Copies(Work):
    """n samples, the most copy-like first."""

    run: str
    n: int = 64
    seed: int = 0

    models: ClassVar[tuple[str, ...]] = ("run",)

    def __post_init__(self) -> None:
        if not 2 <= self.n <= MOST:
            raise FromNoiseError(f"n: must be from 2 to {MOST} samples, got {self.n}")

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        from fromnoise.app.studio.frames import finite
        from fromnoise.app.studio.works import _measuring
        from fromnoise.data.images import to_uint8, to_unit
        from fromnoise.metrics.memorisation import RATIO, distances, near_copies, nearest

        both = _measuring.drawn(bench, places["run"], self.run, self.n, self.seed)
        learned = both.learned
        send({"kind": "start", "command": self.command(places["run"]), "training_images": len(learned.numbers)})
        pixels = both.states(send)
        x = to_unit(pixels)
        looking = _measuring.Stepping(send, "searching the training images", len(learned.numbers))

        def parts() -> "Iterator[tuple[Tensor, Tensor]]":
            for numbers, images in learned.batches():
                yield numbers, images
                looking.advance(len(numbers))

        numbers = nearest(x, parts(), _KEPT, learned.mirrored)
        images = learned.beside(x, numbers)
        copies, far, ratios = near_copies(x, images), distances(x, images), ratio(x, images)
        order = ratios.nan_to_num(0).argsort(stable=True)
        end = {
            "kind": "end", "n": self.n, "copies": int(copies.sum()), "rule": RATIO,
            "training_images": len(learned.numbers), "beside": min(_BESIDE, numbers.shape[1]),
            "copy": copies[order].tolist(), "ratio": ratios[order].tolist(), "distance": far[order, 0].tolist(),
            "numbers": numbers[order, :_BESIDE].tolist(), "samples": order.tolist(),
            "median": far[:, 0].median().item(),
        }  # fmt: skip
        near = to_uint8(images[order, :_BESIDE]).flatten(0, 1)
        send(finite(end), {"x": pixels[order].numpy(), "near": near.numpy()})

    def command(self, run: "Path") -> str:
        """The command that prints the same share and draws nearest.png."""
        from fromnoise.app.studio.again import shown

        words = ["fromnoise", "eval", shown(run), "--n", str(self.n), "--nearest", str(self.n), "--seed",
                 str(self.seed), "--out", "copies.json"]  # fmt: skip
        return " ".join(map(shlex.quote, words))


def ratio(x: "Tensor", neighbours: "Tensor") -> "Tensor":
    """|x - y_1| / |x - y_2|, [N]: y_1 is the nearest neighbour, y_2 the nearest that differs from y_1.

    The definition is that of `near_copies`. NaN if all neighbours are the same image.
    """
    import torch

    x, y = x.flatten(1).double()[:, None], neighbours.flatten(2).double()
    far = (x - y).norm(dim=2)
    same = (y - y[:, :1]).norm(dim=2) <= _SAME * y[:, :1].norm(dim=2)
    other = far.masked_fill(same, torch.inf).amin(1)
    return (far[:, 0] / other).masked_fill(other.isinf(), torch.nan)
