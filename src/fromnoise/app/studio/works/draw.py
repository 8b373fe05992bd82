"""Samples, with every step of sampling."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.runs.model import Model
    from fromnoise.app.runs.plan import SampleOptions
    from fromnoise.app.studio.bench import Bench

MOST, MOST_POINTS, _MOST_NUMBERS = 64, 4000, 2**22


@register("draw")
@dataclass(frozen=True)
class Draw(Work):
    """n samples of a model; defaults come from its recipe."""

    run: str
    n: int = 4
    seed: int = 0
    sampler: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None
    spacing: str = ""
    guidance: float | None = None
    clip: bool | None = None
    threshold: float | None = None
    interval: list[float] = field(default_factory=list)
    rescale: float | None = None
    label: str = ""
    text: str = ""
    negative: str = ""

    models: ClassVar[tuple[str, ...]] = ("run",)

    def __post_init__(self) -> None:
        if not 1 <= self.n <= MOST_POINTS:
            raise FromNoiseError(f"n: must be from 1 to {MOST} images, or {MOST_POINTS:,} points, got {self.n:,}")
        if self.interval and len(self.interval) != 2:
            raise FromNoiseError("interval: must be two numbers, the lowest and the highest ratio of noise to signal")

    def asked(self) -> "SampleOptions":
        """The request as `SampleOptions`."""
        from fromnoise.app.runs.plan import SampleOptions

        return SampleOptions(
            sampler=self.sampler or None,
            options=dict(self.options),
            steps=self.steps,
            spacing=self.spacing or None,
            guidance=self.guidance,
            clip=self.clip,
            threshold=self.threshold,
            interval=(float(self.interval[0]), float(self.interval[1])) if self.interval else None,
            rescale=self.rescale,
            label=self.label or None,
            # the command would take a text that begins with - for an option; a leading space prevents that
            texts=tuple(f" {t}" if t.startswith("-") else t for t in map(str.strip, self.text.splitlines()) if t),
            negative=self.negative or None,
        )

    def opened(self, bench: "Bench", places: Places) -> "Model":
        """Open the model, with conditioning images if it takes any."""
        model = bench.model(places["run"])
        return bench.kept("beside", model.digest, make=model.with_images) if model.needs_images else model

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        from fromnoise.app.runs.model import draw_states
        from fromnoise.app.studio.again import command, python
        from fromnoise.app.studio.works.watching import Watch

        model = self.opened(bench, places)
        shape = model.denoiser.image_shape or ()
        most = MOST if len(shape) == 3 else max(1, min(MOST_POINTS, _MOST_NUMBERS // max(1, math.prod(shape))))
        if self.n > most:
            raise FromNoiseError(f"n: must be from 1 to {most:,} for this model, got {self.n:,}")
        plan = model.choice(self.asked())
        watch = Watch(model, plan, self.n, send)
        send({
            "kind": "start",
            "total": watch.total,
            "every": watch.every,
            "latents": watch.number,
            "latent": model.denoiser.codec is not None,
            "n": self.n,
            "shape": list(shape),
            "plan": plan.described(),
            "kinds": list(plan.kinds(model.denoiser))[: self.n],
            "command": command(self, places["run"]),
            "python": python(self, places["run"], model, plan),
        })  # fmt: skip
        x = draw_states(model, self.n, plan, self.seed, self.n, callback=watch.after, stages=watch.stages)
        watch.end(x)
        bench.keep("latents", watch.number, value=watch.latents)
