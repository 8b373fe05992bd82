"""Points in the plane: a chosen or sketched distribution, a model of it, and particles moving from noise to data."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fromnoise.app.studio.works.base import Places, Send, Work, between, whole
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from fromnoise.app.studio.bench import Bench
    from fromnoise.denoise import Denoiser
    from fromnoise.oracle import GaussianMixture
    from fromnoise.schedules.base import Schedule

SHAPES = ("moons", "ring", "spiral", "grid", "sketch")
MOST_POINTS = 5000
_REACH, _SIDE, _PARTICLES, _SPREAD, _BATCH = 3.0, 22, 500, 0.08, 256


@register("plane")
@dataclass(frozen=True)
class Plane(Work):
    """Train on points or use their exact denoiser, then move particles from noise to data.

    Every frame has the score on a grid at that level, both of the denoiser and exact.
    """

    shape: str = "moons"
    points: list[list[float]] = field(default_factory=list)
    exact: bool = False
    seconds: float = 6.0
    sampler: str = "ddim"
    steps: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise unknown("shape", self.shape[:40], SHAPES)
        between("seconds", self.seconds, 0.5, 120)
        whole("steps", self.steps, 2, 200)
        if self.shape == "sketch":
            good = all(isinstance(p, list) and len(p) == 2 and all(
                isinstance(v, int | float) and -_REACH <= v <= _REACH for v in p) for p in self.points)  # fmt: skip
            if not good or not 3 <= len(self.points) <= MOST_POINTS:
                raise FromNoiseError(f"points: sketch 3 to {MOST_POINTS:,} points, each two numbers from -3 to 3")

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        import torch

        import fromnoise as fn
        from fromnoise.app.studio.works.forward import at
        from fromnoise.app.studio.works.seen import Watched, numbers

        data = self._data()
        schedule = fn.schedules.Cosine(T=1000)
        send({"kind": "start", "reach": _REACH}, {"data": numbers(data)})
        truth = _truth(data).denoiser(schedule)
        denoiser: fn.Denoiser = truth if self.exact else self._trained(data, schedule, send)
        axis = torch.linspace(-_REACH, _REACH, _SIDE)
        where = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
        watched = Watched(denoiser)

        def after(moment: fn.samplers.Moment) -> None:
            p = watched.taken()
            if p is None:
                return
            with torch.no_grad():
                own = denoiser(where.to(denoiser.state_dtype), p.t).score
                exact = truth(where.double(), p.t).score
            field_ = {"x": numbers(p.x_t), "score": numbers(own), "exact": numbers(exact)}
            send({"kind": "step", "index": moment.index - 1, "total": moment.total, **at(p.t)}, field_)

        steps = min(self.steps, schedule.chain.steps)
        sampler = fn.samplers.build(self.sampler)
        x = fn.sample(watched, (_PARTICLES, 2), sampler, steps=steps, seed=self.seed, callback=after,
                      batch_size=_PARTICLES)  # fmt: skip
        send({"kind": "end", "index": steps}, {"x": numbers(x), "grid": numbers(where)})

    def _data(self) -> "Tensor":
        import math

        import torch

        from fromnoise.system import rng

        if self.shape == "sketch":
            return torch.tensor(self.points, dtype=torch.float32)
        n = 1500
        u = rng.uniform(0, range(n), 1, rng.Stream.TRAIN_TIME)
        noise = rng.normal(0, range(n), 2, (2,))
        angle = u.float() * math.pi
        which = torch.arange(n) % 2
        if self.shape == "moons":
            upper = torch.stack([angle.cos(), angle.sin()], 1)
            lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
            x = 1.3 * (torch.where(which[:, None] == 0, upper, lower) - torch.tensor([0.5, 0.25]))
        elif self.shape == "ring":
            x = 1.6 * torch.stack([(2 * angle).cos(), (2 * angle).sin()], 1)
        elif self.shape == "spiral":
            turn = 1 + 8 * u.float().sqrt()
            x = torch.stack([turn.cos(), turn.sin()], 1) * turn[:, None] / 4.5
        else:
            cells = torch.arange(n) % 9
            x = 1.4 * (torch.stack([cells % 3, cells // 3], 1).float() - 1)
        return x + 0.06 * noise

    def _trained(self, data: "Tensor", schedule: "Schedule", send: Send) -> "Denoiser":
        """Train with DDPM's algorithm 1 in a bare loop, which takes more steps per second than `fn.fit`."""
        import time

        import torch

        import fromnoise as fn

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = fn.nn.MLP(in_channels=2, width=128, depth=3)
        denoiser = fn.Denoiser(network, schedule, "v", shape=(2,))
        objective, ema = fn.objectives.build("simple"), torch.optim.swa_utils.get_ema_multi_avg_fn(0.98)
        average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=ema)
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, betas=(0.9, 0.99))
        generator = torch.Generator().manual_seed(self.seed)
        started, shown, share, step = time.monotonic(), 0.0, 0.0, 0
        with torch.enable_grad():
            while share < 1:
                step += 1
                x0 = data[torch.randint(len(data), (_BATCH,), generator=generator)]
                t = schedule.level(torch.randint(1, 1001, (_BATCH,), generator=generator))
                eps = torch.randn(x0.shape, generator=generator)
                loss = objective(denoiser, x0, t, eps, None)["loss"].mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.param_groups[0]["lr"] = 3e-3 * (1 - share) + 1e-5
                optimizer.step()
                average.update_parameters(network)
                share = (time.monotonic() - started) / self.seconds
                if share * self.seconds - shown > 0.15:
                    shown = share * self.seconds
                    send({"kind": "training", "step": step, "loss": loss.item(), "share": share})
        network.load_state_dict(average.module.state_dict())
        return denoiser


def _truth(data: "Tensor") -> "GaussianMixture":
    """The exact distribution: a narrow Gaussian about each of at most 300 points, for speed."""
    import torch

    from fromnoise import oracle

    chosen = data[torch.linspace(0, len(data) - 1, min(len(data), 300)).long()]
    spread = _SPREAD**2 * torch.eye(2, dtype=torch.float64).expand(len(chosen), 2, 2)
    return oracle.GaussianMixture(torch.ones(len(chosen)), chosen, spread)
