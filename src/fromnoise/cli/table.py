"""`fromnoise table`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from fromnoise.cli._options import File, Folder, Name, Precision, Run, option
from fromnoise.cli._words import writable
from fromnoise.errors import FromNoiseError
from fromnoise.progress import Bar


@dataclass(frozen=True)
class Table:
    """Figures of one model under many samplers, side by side.

    steps: eta 0, 0.2, 0.5, 1 and sigma-hat against 10, 20, 50, 100 and 1000 steps, for both of DDIM's sub-sequences
    (Sedykh fig 4.2), by the Frechet distance. FILE.csv has a line for each entry; FILE.md the tables, with the paper's
    figures where the data are the same; FILE.png the curves. All three grow with every entry, and a killed table goes
    on.
    """

    kind: Annotated[Literal["steps"], tyro.conf.Positional, option("steps")]
    """Which table."""
    run: Run
    """A run's folder, or one of its checkpoints."""
    out: File = None
    """File to write; steps.csv in the run unless named."""
    n: int = 1000
    """Samples of each entry."""
    n_long: int = 128
    """Samples of entries with 1000 steps."""
    steps: tuple[int, ...] = (10, 20, 50, 100, 1000)
    """Columns."""
    spacings: tuple[str, ...] = ("ddim", "quadratic")
    """Sub-sequences; ddim is the paper's uniform one."""
    features: Name = None
    """See `fromnoise list features`; as the recipe says unless given."""
    data: Name = None
    """What samples are compared with; the run's own data unless given."""
    data_root: Folder = None
    """Where named data sets lie."""
    weights: File = None
    """File with the extractor's weights, where they cannot be downloaded."""
    batch_size: int = 64
    """Samples that are denoised together."""
    ema: bool = True
    """The averaged weights."""
    precision: Precision = "auto"
    """auto: bf16 where the hardware multiplies it natively."""

    def __call__(self) -> int:
        out = self.out or self.run / "steps.csv"
        if out.suffix != ".csv":
            raise FromNoiseError(f"--out {out}: the ending must be .csv; .md and .png are written beside it")
        if min(self.n, self.n_long) < 2 or self.batch_size < 1 or not self.steps:
            raise FromNoiseError("--n and --n-long must be at least 2, --batch-size 1, and --steps not empty")
        from fromnoise import evaluation, figures
        from fromnoise.cli._evaluating import Asked, Bench
        from fromnoise.schedules._spacing import times

        for spacing in self.spacings:
            times(1, 1000, spacing, whole=True)  # an unknown name is better known now
        asked = Asked(self.run, self.features, self.data, self.data_root, None, self.weights, self.ema, self.precision)
        with Bench.opened(asked) as bench:
            bench.warn(min(self.n, self.n_long))
            reference = bench.reference()
            table = evaluation.StepsTable(
                bench.model,
                reference,
                bench.name,
                bench.extractor,
                bench.folder,
                self.n,
                self.n_long,
                self.steps,
                self.spacings,
            )
            if not table.cells:
                raise FromNoiseError(f"the model's chain has {bench.model.denoiser.schedule.chain.steps} steps, fewer "
                                     "than every one of --steps")  # fmt: skip
            files = [out, out.with_suffix(".md"), out.with_suffix(".png")]
            if bench.processes.is_first:
                for path in files:
                    writable(path)
            with Bar("table", table.cost(self.batch_size), counts=False) as bar:
                for cells in table.run(self.batch_size, bench.processes, bar.advance):
                    if bench.processes.is_first:
                        files[0].write_text(table.as_csv(cells), encoding="utf-8")
                        files[1].write_text(table.as_markdown(cells), encoding="utf-8")
            if bench.processes.is_first:
                figures.steps_curves(cells, table.figure(self.n), files[2])
                print(table.as_markdown(cells))
                print(*files, sep="\n")
        return 0
