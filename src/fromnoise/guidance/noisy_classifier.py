"""A classifier of noisy states: p(y | x_t) at every level."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fromnoise import registry
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.schedules.base import Schedule
from fromnoise.system import checks


class NoisyClassifier(nn.Module):
    """x_t, t -> log p(y | x_t) for all classes, [B, K]; classifier guidance uses its gradient.

    Source: Dhariwal and Nichol 2021, arXiv 2105.05233, section 4; Sedykh 4.3.1 (eq. 4.20-4.25).

    Args:
        network: x, time -> logits [B, K].
        schedule: the schedule of the model to steer.
        shape: shape of one state.
        class_names: names of the K classes.
    """

    def __init__(
        self, network: nn.Module, schedule: Schedule, shape: tuple[int, ...], class_names: Sequence[str]
    ) -> None:
        super().__init__()
        self.network, self.schedule = network, schedule
        self.shape, self.class_names = tuple(shape), tuple(class_names)

    def forward(self, x_t: Tensor, t: Level | float | Tensor) -> Tensor:
        """log p(y | x_t), float32; t: a level or a time, scalar or [B]."""
        t = t if isinstance(t, Level) else self.schedule.level(t)
        checks.state("x_t", x_t, self.shape)
        time = self.schedule.network_time(t).to(x_t.device, non_blocking=True).expand(len(x_t))
        weight = next(self.network.parameters())
        seen = like((t.alpha**2 + t.sigma**2).rsqrt(), x_t) * x_t  # bounded for variance-exploding schedules too
        return torch.log_softmax(self.network(seen.to(weight.dtype), time).float(), 1)

    def log_prob(self, x_t: Tensor, t: Level, cond: Cond | None) -> Tensor:
        """log p(y | x_t) of each sample's own class, [B], differentiable with respect to x_t.

        Raises:
            FromNoiseError: `cond` has no label.
        """
        if cond is None or "label" not in cond:
            raise FromNoiseError("classifier guidance steers towards a class: name it")
        return self(x_t, t).gather(1, cond["label"][:, None])[:, 0]

    def check(self, denoiser: Denoiser) -> None:
        """Check, before the first network call, that the classifier fits the denoiser that it steers.

        Raises:
            FromNoiseError: the two differ in shape, schedule or classes.
        """
        for what, own, other in (
            ("states of", self.shape, denoiser.shape),
            ("the levels of", registry.spec(self.schedule), registry.spec(denoiser.schedule)),
            ("the classes", self.class_names, denoiser.class_names or self.class_names),
        ):
            if own != other:
                raise FromNoiseError(f"the classifier knows {what} {_words(own)}, and the model {_words(other)}: train "
                                     "one with fromnoise train-classifier RUN")  # fmt: skip


def _words(value: object) -> str:
    return (
        "x".join(map(str, value)) if isinstance(value, tuple) and all(isinstance(v, int) for v in value) else str(value)
    )
