"""`fromnoise table`."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from fromnoise.app.cli._options import File, Folder, Name, On, Precision, Run, option
from fromnoise.app.cli._words import inside, insist_on_samples, writable
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.system.disk.hub import shown
from fromnoise.system.progress import Bar

if TYPE_CHECKING:
    from fromnoise.app.cli.evaluating import Bench


@dataclass(frozen=True)
class Table:
    """Compare samplers, steps or guidance scales.

    examples:
      fromnoise table steps runs/digits --out steps.csv
          Frechet distance against 10, 20, 50, 100 and 1000 steps, DDIM to DDPM.
      fromnoise table samplers runs/digits --n 500 --columns 5 10 20
          Every sampler with 5, 10 and 20 network calls, by 500 samples each.
      fromnoise table guidance runs/digits --classifier runs/digits/classifier
          Accuracy, recall and distance against the scale of both kinds of guidance.

    tables:
      steps      eta 0, 0.2, 0.5, 1 and sigma-hat against the number of steps, for
                 both of DDIM's sub-sequences (Sedykh fig 4.2), beside the figures
                 of the paper where the data are the same; no guidance
      samplers   every sampler against 5, 10, 20, 50, 100 and 1000 network calls;
                 no guidance
      guidance   class accuracy, recall and distance against the guidance scale;
                 for text-conditional models, how often a sample shows its caption
      paths      how straight and how curved the paths from noise to data are, on
                 grids of 10 and 50 levels; no images are compared

    output:
      FILE.csv has one line per entry, FILE.md the tables, and FILE.png the curves
      once all is measured. The files grow with every entry, and an interrupted
      table continues; only paths is written all at once. Processes that make the
      same table at the same time share the work.
    """

    kind: Annotated[Literal["steps", "samplers", "guidance", "paths"], tyro.conf.Positional, option("KIND")]
    """Kind of table; see above."""
    run: Run
    """A run folder, or one of its checkpoints."""
    out: Annotated[File, option("FILE.csv", default="KIND.csv in the run")] = None
    """File to write."""
    n: int = 1000
    """Number of samples per entry."""
    n_long: int = 128
    """Number of samples per entry in columns of 1000 and more; not for guidance."""
    columns: Annotated[tuple[float, ...], option("N ...", default="as above; scales 0, 1, 2, 3, 5")] = ()
    """Columns of the table: steps, network calls, guidance scales or levels."""
    spacings: Annotated[
        tuple[str, ...], option("NAME ...", default="ddim quadratic for steps, uniform log-snr for samplers")
    ] = ()
    """Spacings of the levels, one table for each; see `fromnoise list spacings`."""
    classifier: Annotated[Folder, option(default="none")] = None
    """For guidance: also measure classifier guidance by this classifier, from `fromnoise train-classifier RUN`."""
    agreement: Annotated[Folder, option("RUN", default="none")] = None
    """For guidance of a text-conditional model: an image-text run (recipe emoji-image-text).
    It looks for the caption of each sample among 100."""
    features: Annotated[Name, option(default="from the recipe")] = None
    """Feature extractor; see `fromnoise list features`."""
    data: Annotated[Name, option("NAME|FOLDER", default="the data of the run")] = None
    """Data set to compare with, by its name or as a folder of images."""
    data_root: Annotated[Folder, option(default="that of the run")] = None
    """Folder of the named data sets; missing ones are downloaded into it."""
    weights: Annotated[File, option(default="downloaded where needed")] = None
    """File with the weights of the feature extractor, for when they cannot be downloaded."""
    batch_size: int = 64
    """Number of images that are denoised together."""
    ema: On = True
    """Use the averaged (EMA) weights, as published figures do."""
    precision: Precision = "auto"
    """Number format of the network; auto is bf16 where the hardware multiplies it natively."""

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
            raise FromNoiseError("--columns of this table must be whole numbers, at least 1")
        if self.kind == "paths":
            return self._paths(places)
        if self.spacings and not counts:
            raise FromNoiseError("--spacings is for the tables steps and samplers: guidance uses the recipe's")
        for name, given in (("classifier", self.classifier), ("agreement", self.agreement)):
            if given is not None and counts:
                raise FromNoiseError(f"--{name} is for the table guidance, not for {self.kind}")
        from fromnoise.app import evaluation
        from fromnoise.app.cli.evaluating import Bench, Subject
        from fromnoise.schedules import spacings
        from fromnoise.weights import native

        for spacing in self.spacings:
            spacings.registry.check(spacing)  # raises for an unknown name before the model is loaded
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
                    f"a table is for one model, and {shown(self.run)} is a cascade: measure it with `fromnoise eval`"
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
                                     "than any of --columns")  # fmt: skip
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
        """The prompts of a text-conditional model, and the image-text model that judges the samples.

        Raises FromNoiseError if there is no judge, no captions, or the model is not text-conditional.
        """
        worded = bench.worded(bench.model.choice())
        if not worded.texts:
            if bench.model.denoiser.text is not None:
                raise FromNoiseError(f"{bench.images.name} has no captions for this model to draw: choose data that "
                                     "has captions with --data")  # fmt: skip
            if self.agreement is not None:
                raise FromNoiseError("--agreement is for text-conditional models, and this model is not: leave it out")
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
            raise FromNoiseError(f"{given[0]} has no effect on the table paths, which compares no images: leave it out")
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
    """Whether a file holds these lines and more: another process making the same table is further along."""
    with suppress(FromNoiseError):
        return (there := files.read_text(path)).startswith(text) and there != text
    return False
