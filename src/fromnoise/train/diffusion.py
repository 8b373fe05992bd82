"""Training a denoiser: Algorithm 1."""

import torch
from torch import Tensor, nn

from fromnoise import rng, times
from fromnoise.augmentations.low_res import LowResolution
from fromnoise.denoise import Denoiser, load_state, state
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import like
from fromnoise.hardware import Hardware
from fromnoise.objectives.base import Objective
from fromnoise.times.base import TimeSampling
from fromnoise.train.distributed import Processes, raw
from fromnoise.train.labels import Labels
from fromnoise.train.task import Drawn, Task


class Diffusion(Task):
    """Sedykh Algorithm 1 (alpha_bar under the roots): t and eps of an example are functions of its place.

    Args:
        denoiser: what is trained, in float32.
        objective: what is minimised.
        labels: what the network is told beside the level.
        seed: of the draws.
        time: which levels are looked at, and with what weight.

    Raises:
        FromNoiseError: denoiser, objective and times do not fit together.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        objective: Objective,
        labels: Labels,
        seed: int,
        time: TimeSampling | None = None,
    ):
        self.denoiser, self.objective, self.labels, self.seed = denoiser, objective, labels, seed
        self.times: TimeSampling = time or times.build("uniform")
        objective.check(denoiser)
        if objective.needs_chain and not self.times.on_rows:
            raise FromNoiseError("this objective is a term of the bound and needs the rows of its chain: "
                                 "use times=uniform, stratified or importance")  # fmt: skip
        self._seen: list[Tensor] = []

    @property
    def network(self) -> nn.Module:  # pyrefly: ignore[bad-override]
        return self.denoiser.network

    @network.setter
    def network(self, network: nn.Module) -> None:
        self.denoiser.network = network

    def weights(self) -> dict[str, nn.Parameter]:
        return self.denoiser.weights()

    def extra_parameters(self) -> list[nn.Parameter]:
        return [p for name, p in self.weights().items() if name.startswith("schedule.")]

    def train(self) -> None:
        self.denoiser.train()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """The model, and the state of the times where they have one."""
        found = {"model": state(raw(self.network), self.denoiser.schedule)}
        return found | ({"times": self.times.state()} if self.times.state() else {})

    def load(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        load_state(raw(self.network), self.denoiser.schedule, tensors["model"])
        if self.times.state():
            self.times.load(tensors["times"])

    def draw(self, x0: Tensor, labels: Tensor, places: range, step: int, batch_size: int) -> Drawn:
        draws = (self.objective.draws,) if self.objective.draws > 1 else ()
        eps = rng.normal(self.seed, places, step, (*draws, *x0.shape[1:]), rng.Stream.TRAIN_NOISE)
        told = self.labels.cond(labels, places, step) or {}
        if self.denoiser.low is not None:
            told |= self._low(self.denoiser.low, x0, places, step)
        return {"u": self._uniform(places, step, batch_size), "eps": eps, **told}

    def losses(self, x0: Tensor, drawn: Drawn, hardware: Hardware) -> Tensor:
        t, weight = self.times.draw(drawn["u"], self.denoiser.schedule)
        told = {k: hardware.put(v) for k, v in drawn.items() if k not in ("u", "eps")} or None
        losses = self.objective(self.denoiser, hardware.put(x0), t, hardware.put(drawn["eps"]), told)["loss"]
        if self.times.watches:
            self._seen.append(losses.detach())
        return losses * like(weight, losses)

    def finish(self, step: int, places: range, batch_size: int, processes: Processes) -> None:
        """Every process sees the losses of the whole batch, so that all draw from the same distribution."""
        if not self.times.watches:
            return
        whole = processes.whole(torch.cat(self._seen), places, batch_size)
        self._seen = []
        if bool(whole.isfinite().all()):
            u, schedule = self._uniform(range(batch_size), step, batch_size), self.denoiser.schedule
            self.times.observe(self.times.draw(u, schedule)[0], whole, schedule)

    def _low(self, low: LowResolution, x0: Tensor, places: range, step: int) -> Drawn:
        z = low.shrunk(x0)
        strength = low.augmentation.strength(rng.uniform(self.seed, places, step, rng.Stream.STRENGTH))
        return low.condition(z, strength, rng.normal(self.seed, places, step, z.shape[1:], rng.Stream.LOW_NOISE))

    def _uniform(self, places: range, step: int, batch_size: int) -> Tensor:
        u = rng.uniform(self.seed, places, step, rng.Stream.TRAIN_TIME)
        return self.times.arrange(u, places, batch_size)
