"""How far a training is, and who is told."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from fromnoise.errors import FromNoiseError

if TYPE_CHECKING:
    from fromnoise.train.trainer import Trainer


@dataclass
class Progress:
    """What a checkpoint holds beside tensors.

    Attributes:
        step: optimiser steps done.
        images: examples seen.
        seconds: of training, sampling, validation and saving not counted.
        loss: moving average of the loss over some 100 steps.
        skipped: steps left out because something was not a number.
        validation: the loss of the averaged weights on held-out examples, when it was last measured.
    """

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    loss: float = math.inf
    skipped: int = 0
    validation: float | None = None

    @classmethod
    def of(cls, values: Any, where: object) -> Self:
        """From a checkpoint's state.json.

        Raises:
            FromNoiseError: it says something else; `where` is its name.
        """
        with suppress(TypeError, ValueError):
            made = cls(**values)
            counts = (made.step, made.images, made.skipped)
            figures = [float(value) for value in (made.seconds, made.loss, made.validation or 0)]
            if all(type(n) is int and n >= 0 for n in counts) and 0 <= figures[0] < math.inf:
                return made
        raise FromNoiseError(f"{where}: its state.json does not say how far the training was")

    def follow(self, loss: float) -> None:
        weight = max(0.01, 1 / (self.step + 1))
        self.loss = loss if math.isinf(self.loss) else self.loss + weight * (loss - self.loss)


@dataclass
class Watcher:
    """What the trainer tells the outside; every function may be replaced.

    Attributes:
        start: before the first step, with the trainer and whether it resumed; it may be finished already.
        sample: when a sample grid is due, with the step, the weights being the averaged ones.
        say: a line for the person watching.
        lines: whether the bar is a line now and then where no bar can be drawn; else it is left out there.
        wants_model: whether somebody uses the model afterwards: a sharded one is then made whole, in every process.
    """

    start: "Callable[[Trainer, bool], None]" = lambda trainer, resumed: None
    sample: Callable[[int], None] = lambda step: None
    say: Callable[[str], None] = lambda text: None
    lines: bool = False
    wants_model: bool = True
