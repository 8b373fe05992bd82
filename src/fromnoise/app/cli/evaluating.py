"""What `eval` and `table` share: a model, reference images and an extractor, checked before anything is drawn."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fromnoise.app import evaluation
from fromnoise.app.evaluation.memorisation import LOOKED_AT, Learned
from fromnoise.app.evaluation.report import warnings
from fromnoise.app.runs import Model, SamplingPlan, open_model
from fromnoise.data.config import DataConfig
from fromnoise.data.encoded import MixedSizes
from fromnoise.data.images import Images
from fromnoise.data.loading import load
from fromnoise.data.npz import load_npz
from fromnoise.data.pairs import Pairs, Shuffled
from fromnoise.errors import FromNoiseError
from fromnoise.metrics import features
from fromnoise.metrics.comparison import check_shapes
from fromnoise.metrics.features.base import Extractor
from fromnoise.metrics.figures import KEEP
from fromnoise.recipes.sections import EvalConfig
from fromnoise.system import rng
from fromnoise.system.disk import files
from fromnoise.system.hardware import Compile, Precision, choose
from fromnoise.system.progress import counter, warn
from fromnoise.train.distributed import Processes


@dataclass(frozen=True)
class Subject:
    """The options of both commands; see `Eval`."""

    run: Path | None
    features: str | None
    data: str | None
    data_root: Path | None
    split: str | None
    weights: Path | None
    ema: bool
    precision: Precision
    samples: Path | None = None
    compile: Compile = "auto"


@dataclass
class Bench:
    """A model with what it is measured against. `model` exists whenever new samples are to be drawn."""

    found: Model | None
    images: Images
    usual: EvalConfig
    split: str
    name: str
    extractor: Extractor
    processes: Processes
    other_data: bool = False

    @classmethod
    @contextmanager
    def opened(cls, asked: Subject) -> Iterator["Bench"]:
        """Load and check everything; the processes are connected inside the `with` block."""
        processes = Processes()
        found = None if asked.run is None else open_model(asked.run, asked.precision, asked.ema).of_images()
        if found is not None:
            found.compile(asked.compile)
        config = found.config if found else None
        usual = config.evaluate if config else EvalConfig()
        split = asked.split or usual.split
        if split not in ("train", "test"):
            raise FromNoiseError(f"--split {split}: choose from train, test")
        with processes.started(choose("fp32").device):
            with processes.first_alone():
                images = _images(asked, found, split)
                if found is not None and asked.samples is None and found.denoiser.image_shape != tuple(images.shape):
                    one, other = ("x".join(map(str, s or ())) for s in (found.denoiser.image_shape, images.shape))
                    raise FromNoiseError(f"the model draws images of {one}, but those of {images.name} are {other}")
                if found is not None and found.needs_images:
                    found = (
                        replace(found, beside=Shuffled(images.beside))
                        if isinstance(images, Pairs)
                        else found.with_images()
                    )
                name = asked.features or usual.features
                options = {"weights": asked.weights} if asked.weights is not None else {}
                extractor = features.build({"name": name, **options})
            yield cls(found, images, usual, split, name, extractor, processes, asked.data is not None)

    @property
    def model(self) -> Model:
        assert self.found is not None
        return self.found

    @property
    def folder(self) -> Path:
        """The folder of the samples."""
        path = self.model.path
        return (path.parent.parent if path.parent.name == "checkpoints" else path) / "eval"

    def reference(self) -> evaluation.Reference:
        with self.processes.first_alone():
            return evaluation.reference(self.images, self.name, self.extractor, self.split)

    def worded(self, choice: SamplingPlan) -> SamplingPlan:
        """The plan; for a text-conditional model without prompts, the shuffled captions of the images as prompts."""
        if choice.texts or all(denoiser.text is None for denoiser in self.model.networks()):
            return choice
        captions = self.images.captions
        return replace(choice, texts=tuple(captions[i] for i in rng.permutation(0, 0, len(captions))))

    def drawn(
        self,
        choice: SamplingPlan,
        n: int | None,
        seeds: Sequence[int],
        which: Sequence[str] | None,
        batch_size: int,
        nearest: int | None = 0,
        picture: Path | None = None,
    ) -> dict[str, Any]:
        """The report on new samples; `nearest` of them are compared with the training images."""
        n = self.usual.n if n is None else n
        if n < 2 or batch_size < 1:
            raise FromNoiseError(f"--n must be at least 2 and --batch-size 1, got {n} and {batch_size}")
        self.model.steps(choice)  # raises for what the model cannot do, before the reference is computed
        self.warn(n)
        return evaluation.evaluate(
            self.model,
            choice,
            self.reference(),
            self.name,
            self.extractor,
            n=n,
            seeds=seeds,
            folder=self.folder,
            metrics=which,
            batch_size=batch_size,
            processes=self.processes,
            learned=self._learned(nearest, picture),
        )

    def _learned(self, nearest: int | None, picture: Path | None) -> Learned | None:
        """The training images to compare samples with; None where there is no such comparison."""
        own = self.split == "train" and not self.other_data and self.model.config is not None
        if nearest is None:
            nearest = LOOKED_AT if own and self.images.in_memory else 0
        if not nearest:
            return None
        if not 0 < nearest <= KEEP:
            raise FromNoiseError(f"--nearest must be from 1 to {KEEP:,}, or 0 for none, got {nearest:,}")
        config = self.model.config
        if not own or config is None:
            raise FromNoiseError("--nearest compares with the images that the run was trained on: leave out --data, "
                                 "--split and other options that choose other images")  # fmt: skip
        return Learned.of(self.images, config, nearest, picture)

    def judge(self, path: Path, choice: SamplingPlan) -> evaluation.Judge:
        """An image-text model, opened and checked before anything is drawn.

        Raises FromNoiseError if the samples have no prompts, or the model is for images of another shape.
        """
        _insist_on_texts(choice, "--agreement")
        return evaluation.Judge.opened(path, self.model.denoiser.image_shape, counter)

    def clip_score(self, where: str, choice: SamplingPlan) -> evaluation.ClipScore:
        """CLIP, opened before anything is drawn. Raises FromNoiseError without prompts, or without a CLIP."""
        _insist_on_texts(choice, "--clip-score")
        if where != "hub" and not files.expanded(where).is_dir():
            raise FromNoiseError(f"--clip-score {where}: no such folder; give hub, or a folder with config.json, "
                                 "tokenizer.json and model.safetensors of a CLIP")  # fmt: skip
        return evaluation.ClipScore(None if where == "hub" else files.expanded(where))

    def agreeing(
        self,
        found: dict[str, Any],
        judge: evaluation.Judge | None,
        clip: evaluation.ClipScore | None,
        choice: SamplingPlan,
        seeds: Sequence[int],
    ) -> dict[str, Any]:
        """The report, with how often the judge finds the prompt of a sample and with CLIP's score, over all seeds."""
        shares, scores = [], []
        for seed in seeds:
            parts = evaluation.Parts(self.folder, self.model, choice, seed, found["n"])
            pixels = torch.cat(list(parts.read(range(len(parts)))))
            texts = [choice.texts[i % len(choice.texts)] for i in range(len(pixels))]
            shares += [] if judge is None else [judge.share(pixels, texts)]
            scores += [] if clip is None else [clip.of(pixels, texts)]
        more = {}
        if judge is not None:
            found = found | {"agreement": judge.about}
            more |= {evaluation.CAPTIONS: sum(shares) / len(shares)} | judge.figures()
        if clip is not None:
            found = found | {"clip": clip.about}
            more |= {evaluation.CLIP_SCORE: sum(scores) / len(scores)}
        return found | {"figures": found["figures"] | {name: {"value": value} for name, value in more.items()}}

    def given(self, path: Path, which: Sequence[str] | None) -> dict[str, Any]:
        """The report on images from a file or a folder."""
        if path.suffix.lower() == ".npz":
            samples = load_npz(path)
        else:
            channels = self.images.shape[0] if self.images.shape[0] in (1, 4) else 3
            try:
                samples = load(DataConfig(name=str(path), channels=channels), counter)
            except MixedSizes:
                h, w = self.images.shape[1:]
                raise FromNoiseError(f"{path}: samples of several sizes, and they are not resized: bring all to "
                                     f"the size of the data, {h}x{w}, first") from None  # fmt: skip
        check_shapes(samples, self.images)
        self.warn(len(samples))
        return evaluation.measure(samples, self.reference(), self.name, self.extractor, which)

    def warn(self, n: int) -> None:
        """Warn about what makes figures of n samples unfit for comparison."""
        for line in warnings(n, self.extractor, len(self.images)) if self.processes.is_first else ():
            warn(line)


def _insist_on_texts(choice: SamplingPlan, option: str) -> None:
    if not choice.texts:
        raise FromNoiseError(f"{option}: these samples are drawn without prompts, so there is none to agree with")


def _images(asked: Subject, found: Model | None, split: str) -> Images:
    """The images of the run, or those of --data, at the size of the model."""
    base = found.config.data if found and found.config else DataConfig()
    if (found is None or found.config is None) and asked.data is None:
        raise FromNoiseError("this model has no configuration: choose the images to compare with, by --data")
    changes: dict[str, Any] = {"split": split}
    shape = found.denoiser.image_shape if found is not None else None
    changes |= {"name": asked.data} if asked.data else {}
    changes |= {"root": asked.data_root} if asked.data_root else {}
    return load(base.at(shape, **changes) if shape else base.model_copy(update=changes), counter)
