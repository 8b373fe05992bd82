"""How well a network predicts at each level on its own data, and where the reverse variance lies."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work, whole
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench


@register("levels")
@dataclass(frozen=True)
class Levels(Work):
    """Errors of eps and x0, and the fractions of the learned and the optimal variance: one frame per level.

    Levels run from noise to data. The fraction is the position of log v between log beta-tilde (0) and log beta (1)
    for the step to the next level; the optimal variance is beta-tilde + c^2 E |x_0 - x0hat|^2 / D (Analytic-DPM).
    """

    run: str
    n: int = 32
    steps: int = 50
    seed: int = 0

    models: ClassVar[tuple[str, ...]] = ("run",)

    def __post_init__(self) -> None:
        whole("n", self.n, 1, 256)
        whole("steps", self.steps, 2, 1000)

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        import math

        import torch

        from fromnoise import variances
        from fromnoise.app.studio.works.forward import at, some_data
        from fromnoise.gaussian import diffuse, step
        from fromnoise.system import rng
        from fromnoise.variances.optimal import Optimal

        denoiser = (model := bench.model(places["run"]).of_images()).denoiser
        x0, cond = some_data(bench, model, self.n, self.seed, places)
        states = denoiser.encoded(x0)
        chain = denoiser.schedule.steps(min(self.steps, denoiser.schedule.chain.steps), "uniform")
        small_, large_ = variances.build("fixed_small"), variances.build("fixed_large")
        pairs = list(chain.pairs())
        send({"kind": "start", "total": len(pairs), "learned": denoiser.variance.outputs == 2,
              "variance": denoiser.variance.name})  # fmt: skip
        with torch.no_grad(), denoiser.evaluating():
            for i, (t, s) in enumerate(pairs):
                eps = rng.normal(self.seed, range(len(x0)), i + 1, tuple(states.shape[1:]), dtype=states.dtype)
                p = denoiser(diffuse(states, eps.to(states.device), t), t, cond)
                error = float((p.x0 - states).double().square().mean())
                found = {"eps_error": float((p.eps.cpu() - eps).double().square().mean()), "x0_error": error}
                if float(s.sigma) > 0:
                    k = step(t, s)
                    small = torch.log(k.variance)
                    low, high = (float(v.log_var(p, k, small)) for v in (small_, large_))
                    best = float(
                        Optimal(lambda level, e=error: torch.tensor(e, dtype=torch.float64)).log_var(p, k, small)
                    )
                    if high - low > 1e-12:
                        found["optimal"] = (best - low) / (high - low)
                if p.variance is not None:
                    found["fraction"] = float(p.variance.double().mean())
                send({"kind": "level", "index": i, **at(t),
                      **{name: value for name, value in found.items() if math.isfinite(value)}})  # fmt: skip
