"""The variational bound of a model on its own data, term by term."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work, whole
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench


@register("bound")
@dataclass(frozen=True)
class Bound(Work):
    """L_T + sum L_t + L_0 in bits per dimension, on n images and a chain of `steps` steps."""

    run: str
    n: int = 8
    steps: int = 100
    seed: int = 0

    models: ClassVar[tuple[str, ...]] = ("run",)

    def __post_init__(self) -> None:
        whole("n", self.n, 2, 256)
        whole("steps", self.steps, 2, 4000)

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        from fromnoise import likelihood
        from fromnoise.app.studio.again import shown
        from fromnoise.app.studio.works.forward import some_data
        from fromnoise.data.images import to_uint8, to_unit
        from fromnoise.likelihood import summary

        denoiser = (model := bench.model(places["run"]).of_images()).denoiser
        if denoiser.codec is not None:
            raise FromNoiseError("a latent model has no bound for images: choose a model that works on pixels")
        x0, cond = some_data(bench, model, self.n, self.seed, places)
        steps = min(self.steps, denoiser.schedule.chain.steps)
        chain = denoiser.schedule.steps(steps, "uniform")
        done = 0

        def each() -> None:
            nonlocal done
            done += 1
            if done % max(1, chain.steps // 100) == 0:
                send({"kind": "progress", "done": done})

        send({"kind": "start", "total": chain.steps,
              "command": f"fromnoise nll {shown(places['run'])} --n {self.n} --steps {steps}"})  # fmt: skip
        found = summary([likelihood.vlb(denoiser, to_unit(to_uint8(x0)), chain=chain, cond=cond, seed=self.seed,
                                        callback=each)])  # fmt: skip
        send({"kind": "end", **{name: found[name] for name in ("bits_per_dim", "prior", "decoder", "standard_error",
                                                               "steps", "times", "n")}})  # fmt: skip
