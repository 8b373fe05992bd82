"""`fromnoise table`."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from fromnoise.app.cli._options import File, Folder, Name, Precision, Run, option
from fromnoise.app.cli._words import inside, insist_on_samples, writable
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.system.disk.hub import shown
from fromnoise.system.progress import Bar

if TYPE_CHECKING:
    from fromnoise.app.cli.evaluating import Bench


@dataclass(frozen=True)
class Table:
    """Figures of one model under many samplers, or scales of guidance, side by side, by the Frechet distance.

    steps: eta 0, 0.2, 0.5, 1 and sigma-hat against 10, 20, 50, 100 and 1000 steps, for both of DDIM's sub-sequences
    (Sedykh fig 4.2), with the paper's figures where the data are the same.

    samplers: every sampler against 5, 10, 20, 50, 100 and 1000 network calls, without guidance.

    guidance: class accuracy, recall and distance against the scale, classifier-free and with --classifier; of a
    text-conditional model, with --agreement, how often samples show their caption.

    paths: how straight the flow's paths from noise to data are, and how curved, on grids of 10 and 50 levels; no
    images are compared.

    FILE.csv has a line for each entry and FILE.md the tables; both grow with every entry, and a killed table goes on.
    Processes that make the same table at the same time share the work.
    FILE.png, at the end, has the curves. The table paths is written at once.
    """

    kind: Annotated[Literal["steps", "samplers", "guidance", "paths"],
                    tyro.conf.Positional, option("steps|samplers|guidance|paths")]  # fmt: skip
    """Which table."""
    run: Run
    """A run's folder, or one of its checkpoints."""
    out: File = None
    """File to write; KIND.csv in the run unless named."""
    n: int = 1000
    """Samples of each entry."""
    n_long: int = 128
    """Samples of entries in columns from 1000 on; not of guidance."""
    columns: tuple[float, ...] = ()
    """Steps, network calls, scales or levels; by default those above (scales 0, 1, 2, 3, 5)."""
    spacings: tuple[str, ...] = ()
    """Which levels, a table for each: ddim (the paper's uniform one) and quadratic, or uniform and log-snr, unless
    given."""
    classifier: Folder = None
    """Of the table guidance: one made by `fromnoise train-classifier RUN`."""
    agreement: Folder = None
    """Of the table guidance, for a text-conditional model: the run of an image-text model that looks for the caption of
    each sample among 100 (recipe emoji-image-text)."""
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
        out = self.out or inside(self.run, f"{self.kind}.csv")
        if out.suffix != ".csv":
            raise FromNoiseError(f"--out {out}: the ending must be .csv; .md and .png are written beside it")
        places = [out, out.with_suffix(".md"), out.with_suffix(".png")]
        if self.out is not None:
            for path in places:
                writable(path)
        insist_on_samples(n=self.n, n_long=self.n_long)
        if self.batch_size < 1:
            raise FromNoiseError(f"--batch-size must be at least 1, got {self.batch_size}")
        counts = self.kind != "guidance"
        if counts and any(c < 1 or c != int(c) for c in self.columns):
            raise FromNoiseError("--columns of this table are whole numbers, at least 1")
        if self.kind == "paths":
            return self._paths(places)
        if self.spacings and not counts:
            raise FromNoiseError("--spacings is of the tables of samplers; guidance is measured as the recipe samples")
        for name, given in (("classifier", self.classifier), ("agreement", self.agreement)):
            if given is not None and counts:
                raise FromNoiseError(f"--{name} is of the table guidance, not of {self.kind}")
        from fromnoise.app import evaluation
        from fromnoise.app.cli.evaluating import Bench, Subject
        from fromnoise.schedules import spacings
        from fromnoise.weights import native

        for spacing in self.spacings:
            spacings.registry.check(spacing)  # an unknown name is better known now
        kinds = {
            "steps": evaluation.StepsTable,
            "samplers": evaluation.SamplersTable,
            "guidance": evaluation.GuidanceTable,
        }
        more: dict[str, Any] = {}
        if self.classifier is not None:
            more["classifier"] = native.load_classifier(self.classifier, self.precision)
        asked = Subject(
            self.run, self.features, self.data, self.data_root, None, self.weights, self.ema, self.precision
        )
        with Bench.opened(asked) as bench:
            if bench.model.before is not None:
                raise FromNoiseError(
                    f"a table is of one model, and {shown(self.run)} is a cascade: measure it with fromnoise eval"
                )
            if self.kind == "guidance":
                more |= self._texts(bench)
            bench.warn(min(self.n, self.n_long))
            reference = bench.reference()
            table = kinds[self.kind](
                bench.model,
                reference,
                bench.name,
                bench.extractor,
                bench.folder,
                self.n,
                self.n_long,
                [int(c) for c in self.columns] if counts else self.columns,
                self.spacings,
                **more,
            )
            if not table.cells:
                raise FromNoiseError(f"the model's chain has {bench.model.denoiser.schedule.chain.steps} steps, fewer "
                                     "than every one of --columns")  # fmt: skip
            table.check()
            if bench.processes.is_first:
                for path in places:
                    writable(path)
            with Bar("table", table.cost(self.batch_size), counts=False) as bar:
                for cells in table.run(self.batch_size, bench.processes, bar.advance):
                    if bench.processes.is_first and not _holds(places[0], table.as_csv(cells)):
                        files.write_text(places[0], table.as_csv(cells))
                        files.write_text(places[1], table.as_markdown(cells))
            if bench.processes.is_first:
                table.draw(cells, places[2])
                print(table.as_markdown(cells))
                print(*places, sep="\n")
        return 0

    def _texts(self, bench: "Bench") -> dict[str, Any]:
        """What a text-conditional model is asked for, and who looks whether it did it.

        Raises:
            FromNoiseError: nobody looks, or the model reads no text.
        """
        worded = bench.worded(bench.model.choice())
        if not worded.texts:
            if bench.model.denoiser.text is not None:
                raise FromNoiseError(f"{bench.images.name} has no captions, of which this model could draw: name data "
                                     "that has, by --data")  # fmt: skip
            if self.agreement is not None:
                raise FromNoiseError("--agreement is for a text-conditional model, and this one reads no text")
            return {}
        if self.agreement is None:
            raise FromNoiseError("the table of a text-conditional model needs --agreement RUN, an image-text model: "
                                 "fromnoise train emoji-image-text")  # fmt: skip
        return {"texts": worded.texts, "judge": bench.judge(self.agreement, worded)}

    def _paths(self, places: list[Path]) -> int:
        idle = {"--spacings": self.spacings, "--classifier": self.classifier,
                "--agreement": self.agreement, "--features": self.features,
                "--data": self.data, "--data-root": self.data_root, "--weights": self.weights}  # fmt: skip
        if given := [name for name, value in idle.items() if value]:
            raise FromNoiseError(f"{given[0]} does nothing in the table paths, which compares no images: leave it out")
        from fromnoise.app import evaluation, figures
        from fromnoise.app.runs import open_model
        from fromnoise.system.progress import counter

        model = open_model(self.run, self.precision, self.ema).of_images()
        for path in places:
            writable(path)
        grids = [int(c) for c in self.columns] or list(evaluation.GRIDS)
        with Bar("paths", self.n * len(set(grids))) as bar:
            found = evaluation.straightness(model, self.n, grids, self.batch_size, bar.advance, counter)
        files.write_text(places[0], evaluation.paths_as_csv(found))
        files.write_text(places[1], evaluation.paths_as_markdown(found))
        figures.straightness(found, places[2])
        print(evaluation.paths_as_markdown(found))
        print(*places, sep="\n")
        return 0


def _holds(path: Path, text: str) -> bool:
    """Whether a file has these lines and more after them: another process that makes the same table is further."""
    with suppress(FromNoiseError):
        return (there := files.read_text(path)).startswith(text) and there != text
    return False
