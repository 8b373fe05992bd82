"""Quality against the number of steps, from DDIM to DDPM: the table of Sedykh fig 4.2."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from fromnoise.app.evaluation._table import Cell, Table
from fromnoise.app.runs import SamplingPlan
from fromnoise.guidance import Steering
from fromnoise.samplers import Sampler
from fromnoise.samplers.ancestral import Ancestral
from fromnoise.samplers.ddim import DDIM

STEPS = (10, 20, 50, 100, 1000)

# As in the reference code, x_0 is clipped only in the last row.
_ROWS: dict[str, tuple[Sampler, bool]] = {f"eta {eta:.1f}": (DDIM(eta), False) for eta in (0.0, 0.2, 0.5, 1.0)}
_ROWS["sigma-hat"] = (Ancestral("fixed_large"), True)

# Sedykh fig 4.2, which is DDIM's table 1 (Song et al. 2021): FID of 50,000 samples; quadratic only for CIFAR-10.
PAPER: dict[str, tuple[str, dict[str, tuple[float, ...]]]] = {
    "cifar10": (
        "quadratic",
        {
            "eta 0.0": (13.36, 6.84, 4.67, 4.16, 4.04),
            "eta 0.2": (14.04, 7.11, 4.77, 4.25, 4.09),
            "eta 0.5": (16.66, 8.35, 5.25, 4.46, 4.29),
            "eta 1.0": (41.07, 18.36, 8.01, 5.78, 4.73),
            "sigma-hat": (367.43, 133.37, 32.72, 9.99, 3.17),
        },
    ),
    "celeba": (
        "ddim",
        {
            "eta 0.0": (17.33, 13.73, 9.17, 6.53, 3.51),
            "eta 0.2": (17.66, 14.11, 9.51, 6.79, 3.64),
            "eta 0.5": (19.86, 16.06, 11.01, 8.09, 4.28),
            "eta 1.0": (33.12, 26.03, 18.48, 13.93, 5.98),
            "sigma-hat": (299.71, 183.83, 71.71, 45.20, 3.26),
        },
    ),
}


class StepsTable(Table):
    """eta 0, 0.2, 0.5, 1 and sigma-hat against 10, 20, 50, 100 and 1000 steps, without guidance.

    Columns beyond the length of the model's chain are left out. Source: Song et al. 2020, arXiv 2010.02502, table 1;
    Sedykh fig 4.2.
    """

    usual_columns: ClassVar[Sequence[int]] = STEPS
    usual_spacings: ClassVar[Sequence[str]] = ("ddim", "quadratic")
    effort: ClassVar[str] = "steps"
    title: ClassVar[str] = "the number of steps, no guidance, x0 clipped in the row sigma-hat alone"

    def entries(self) -> Iterator[Cell]:
        length = self.model.denoiser.schedule.chain.steps
        for column in map(int, self.columns):
            for spacing in self.spacings if column <= length else ():
                for row, (sampler, clip) in _ROWS.items():
                    choice = SamplingPlan(
                        sampler, column, spacing, Steering(clip=clip and self.model.denoiser.codec is None)
                    )
                    yield Cell(spacing, row, column, self.size(column), choice)

    def paper(self, cell: Cell) -> float | None:
        known: tuple[str, Mapping[str, Sequence[float]]] | None = PAPER.get(self.reference.about["data"].split(",")[0])
        if known is None or known[0] != cell.spacing or cell.column not in STEPS:
            return None
        return known[1][cell.row][STEPS.index(int(cell.column))]
