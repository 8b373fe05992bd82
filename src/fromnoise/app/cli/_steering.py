"""The options that say how new samples are drawn, which `sample` and `eval` share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fromnoise.app.cli._options import Compile, Name, Number, Precision, Settings, option
from fromnoise.app.cli._words import changes
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

if TYPE_CHECKING:
    from fromnoise.app.runs import SampleOptions


@dataclass(frozen=True, kw_only=True)
class Walked:
    """How a model is walked and guided, whatever is drawn: what an exported sampler has in it."""

    sampler: Name = None
    """See `fromnoise list samplers`; the recipe's own unless named."""
    steps: Number = None
    """Of the sampler, at most the length of the model's chain."""
    spacing: Name = None
    """Which levels: uniform, ddim or quadratic in time, log-snr or karras in noise; its usual unless given."""
    clip: Annotated[bool | None, option("True|False")] = None
    """Clip the predicted image to [-1, 1] at every step; as the recipe says unless given."""
    threshold: Annotated[float | None, option("PERCENTILE")] = None
    """Dynamic thresholding instead of clipping, against the harsh colours of strong guidance; Imagen uses 99.5."""
    guidance: Annotated[float | None, option("SCALE")] = None
    """Away from the model that is told no class: 1 is off, more is surer and less varied, 0 is without class; as the
    recipe says unless given."""
    guidance_interval: Annotated[tuple[float, float] | None, option("LOW HIGH")] = None
    """Guide only where noise over signal lies between them, e.g. 0.2 5."""
    guidance_rescale: Annotated[float | None, option("SHARE")] = None
    """Give images the contrast back that guidance adds: 0 none to 1 all."""
    weaker: Annotated[Path | None, option("RUN")] = None
    """Autoguidance: guide away from this earlier checkpoint or smaller model in place of no class."""
    ema: bool = True
    """The averaged weights, which is what papers report."""
    set: Settings = ()
    """Options of the sampler, e.g. --set eta=0.5."""

    def walked(self, precision: Precision) -> "SampleOptions":
        """The same words, with the model that they name."""
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

    label: Annotated[str | None, tyro.conf.arg(name="class", metavar="NAME|NUMBER")] = None
    """Class of every sample, for a class-conditional model. Default: all classes in turn, equally often."""
    text: Annotated[tuple[str, ...], option("WORDS")] = ()
    """Prompt, for a model that was trained with captions: --text "a red heart". Several are used in turn."""
    texts: Annotated[Path | None, option("FILE")] = None
    """File of prompts, one per line."""
    negative: Annotated[str | None, option("WORDS")] = None
    """Words that guidance moves away from; the unconditional prediction by default."""
    classifier: Annotated[Path | None, option("FOLDER")] = None
    """Classifier guidance: one made by `fromnoise train-classifier RUN`, or an image-text model (recipe
    emoji-image-text), which follows --text."""
    classifier_scale: Annotated[float | None, option("SCALE")] = None
    """Of the classifier's gradient: 0 is off, 1 Bayes' rule; 1 unless given."""
    strength: Annotated[float | None, option("SHARE")] = None
    """Of a cascade: how much what one stage draws is augmented before the next is told it, 0 to 1."""
    truncated: Annotated[bool | None, option("True|False")] = None
    """Of a cascade with noise: stop a stage at that strength, in place of finishing and noising anew."""
    precision: Precision = "auto"
    """auto: bf16 where the hardware multiplies it natively."""
    compile: Compile = "auto"
    """auto: CUDA graphs on a GPU. on: torch.compile, which pays where sampling takes minutes."""

    def asked(self) -> "SampleOptions":
        """The same words, with the models that they name."""
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
    """The texts of a file, without its empty lines.

    Raises:
        FromNoiseError: there is none, or it holds no text.
    """
    if path is None:
        return ()
    found = tuple(line.strip() for line in files.read_text(path).splitlines() if line.strip())
    if not found:
        raise FromNoiseError(f"--texts {path}: no text in it; one stands on each line")
    return found
