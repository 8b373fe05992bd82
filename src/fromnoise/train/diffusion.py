"""The training task of denoisers: Algorithm 1."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fromnoise import couplings, times
from fromnoise.couplings.base import Coupling
from fromnoise.data.augment import Augment
from fromnoise.data.examples import Conditions, Examples
from fromnoise.denoise import Denoiser, load_state, state
from fromnoise.distill.base import Distillation
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import like
from fromnoise.objectives.base import Objective
from fromnoise.system import rng
from fromnoise.times.base import TimeSampling
from fromnoise.train.by_level import Seen
from fromnoise.train.conditions import Conditioning, insist_on_augment
from fromnoise.train.distributed import Processes, raw
from fromnoise.train.task import Drawn, Task
from fromnoise.weights import describing

_RESERVED = {"u", "eps", "low_strength", "low_noise", "augment_by", "moment", "guidance", "span"}
"""Names of random numbers in `draw`, which conditions cannot have."""
_PAIRING = "pairing."
"""Prefix of conditions for the coupling; no argument of a network can begin with it."""


class Diffusion(Task):
    """Sedykh Algorithm 1 (alpha_bar under the roots): the training of a denoiser.

    The time t and the noise eps of an example are functions of the seed, the step and its position in the batch.

    Args:
        denoiser: the denoiser to train, in float32.
        objective: the loss.
        conditioning: makes the network's conditions from those of the examples; default: without dropout.
        seed: seed of the random numbers.
        time: the distribution of the times, and their weights; default: the distillation's own, or else uniform.
        sampled: draws some images for `picture`; None for none.
        augment: augments the training images and conditions the network on it; held-out images are not augmented.
        coupling: assigns noise to examples, after they are mirrored and augmented; default: independent.

    Raises:
        FromNoiseError: denoiser, objective, times and coupling do not fit together, or the images or the network do not
            fit `augment`.
    """

    on_cpu = frozenset({"u", "low_strength", "augment_by", "moment"})

    def __init__(
        self,
        denoiser: Denoiser,
        objective: Objective,
        conditioning: Conditioning | None = None,
        seed: int = 0,
        time: TimeSampling | None = None,
        sampled: Callable[[Denoiser, Examples], tuple[Tensor, int | None]] | None = None,
        augment: Augment | None = None,
        coupling: Coupling | None = None,
    ):
        self.denoiser, self.objective, self.seed, self.sampled = denoiser, objective, seed, sampled
        self.augment = augment
        if augment is not None:
            insist_on_augment(denoiser)
            if denoiser.shape is not None:
                augment.check(denoiser.shape)
        self.conditioning = conditioning or Conditioning(denoiser)
        distilled = isinstance(objective, Distillation)
        self.times: TimeSampling = time or (objective.times if distilled else times.build("uniform"))
        objective.check(denoiser)
        teacher = objective.teacher if isinstance(objective, Distillation) else None
        if teacher is not None and denoiser.text is not None and not denoiser.text.reads_as(teacher.text):
            raise FromNoiseError("teacher: has another text encoder than the student, which must use the teacher's: "
                                 "data.Worded(examples, teacher.text) and text=teacher.text")  # fmt: skip
        denoiser.student = objective.student if distilled else None  # all other objectives learn E[x_0 | x_t]
        if objective.needs_chain and not self.times.on_rows:
            raise FromNoiseError("this objective is a term of the bound and needs the discrete times of its chain: "
                                 "use times uniform, stratified or importance")  # fmt: skip
        self.coupling: Coupling = coupling or couplings.build("independent")
        self.coupling.check()
        if objective.draws > 1 and not self.coupling.many_draws:
            raise FromNoiseError(f"this objective draws {objective.draws} noises per example, which must be "
                                 "independent: use coupling independent")  # fmt: skip
        self._seen: list[Tensor] = []
        self._levels: list[Seen] = []

    @property
    def network(self) -> nn.Module:  # pyrefly: ignore[bad-override]
        return self.denoiser.network

    @network.setter
    def network(self, network: nn.Module) -> None:
        self.denoiser.network = network

    @property
    def second_order(self) -> bool:
        return self.objective.second_order

    @property
    def model(self) -> nn.Module:
        return self.denoiser

    def weights(self) -> dict[str, nn.Parameter]:
        return self.denoiser.weights()

    def extra_parameters(self) -> list[nn.Parameter]:
        return [p for name, p in self.weights().items() if name.startswith("schedule.") and p.requires_grad]

    def train(self) -> None:
        self.denoiser.train()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """The model, and the state of the time distribution if it has one."""
        found = {"model": state(raw(self.network), self.denoiser.schedule)}
        return found | ({"times": self.times.state()} if self.times.state() else {})

    def load(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        load_state(raw(self.network), self.denoiser.schedule, tensors["model"])
        if self.times.state():
            self.times.load(tensors["times"])

    def describe(self) -> dict[str, Any]:
        return {describing.DENOISER: describing.describe(self.denoiser)}

    def draw(self, shape: tuple[int, ...], conditions: Conditions, places: range, step: int, batch_size: int) -> Drawn:
        draws = (self.objective.draws,) if self.objective.draws > 1 else ()
        eps = rng.normal(self.seed, places, step, (*draws, *shape), rng.Stream.TRAIN_NOISE)
        kept = {name: value for name, value in conditions.items() if name in self.coupling.takes}
        given = self.conditioning.of({k: v for k, v in conditions.items() if k not in kept}, places, step)
        if taken := _RESERVED & given.keys():
            raise FromNoiseError(f"data: a condition cannot be called {', '.join(sorted(taken))}; give it another name")
        if self.denoiser.low is not None:
            given |= self._low(shape, places, step)
        if self.augment is not None and step:
            self.augment.check(shape)
            if any(value.shape[2:] == shape[1:] for value in (*given.values(), *kept.values())):
                raise FromNoiseError("augment: transforms single images, but these are pairs: leave it at 0")
            if "augment" in given:
                raise FromNoiseError("augment: data has a condition of the same name; leave one of them out")
            given["augment_by"] = self.augment.draw(self.seed, places, step)
        if isinstance(self.objective, Distillation):
            given["moment"] = self._moment(places, step, self.objective.uniforms)
        given |= {_PAIRING + name: value for name, value in kept.items()}
        return {"u": self._uniform(places, step, batch_size), "eps": eps, **given}

    def losses(self, x0: Tensor, drawn: Drawn) -> dict[str, Tensor]:
        given = dict(drawn)
        u, eps = given.pop("u"), given.pop("eps")
        kept = {name.removeprefix(_PAIRING): given.pop(name) for name in drawn if name.startswith(_PAIRING)}
        if self.augment is not None and "augment_by" in given:  # before x_0 is used
            x0, given["augment"] = self.augment(x0, given.pop("augment_by"))
        eps = self.coupling.pair(x0, eps, given | kept)
        if self.denoiser.low is not None:
            low = self.denoiser.low
            small = low.condition(low.shrunk(x0), given.pop("low_strength"), given.pop("low_noise"))
            given |= {name: value.to(x0.device, non_blocking=True) for name, value in small.items()}
        t, weight = self.times.draw(u, self.denoiser.schedule)
        moment: dict[str, Any] = {}
        if isinstance(self.objective, Distillation):
            at = given.pop("moment")
            moment = {"step": int(at[0, 0]), "u": at[:, 1:]}
        values = dict(self.objective(self.denoiser, x0, t, eps, given or None, **moment))
        if self.times.watches and self.network.training:
            self._seen.append(values["loss"].detach())
        if self.network.training:
            log_snr = t.log_snr.detach().double().expand(len(x0))
            self._levels.append((log_snr, values["loss"].detach()))
        return values | {"loss": values["loss"] * like(weight, values["loss"])}

    def seen(self) -> Seen | None:
        parts, self._levels = self._levels, []
        return (torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])) if parts else None

    def check_parts(self, size: int) -> None:
        if size % self.coupling.group:
            raise FromNoiseError(f"coupling: pairs groups of {self.coupling.group} examples, but a part of a batch has "
                                 f"{size} (batch_size / processes / accumulate): make it a multiple, or give the "
                                 "coupling another group")  # fmt: skip

    def together(self, batch_size: int) -> int:
        return self.coupling.group

    def finish(self, step: int, places: range, batch_size: int, processes: Processes) -> None:
        """Update an adaptive time distribution with the losses of the whole batch, alike in every process."""
        if not self.times.watches:
            return
        whole = processes.whole(torch.cat(self._seen), places, batch_size)
        self._seen = []
        if bool(whole.isfinite().all()):
            u, schedule = self._uniform(range(batch_size), step, batch_size), self.denoiser.schedule
            self.times.observe(self.times.draw(u, schedule)[0], whole, schedule)

    def picture(self, source: Examples) -> tuple[Tensor, int | None] | None:
        return self.sampled(self.denoiser, source) if self.sampled else None

    def _moment(self, places: range, step: int, uniforms: int) -> Tensor:
        """The step, and further uniform random numbers for each example: [B, 1 + uniforms], float64."""
        first = torch.full((len(places), 1), float(step), dtype=torch.float64)
        if not uniforms:
            return first
        return torch.cat([first, rng.uniform(self.seed, places, step, rng.Stream.DISTILL, (uniforms,))], 1)

    def _low(self, shape: tuple[int, ...], places: range, step: int) -> Drawn:
        low = self.denoiser.low
        assert low is not None
        strength = low.augmentation.strength(rng.uniform(self.seed, places, step, rng.Stream.STRENGTH))
        noise = rng.normal(self.seed, places, step, low.shape(shape), rng.Stream.LOW_NOISE)
        return {"low_strength": strength, "low_noise": noise}

    def _uniform(self, places: range, step: int, batch_size: int) -> Tensor:
        u = rng.uniform(self.seed, places, step, rng.Stream.TRAIN_TIME)
        return self.times.arrange(u, places, batch_size)
