"""What an objective is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level
from fromnoise.schedules._base import Chain


class Objective(ABC):
    """(denoiser, x_0, t, eps) -> the loss of each example, and whatever else is worth a curve."""

    draws: ClassVar[int] = 1
    """Independent normal draws that one example needs: with more than one `noise` is [B, draws, ...]."""

    def check(self, denoiser: Denoiser) -> None:  # noqa: B027  most fit every model
        """Before training: whether this objective can train that model.

        Raises:
            FromNoiseError: it cannot; with the way out.
        """

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
        """Per-example values, each [B]; "loss" is what the trainer averages and descends.

        Args:
            denoiser: the model.
            x0: clean data, [B, ...].
            t: levels, [B].
            noise: standard normal, of the shape of x0, or [B, draws, ...].
            cond: conditions, each [B, ...].
            chain: the chain that a term of the bound belongs to, for objectives that are one.
        """
