"""One checkpoint sampled in several ways: DDPM's chain, NCSN's annealed Langevin dynamics, and the ODE."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work, whole
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench

_AT_EACH = 5
"""Langevin steps at each level."""
WALKS: dict[str, tuple[str, dict[str, Any]]] = {
    "DDPM: the ancestral chain": ("ancestral", {}),
    "NCSN: annealed Langevin dynamics": ("annealed-langevin", {"n": _AT_EACH}),
    "DDIM without noise": ("ddim", {}),
    "the probability-flow ODE, second order": ("heun", {}),
}
_SHOWN = 12


@register("walks")
@dataclass(frozen=True)
class Walks(Work):
    """n samples of each sampler from the same noise; each is shown as a row of x_t and a row of x0hat."""

    run: str
    n: int = 2
    steps: int = 30
    seed: int = 0

    models: ClassVar[tuple[str, ...]] = ("run",)

    def __post_init__(self) -> None:
        whole("n", self.n, 1, 4)
        whole("steps", self.steps, 2, 1000)

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        import numpy as np

        from fromnoise.app.runs.model import draw_states
        from fromnoise.app.runs.plan import SampleOptions
        from fromnoise.app.studio.works.watching import Watch
        from fromnoise.langevin import best_size

        model = bench.model(places["run"]).of_images()
        if model.before is not None or model.needs_images or model.denoiser.student is not None:
            raise FromNoiseError("choose a model that is not a cascade, not image-conditional and not distilled")
        steps = min(self.steps, model.denoiser.schedule.chain.steps)
        send({"kind": "start", "walks": list(WALKS), "total": len(WALKS)})
        for number, (name, (sampler, options)) in enumerate(WALKS.items()):
            kept: list[tuple[Any, Any]] = []
            if "n" in options:  # the step size that fits the distance between this ladder's levels
                ladder = model.denoiser.schedule.steps(steps, "log-snr").levels.log_snr
                apart = ladder[ladder.isfinite()].diff().abs().amax() / 2  # it is infinite for pure noise and for data
                options = options | {"size": best_size(float(apart.exp()), options["n"])}
            plan = model.choice(SampleOptions(sampler=sampler, options=options, steps=steps))

            def keep(header: Any, arrays: Any = None, kept: Any = kept) -> None:
                kept.append((header, arrays))
                send({"kind": "passed"})  # so that the job can be stopped here, too

            watch = Watch(model, plan, self.n, keep)
            watch.end(draw_states(model, self.n, plan, self.seed, self.n, callback=watch.after, stages=watch.stages))
            *way, (end, last) = [one for one in kept if one[0]["kind"] != "passed"]
            chosen = [way[i] for i in np.unique(np.linspace(0, len(way) - 1, _SHOWN).round().astype(int))]
            strips = {key: np.stack([arrays[key] for _, arrays in chosen], 1) for key in ("x", "x0")}
            send({"kind": "walk", "index": number, "name": name, "sampler": sampler, "calls": end["calls"],
                  "log_snr": [header["log_snr"] for header, _ in chosen]},
                 {"x": strips["x"], "x0": strips["x0"], "end": last["x"]})  # fmt: skip
