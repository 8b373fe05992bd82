"""Schedules compared: log-SNR, alpha, sigma, and the steps of a spacing."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work, whole
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench


@register("schedules")
@dataclass(frozen=True)
class Schedules(Work):
    """Registered schedules by name, and that of a run, with the steps of one spacing on each."""

    names: list[str] = field(default_factory=list)
    run: str = ""
    steps: int = 20
    spacing: str = "uniform"

    models: ClassVar[tuple[str, ...]] = ("run",)
    quick: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole("steps", self.steps, 1, 200)
        if not 1 <= len(self.names) + bool(self.run) <= 8:
            raise FromNoiseError("schedules: choose 1 to 8")

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        import numpy as np
        import torch

        from fromnoise import schedules
        from fromnoise.schedules import spacings

        found: dict[str, Any] = {str(name): schedules.build(str(name)) for name in self.names}
        if self.run:
            found = {self.run: bench.model(places["run"]).denoiser.schedule} | found
        spacings.get(self.spacing)
        arrays: dict[str, np.ndarray] = {}
        with torch.no_grad():
            for i, schedule in enumerate(found.values()):
                levels = schedule.chain.levels
                rows = np.unique(np.linspace(0, len(levels.time) - 1, 201).round().astype(int))[::-1]
                time = levels.time.double().numpy()[rows]
                arrays[f"{i}.time"] = time / max(time.max(), 1e-12)
                for name in ("alpha", "sigma", "log_snr"):
                    value = getattr(levels, name).double().numpy()[rows]
                    arrays[f"{i}.{name}"] = np.where(np.isfinite(value), value, np.nan)
                chain = schedule.steps(min(self.steps, schedule.chain.steps), self.spacing)
                log_snr = chain.levels.log_snr.double().numpy()
                arrays[f"{i}.steps"] = log_snr[np.isfinite(log_snr)]
        send(
            {"kind": "schedules", "names": list(found), "known": schedules.names(), "spacings": spacings.names()},
            arrays,
        )
