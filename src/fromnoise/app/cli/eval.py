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
    """Measure a model: FID, precision, recall and more.

    examples:
      fromnoise eval runs/digits
          Measure new samples as the recipe says, and write runs/digits/eval.json.
      fromnoise eval runs/ddpm-cifar10 --n 50000 --features inception --seeds 3
          Compute FID-50k and its spread over three seeds.
      fromnoise eval --samples theirs.npz --data cifar10 --features inception
          Measure images from another program against CIFAR-10.

    details:
      The report holds the figures with everything that was done to get them. An
      interrupted evaluation continues where it stopped.
      Several processes: start the same command as often as you like, on any
      machine that sees the folder of the run, or
        torchrun --nproc-per-node 2 -m -- fromnoise eval RUN ...
    """

    run: Annotated[File, tyro.conf.Positional, option("[RUN]", default="none; then give --samples and --data")] = None
    """A run folder, one of its checkpoints, a saved model, a diffusers folder, or hf://owner/name[@revision]."""
    n: Annotated[Number, option(default="from the recipe")] = None
    """Number of samples; published figures use 50000."""
    features: Annotated[Name, option(default="from the recipe")] = None
    """Feature extractor; see `fromnoise list features`."""
    metrics: Annotated[tuple[str, ...], option("NAME ...", default="all")] = ()
    """Metrics to compute; see `fromnoise list metrics`."""
    samples: Annotated[File, option("FILE.npz|FOLDER", default="none")] = None
    """Measure these images instead of new samples."""
    data: Annotated[Name, option("NAME|FOLDER", default="the data of the run")] = None
    """Data set to compare with, by its name or as a folder of images."""
    data_root: Annotated[Folder, option(default="that of the run")] = None
    """Folder of the named data sets; missing ones are downloaded into it."""
    split: Annotated[str | None, option("{train,test}", default="from the recipe")] = None
    """Split of the data to compare with."""
    weights: Annotated[File, option(default="downloaded where needed")] = None
    """File with the weights of the feature extractor, for when they cannot be downloaded."""
    seed: int = 0
    """Random seed of the samples; with --seeds, the first one."""
    seeds: int = 1
    """Number of seeds to measure; several give the spread of each figure."""
    batch_size: int = 64
    """Number of images that are denoised together."""
    nearest: Annotated[Number, option(default="500 if the training images fit in memory, else 0")] = None
    """Number of samples to compare with their nearest training images, to find near-copies.
    The closest ones are drawn in nearest.png; 0 turns this off."""
    agreement: Annotated[Folder, option("RUN", default="none")] = None
    """For text-conditional models: an image-text run (recipe emoji-image-text).
    It measures how often each caption is found among 100."""
    clip_score: Annotated[str | None, option("hub|FOLDER", default="none")] = None
    """For text-conditional models: compute CLIP's score, 100 times the mean cosine of image and text.
    CLIP is ViT-L/14 from the hub (needs the extra `text`), or the one in the folder."""
    out: Annotated[File, option(default="eval.json in the run; none for a model on the hub")] = None
    """JSON file to write."""

    def __call__(self) -> int:
        insist_on_samples(n=self.n)
        if self.out is not None:
            writable(self.out)
        if self.run is None and self.samples is None:
            raise FromNoiseError("name a run to sample, or give images with --samples; see fromnoise eval --help")
        if self.run is None and self.data is None:
            raise FromNoiseError("--samples without a run also needs --data, the images to compare with")
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
    """Print the figures, and on standard error how they were made."""
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
    """Print how many samples are near-copies, beside the same count for held-out images."""
    shares, n = copies["near_copies"], copies["training_images"]["pixels"]
    print(f"{'near-copies in pixels':<{width}}{shares['pixels']:.4f}")
    print(f"{'near-copies in features':<{width}}{shares['features']:.4f}")
    held_out = copies.get("held_out", {})
    for name, value in held_out.items():
        if name not in ("n", "near_copies"):
            print(f"{name} of {held_out['n']} held-out images: {value:.4f}" if "of as many" not in name
                  else f"{name}: {value:.4f}")  # fmt: skip
    beside = f" ({held_out['near_copies']['pixels']:.4f} of the held-out images)" if held_out else ""
    say(f"near-copies: {copies['n']} samples against {n:,} training images, three times nearer to one than to the next"
        f"{beside}")  # fmt: skip
    if "picture" in copies:
        say(f"{copies['picture']}: the most suspicious samples, each beside the nearest training images "
            "in pixels, then in features")  # fmt: skip
