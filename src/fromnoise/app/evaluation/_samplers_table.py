"""Quality against network calls: every sampler on one model."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from fromnoise import samplers
from fromnoise.app.evaluation._table import Cell, Table
from fromnoise.app.runs import SamplingPlan
from fromnoise.guidance import Steering
from fromnoise.samplers import Sampler

TOLERANCES = (1e-1, 1e-2, 1e-3)


class SamplersTable(Table):
    """Every registered sampler with its own defaults against 5, 10, 20, 50, 100 and 1000 network calls.

    A column is a budget: each sampler takes as many steps as it allows, e.g. Heun's method takes 10 steps with 20
    calls. An adaptive solver takes a tolerance instead of steps and is listed in the first column whose budget covers
    its calls. x0 is clipped if the model's recipe says so, and there is no guidance.
    """

    usual_columns: ClassVar[Sequence[int]] = (5, 10, 20, 50, 100, 1000)
    usual_spacings: ClassVar[Sequence[str]] = ("uniform", "log-snr")
    effort: ClassVar[str] = "network calls"
    title: ClassVar[str] = "network calls a sample, every sampler with its defaults, no guidance"

    def entries(self) -> Iterator[Cell]:
        every = {name: samplers.build(name) for name in samplers.names() if not samplers.get(name).student}
        for column in map(int, self.columns):
            for spacing in self.spacings:
                for name, sampler in every.items():
                    if (steps := self._steps(sampler, column)) is not None:
                        yield self._cell(spacing, name, column, sampler, steps)
        for name, sampler in every.items():
            for tolerance in TOLERANCES if sampler.nfe(1) is None else ():
                exact = samplers.build({"name": name, "rtol": tolerance, "atol": tolerance})
                yield self._cell(self.spacings[0], f"{name}, tolerance {tolerance:g}", None, exact, 2)

    def _cell(self, spacing: str, row: str, column: int | None, sampler: Sampler, steps: int) -> Cell:
        choice = SamplingPlan(sampler, steps, spacing, Steering(clip=self.model.sampling.clip))
        return Cell(spacing, row, column, self.size(column or 0), choice)

    def _steps(self, sampler: Sampler, calls: int) -> int | None:
        """The largest number of steps on this model's chain that needs at most `calls` calls; None if there is none."""
        length = self.model.denoiser.schedule.chain.steps
        costs = {steps: sampler.nfe(steps) for steps in range(1, min(calls, length) + 1)}
        return max((steps for steps, cost in costs.items() if cost is not None and cost <= calls), default=None)
