"""Base class of objectives."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.schedules.base import Chain


class Objective(ABC):
    """(denoiser, x_0, t, eps) -> the loss of each example, and other values worth plotting."""

    bound: ClassVar[bool] = False
    """Whether the loss is the whole variational bound, which is required to train a learned schedule."""

    teaches_variance: ClassVar[bool] = False
    """Whether the loss depends on the reverse variance, and so can train a learned one."""

    needs_chain: ClassVar[bool] = False
    """Whether the levels must be rows of the schedule's chain."""

    draws: ClassVar[int] = 1
    """Independent noise draws per example; with more than one, `noise` is [B, draws, ...]."""

    second_order: ClassVar[bool] = False
    """Whether the loss contains gradients of the network, so that training differentiates twice."""

    def check(self, denoiser: Denoiser) -> None:
        """Check, before training, that this objective can train everything that the model learns.

        Raises:
            FromNoiseError: it cannot; the message names objectives that can.
        """
        name = getattr(type(self), "registered_name", type(self).__name__)
        if denoiser.variance.outputs > 1 and not self.teaches_variance:
            raise FromNoiseError(f"objective {name} teaches the mean only: with variance {denoiser.variance.name} use "
                                 "hybrid or vlb, or take fixed_small or fixed_large")  # fmt: skip
        if isinstance(denoiser.schedule, nn.Module) and not self.bound:
            raise FromNoiseError(f"objective {name} cannot train a learned schedule, only the bound can: use vlb, or "
                                 "another schedule")  # fmt: skip

    @abstractmethod
    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        t: Level,
        noise: Tensor,
        cond: Cond | None = None,
        chain: Chain | None = None,
    ) -> dict[str, Tensor]:
        """Values for each example, each [B]; the trainer averages and minimises "loss".

        Args:
            denoiser: the model.
            x0: clean data, [B, ...].
            t: levels, [B].
            noise: standard normal, of the shape of x0, or [B, draws, ...].
            cond: conditions, each [B, ...].
            chain: for objectives that are terms of the bound: the chain that they belong to.
        """
