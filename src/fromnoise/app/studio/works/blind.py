"""A blind test: real and generated images, mixed. Can a person tell them apart?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

if TYPE_CHECKING:
    import numpy as np

    from fromnoise.app.studio.bench import Bench

MOST = 50


@register("blind")
@dataclass(frozen=True)
class Blind(Work):
    """k real images (held-out ones if there are enough) and k generated ones.

    Images 2 i and 2 i + 1 are a pair with one of each kind, in random order.
    """

    run: str
    k: int = 10
    seed: int = 0

    models: ClassVar[tuple[str, ...]] = ("run",)

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MOST:
            raise FromNoiseError(f"k: must be from 1 to {MOST} images of each kind, got {self.k}")

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        import torch

        from fromnoise.app.studio import again
        from fromnoise.app.studio.works import _measuring
        from fromnoise.data.images import to_uint8
        from fromnoise.system import rng

        both = _measuring.drawn(bench, places["run"], self.run, self.k, self.seed)
        held_out, learned = both.learned.held_out, both.learned.numbers
        unseen = len(held_out) >= self.k
        among = held_out if unseen else learned
        if len(among) < self.k:
            raise FromNoiseError(f"k: the data has {len(among)} images; choose no more than that")
        send({"kind": "start", "command": again.command(both.asked, places["run"]), "held_out": unseen,
              "python": again.python(both.asked, places["run"], both.model, both.plan)})  # fmt: skip
        chosen = among[rng.permutation(self.seed, 1, len(among))[: self.k]]
        pictures = to_uint8(both.learned.at(chosen))
        order = rng.permutation(self.seed, 3, self.k)  # the order of the classes would give them away
        generated = both.states(send)[order.tolist()]
        real = sides(self.seed, self.k)
        mixed = torch.stack([(pictures if real[i] else generated)[i // 2] for i in range(2 * self.k)])
        send({"kind": "end", "real": real.tolist(), "held_out": unseen, "numbers": chosen.tolist(),
              "samples": order.tolist()},
             {"x": mixed.numpy()})  # fmt: skip


def sides(seed: int, k: int) -> "np.ndarray":
    """Which of the 2 k images are real, int [2 k]: one of every pair, at random."""
    import numpy as np

    from fromnoise.system import rng

    first = np.array([rng.integer(seed, i, 2, rng.Stream.DATA_ORDER) % 2 for i in range(k)])
    return np.stack([first, 1 - first], 1).reshape(-1)
