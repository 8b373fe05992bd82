"""The progress of training, and the hooks with which applications watch it."""

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
    """The progress of training, as saved in every checkpoint.

    Attributes:
        step: optimiser steps done.
        images: examples seen.
        seconds: training time, not counting sampling, validation and saving.
        loss: moving average of the loss over about 100 steps.
        skipped: steps that were skipped because the loss or the gradient was not finite.
        validation: the last measured loss of the averaged weights on held-out examples; None before that.
    """

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    loss: float = math.inf
    skipped: int = 0
    validation: float | None = None

    @classmethod
    def of(cls, values: Any, where: object) -> Self:
        """The progress from a checkpoint's state.json.

        Raises:
            FromNoiseError: the values are invalid; `where` names the checkpoint in the message.
        """
        with suppress(TypeError, ValueError):
            made = cls(**values)
            counts = (made.step, made.images, made.skipped)
            figures = [float(value) for value in (made.seconds, made.loss, made.validation or 0)]
            if all(type(n) is int and n >= 0 for n in counts) and 0 <= figures[0] < math.inf:
                return made
        raise FromNoiseError(f"{where}: its state.json does not hold the progress of a training")

    def follow(self, loss: float) -> None:
        weight = max(0.01, 1 / (self.step + 1))
        self.loss = loss if math.isinf(self.loss) else self.loss + weight * (loss - self.loss)


@dataclass
class Watcher:
    """Hooks through which the trainer reports to an application; every function may be replaced.

    Attributes:
        start: called before the first step with the trainer and whether it resumed; training may be finished already.
        sample: called with the step when a sample grid is due; the network then holds the averaged weights.
        say: called with a line for the user.
        lines: whether progress is printed as occasional lines if no bar can be drawn; otherwise it is not shown then.
        wants_model: whether the model is used afterwards: if so, a sharded one is gathered, in every process.
    """

    start: "Callable[[Trainer, bool], None]" = lambda trainer, resumed: None
    sample: Callable[[int], None] = lambda step: None
    say: Callable[[str], None] = lambda text: None
    lines: bool = False
    wants_model: bool = True
