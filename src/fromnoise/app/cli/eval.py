"""`fromnoise eval`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fromnoise import metrics
from fromnoise.app.cli._options import File, Folder, Name, Number, option
from fromnoise.app.cli._steering import Steered
from fromnoise.app.cli._words import insist_on_samples, writable
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.system.disk import files
from fromnoise.system.progress import say

if TYPE_CHECKING:
    from fromnoise.app.cli.evaluating import Bench


@dataclass(frozen=True, kw_only=True)
class Eval(Steered):
    """Measure a model: FID or its like, IS, KID, precision and recall, with all that was done to get them.

    Written to eval.json in the run. It goes on where a kill left it. --samples measures images from anywhere,
    against the data of RUN or of --data. Many processes: start the same command as often as you like, on any machine
    that sees the run's folder; or torchrun --nproc-per-node 2 -m -- fromnoise eval RUN ...
    """

    run: Annotated[File, tyro.conf.Positional, tyro.conf.arg(metavar="[RUN]")] = None
    """A run's folder, one of its checkpoints, a diffusers folder, or hf://owner/name[@revision]."""
    n: Number = None
    """How many samples; as the recipe says unless given. Published figures have 50000."""
    features: Name = None
    """See `fromnoise list features`; as the recipe says unless given."""
    metrics: Annotated[tuple[str, ...], option("NAME")] = ()
    """Which, see `fromnoise list metrics`; all unless given."""
    samples: Annotated[File, option("FILE.npz|FOLDER")] = None
    """Measure these images in place of new samples."""
    data: Name = None
    """What they are compared with: a data set's name or a folder; the run's own unless given."""
    data_root: Folder = None
    """Where named data sets lie."""
    split: Annotated[str | None, option("train|test")] = None
    """Of the data; as the recipe says unless given."""
    weights: File = None
    """File with the extractor's weights, where they cannot be downloaded."""
    seed: int = 0
    """Of the noise, the first where there are several."""
    seeds: int = 1
    """How many, for a spread."""
    batch_size: int = 64
    """Samples that are denoised together."""
    nearest: Number = None
    """Number of samples to compare with their nearest training images (near-copies, nearest.png). Default: 500 if the
    training images are in memory, else 0; 0 turns it off."""
    agreement: Annotated[Folder, option("RUN")] = None
    """For a text-conditional model: an image-text run (recipe emoji-image-text) that picks each caption out of 100."""
    clip_score: Annotated[str | None, option("hub|FOLDER")] = None
    """For a text-conditional model: CLIP's score, 100 times the mean cosine of image and text, by ViT-L/14 from
    the hub (extra `text`) or by the CLIP of a folder."""
    out: File = None
    """JSON file to write; eval.json in the run unless named (none of a model on the hub)."""

    def __call__(self) -> int:
        insist_on_samples(n=self.n)
        if self.out is not None:
            writable(self.out)
        if self.run is None and self.samples is None:
            raise FromNoiseError("name a run to sample, or images with --samples; see fromnoise eval --help")
        if self.run is None and self.data is None:
            raise FromNoiseError("--samples without a run: name what they are compared with, by --data")
        for name in self.metrics:
            if name not in metrics.names():
                raise unknown("metric", name, metrics.names())
        if self.seeds < 1:
            raise FromNoiseError(f"--seeds must be at least 1, got {self.seeds}")
        from fromnoise.app.cli.evaluating import Bench, Subject

        asked = Subject(
            self.run,
            self.features,
            self.data,
            self.data_root,
            self.split,
            self.weights,
            self.ema,
            self.precision,
            self.samples,
            self.compile,
        )
        with Bench.opened(asked) as bench:
            out = self.out or (self.run / "eval.json" if self.run and self.run.is_dir() else None)
            if out is not None and bench.processes.is_first:
                writable(out)
            found = self._measured(bench, out)
            if not bench.processes.is_first:
                return 0
            if out is not None:
                files.write_json(out, found)
            _show(found)
            if out is not None:
                print(out)
        return 0

    def _measured(self, bench: "Bench", out: Path | None) -> dict[str, Any]:
        which = self.metrics or None
        if self.samples is not None:
            return bench.given(self.samples, which)
        choice = bench.worded(bench.model.choice(self.asked()))
        seeds = range(self.seed, self.seed + self.seeds)
        picture = out.with_name("nearest.png") if out is not None else None
        judge = None if self.agreement is None else bench.judge(self.agreement, choice)
        clip = None if self.clip_score is None else bench.clip_score(self.clip_score, choice)
        found = bench.drawn(choice, self.n, seeds, which, self.batch_size, self.nearest, picture)
        return bench.agreeing(found, judge, clip, choice, seeds) if judge or clip else found


def _show(found: dict[str, Any]) -> None:
    """The figures, and on standard error how they were made."""
    n = found["n"]
    width = max(24, *(len(name) + 2 for name in found["figures"]))
    for name, figure in found["figures"].items():
        spread = f" +- {figure['spread']:.4g} over {len(found['seeds'])} seeds" if "spread" in figure else ""
        print(f"{name:<{width}}{figure['value']:.4f}{spread}")
    features, reference = found["features"], found["reference"]
    sampling = found.get("sampling")
    how = "" if sampling is None else (f", {sampling['sampler']['name']} {sampling['nfe']:g} network calls a sample, "
                                       f"{sampling['seconds']:.0f} s")  # fmt: skip
    if copies := found.get("memorisation"):
        _show_copies(copies, width)
    say(f"{n:,} samples{how}, against {reference['n']:,} images of {reference['data']}, features {features['name']} "
        f"({features['sha256'][:12]})")  # fmt: skip


def _show_copies(copies: dict[str, Any], width: int) -> None:
    """Whether the model copies, beside what images do that it never saw."""
    shares, n = copies["near_copies"], copies["training_images"]["pixels"]
    print(f"{'near-copies in pixels':<{width}}{shares['pixels']:.4f}")
    print(f"{'near-copies in features':<{width}}{shares['features']:.4f}")
    held_out = copies.get("held_out", {})
    for name, value in held_out.items():
        if name not in ("n", "near_copies"):
            print(f"{name} of {held_out['n']} held-out images: {value:.4f}" if "of as many" not in name
                  else f"{name}: {value:.4f}")  # fmt: skip
    beside = f" ({held_out['near_copies']['pixels']:.4f} of the held-out images)" if held_out else ""
    say(f"near-copies: {copies['n']} samples beside {n:,} training images, three times nearer to one than to the next"
        f"{beside}")  # fmt: skip
    if "picture" in copies:
        say(f"{copies['picture']}: the most suspicious samples, each beside the nearest training images "
            "in pixels, then in features")  # fmt: skip
