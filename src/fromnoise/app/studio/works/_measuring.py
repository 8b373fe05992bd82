"""Shared by all measuring works: the data of a run, samples with progress, features with progress. Needs torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from fromnoise.app.evaluation import Parts
from fromnoise.app.evaluation.memorisation import Learned
from fromnoise.app.runs import Model, SamplingPlan
from fromnoise.app.runs.model import draw_states
from fromnoise.app.studio.works.base import Send
from fromnoise.app.studio.works.draw import Draw
from fromnoise.app.studio.works.seen import images as smaller
from fromnoise.data.images import Images, to_uint8
from fromnoise.data.loading import load
from fromnoise.data.pairs import Pairs, Shuffled
from fromnoise.errors import FromNoiseError
from fromnoise.metrics.features.base import Extractor, Features
from fromnoise.samplers import Moment
from fromnoise.system import rng

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench

BATCH = 64
"""Number of samples denoised together, as in the commands."""
SHOWN = 16
"""Number of samples shown on the page while measuring."""
_FRAMES = 100


class Heard(Extractor):
    """Wraps an extractor and reports the number of images after every batch."""

    suffix = ""

    def __init__(self, inner: Extractor, heard: Callable[[int], None]):
        self.inner, self.heard = inner, heard
        self.dimensions, self.hash, self.classes, self.about = (
            inner.dimensions, inner.hash, inner.classes, inner.about
        )  # fmt: skip

    def __call__(self, pixels: Tensor) -> Features:
        found = self.inner(pixels)
        self.heard(len(pixels))
        return found

    def title(self, kind: str) -> str:
        return self.inner.title(kind)


class Stepping:
    """Sends the progress of a stage, about a hundred times at most; the job can be stopped at each.

    Args:
        send: takes the frames.
        stage: name of the stage, for the page.
        total: units of work; None if unknown.
    """

    def __init__(self, send: Send, stage: str, total: int | None = None):
        self.send, self.stage, self.total, self.done = send, stage, total, 0
        self._every = max(1, (total or 0) // _FRAMES)
        self._said = 0
        self._say()

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        if self.done - self._said >= self._every:
            self._say()

    def _say(self) -> None:
        self._said = self.done
        self.send({"kind": "step", "stage": self.stage, "done": self.done, "total": self.total})


@dataclass(frozen=True)
class Drawn:
    """A model with its sampling plan and its training data.

    Attributes:
        model: the model.
        plan: how it is sampled.
        learned: the data it was trained on.
        asked: the sampling as a request of the studio, from which the command is made.
    """

    model: Model
    plan: SamplingPlan
    learned: Learned
    asked: Draw

    def states(self, send: Send) -> Tensor:
        """Draw n samples, uint8, and send the progress."""
        n = self.asked.n
        stepping = Stepping(send, "drawing", -(-n // BATCH) * self.model.steps(self.plan))

        def after(moment: Moment) -> None:
            stepping.advance()

        return to_uint8(draw_states(self.model, n, self.plan, self.asked.seed, BATCH, callback=after))


def drawn(bench: "Bench", run: Path, name: str, n: int, seed: int) -> Drawn:
    """Collect everything needed to compare samples with the training data.

    Raises:
        FromNoiseError: if the model's data is unknown, or it does not generate images.
    """
    model = bench.model(run).of_images()
    images = images_of(bench, model)
    if model.needs_images:
        beside = Shuffled(images.beside) if isinstance(images, Pairs) else None
        model = replace(model, beside=beside) if beside is not None else model.with_images()
    assert model.config is not None
    words = texts(model, images, n)
    if any("\n" in word for word in words):
        words = tuple(" ".join(word.split()) for word in words)
    asked = Draw(run=name, n=n, seed=seed, text="\n".join(words))
    return Drawn(model, model.choice(asked.asked()), Learned.of(images, model.config, n, None), asked)


def images_of(bench: "Bench", model: Model) -> Images:
    """Load the training data of a run; it is kept on the bench.

    Raises:
        FromNoiseError: if there is no configuration that names the data, or the data is gone.
    """
    config, shape = model.config, model.denoiser.image_shape
    if config is None or shape is None:
        raise FromNoiseError("this model has no configuration, so its training data is not known: choose a run")
    return bench.kept("data", model.digest, make=lambda: load(config.data.at(shape)))


def texts(model: Model, images: Images, n: int) -> tuple[str, ...]:
    """For a text-conditional model, captions of the data in the order in which `fromnoise eval` takes them."""
    if all(denoiser.text is None for denoiser in model.networks()):
        return ()
    return tuple(images.captions[i] for i in rng.permutation(0, 0, len(images.captions))[:n])


def sampled(folder: Path, model: Model, plan: SamplingPlan, n: int, seed: int, send: Send, stage: str) -> None:
    """Draw the samples of an evaluation into its folder, with progress, and send the first few as images."""
    parts = Parts(folder, model, plan, seed, n)
    groups = parts.groups(BATCH)
    total = sum(-(-min(len(group) * parts.size, n) // BATCH) for group in groups) * model.steps(plan)
    stepping = Stepping(send, stage, total)

    def after(moment: Moment) -> None:
        stepping.advance()

    parts.draw(BATCH, after, todo=groups)
    pixels = next(parts.read(range(1)))
    send({"kind": "samples", "stage": stage}, {"x0": smaller(pixels[:SHOWN].float() / 127.5 - 1)})
