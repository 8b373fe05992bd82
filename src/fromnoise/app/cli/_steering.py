"""The options for drawing new samples, which `sample`, `eval` and `export` share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fromnoise.app.cli._options import Compile, Name, Number, On, Precision, Settings, option
from fromnoise.app.cli._words import changes
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

if TYPE_CHECKING:
    from fromnoise.app.runs import SampleOptions


@dataclass(frozen=True, kw_only=True)
class Walked:
    """How the levels are visited and how the model is guided: what an exported sampler contains."""

    sampler: Annotated[Name, option(default="from the recipe")] = None
    """Sampler; see `fromnoise list samplers`."""
    steps: Annotated[Number, option(default="from the recipe")] = None
    """Number of sampling steps, at most the length of the model's chain."""
    spacing: Annotated[Name, option(default="from the recipe; with --sampler, that sampler's own")] = None
    """Spacing of the levels; see `fromnoise list spacings`."""
    clip: Annotated[bool | None, option(default="from the recipe")] = None
    """Clip the predicted image to [-1, 1] at every step."""
    threshold: Annotated[float | None, option("PERCENTILE", default="from the recipe")] = None
    """Dynamic thresholding instead of clipping, against the harsh colours of strong guidance; Imagen uses 99.5."""
    guidance: Annotated[float | None, option("SCALE", default="from the recipe")] = None
    """Classifier-free guidance scale: 1 is off, 0 is the unconditional model.
    Larger scales follow the class or prompt more closely, with less variety."""
    guidance_interval: Annotated[tuple[float, float] | None, option("LOW HIGH", default="from the recipe")] = None
    """Guide only where sigma/alpha, noise over signal, lies between LOW and HIGH, for example 0.2 5."""
    guidance_rescale: Annotated[float | None, option("SHARE", default="from the recipe")] = None
    """Share of the contrast added by guidance to take back, from 0 (none) to 1 (all)."""
    weaker: Annotated[Path | None, option("RUN", default="the unconditional prediction")] = None
    """Autoguidance: the weaker model to guide away from, an earlier checkpoint or a smaller model."""
    ema: On = True
    """Use the averaged (EMA) weights, as published figures do."""
    set: Settings = ()
    """Options of the sampler, for example --set eta=0.5."""

    def walked(self, precision: Precision) -> "SampleOptions":
        """These options for the library, with the weaker model loaded."""
        from fromnoise.app.runs import SampleOptions
        from fromnoise.weights import native

        return SampleOptions(
            sampler=self.sampler,
            options=changes(self.set),
            steps=self.steps,
            spacing=self.spacing,
            clip=self.clip,
            threshold=self.threshold,
            guidance=self.guidance,
            interval=self.guidance_interval,
            rescale=self.guidance_rescale,
            weaker=native.load(self.weaker, self.ema, precision) if self.weaker else None,
        )


@dataclass(frozen=True, kw_only=True)
class Steered(Walked):
    """How samples are drawn."""

    label: Annotated[str | None, option("NAME|NUMBER", default="all classes in turn", name="class")] = None
    """Class of every sample, for a class-conditional model."""
    text: Annotated[tuple[str, ...], option("TEXT ...", default="none; for eval, the captions of the data")] = ()
    """Prompts for a text-conditional model, used in turn: --text "a red heart" "a blue heart"."""
    texts: Annotated[Path | None, option("FILE", default="none")] = None
    """Text file of further prompts, one per line."""
    negative: Annotated[str | None, option("TEXT", default="the unconditional prediction")] = None
    """Negative prompt: the text that guidance moves away from."""
    classifier: Annotated[Path | None, option("FOLDER", default="none")] = None
    """Classifier guidance by a classifier from `fromnoise train-classifier`.
    An image-text model (recipe emoji-image-text) works too; it follows --text."""
    classifier_scale: Annotated[float | None, option("SCALE", default="1")] = None
    """Scale of the classifier's gradient: 0 is off, 1 is Bayes' rule."""
    strength: Annotated[float | None, option("SHARE", default="from the recipe")] = None
    """For cascades: how strongly the output of one stage is augmented before the next enlarges it, 0 to 1."""
    truncated: Annotated[bool | None, option(default="from the recipe")] = None
    """For cascades with noise augmentation: stop a stage at that noise level.
    Otherwise it is finished, and noise is added again."""
    precision: Precision = "auto"
    """Number format of the network; auto is bf16 where the hardware multiplies it natively."""
    compile: Compile = "auto"
    """auto: CUDA graphs on a GPU. on: torch.compile, which pays off when sampling takes minutes."""

    def asked(self) -> "SampleOptions":
        """These options for the library, with the models that they name loaded.

        Raises FromNoiseError for a classifier scale without a classifier, or an empty text.
        """
        if self.classifier is None and self.classifier_scale is not None:
            raise FromNoiseError("--classifier-scale needs the --classifier whose gradient it scales")
        if any(not text.strip() for text in self.text):
            raise FromNoiseError("--text is empty: leave it out to draw without a text")
        from fromnoise.weights import guides

        return replace(
            self.walked(self.precision),
            classifier=guides.load_guide(self.classifier, self.precision) if self.classifier else None,
            classifier_scale=1.0 if self.classifier_scale is None else self.classifier_scale,
            label=self.label,
            texts=self.text + _lines(self.texts),
            negative=self.negative,
            strength=self.strength,
            truncated=self.truncated,
        )


def _lines(path: Path | None) -> tuple[str, ...]:
    """The lines of a text file that are not empty.

    Raises FromNoiseError if the file does not exist or holds no text.
    """
    if path is None:
        return ()
    found = tuple(line.strip() for line in files.read_text(path).splitlines() if line.strip())
    if not found:
        raise FromNoiseError(f"--texts {path}: no text in it; write one prompt per line")
    return found
