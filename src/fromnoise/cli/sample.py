"""`fromnoise sample`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fromnoise.cli._options import File, Name, Number, Precision, Run, Settings, option
from fromnoise.cli._words import changes, writable
from fromnoise.errors import FromNoiseError

_KINDS = (".png", ".npz", ".gif")


@dataclass(frozen=True)
class Sample:
    """Draw new images from a trained model.

    The file's ending decides what is written: .png a grid, .npz the images as arr_0, uint8 [N, H, W, C],
    .gif the denoising. Sample i of a seed is the same whatever --n and --batch-size are.
    """

    run: Run
    """A run's folder, one of its checkpoints, or a model saved with fromnoise.save."""
    n: int = 64
    """How many."""
    sampler: Name = None
    """See `fromnoise list samplers`; the recipe's own unless named."""
    steps: Number = None
    """Of the sampler, at most the length of the model's chain."""
    spacing: Name = None
    """Which levels: uniform, ddim or quadratic in time, log-snr or karras in noise; its usual unless given."""
    seed: int = 0
    """Of the noise."""
    out: File = None
    """File to write; samples.png in the run unless named."""
    batch_size: int = 64
    """Samples that are denoised together."""
    clip: Annotated[bool | None, option("True|False")] = None
    """Clip the predicted image to [-1, 1] at every step; as the recipe says unless given."""
    label: Annotated[str | None, tyro.conf.arg(name="class", metavar="NAME|NUMBER")] = None
    """Of every sample, for a model that knows classes; all of them in turn unless given."""
    guidance: Annotated[float | None, option("SCALE")] = None
    """Of classifier-free guidance: 1 is off, more is surer and less varied; as the recipe says unless given."""
    ema: bool = True
    """The averaged weights, which is what papers report."""
    precision: Precision = "auto"
    """auto: bf16 where the hardware multiplies it natively."""
    set: Settings = ()
    """Options of the sampler, e.g. --set eta=0.5."""

    def __call__(self) -> int:
        out = self.out or self.run / "samples.png"
        if out.suffix.lower() not in _KINDS:
            raise FromNoiseError(f"--out {out}: the ending must be one of {', '.join(_KINDS)}")
        from fromnoise import runs
        from fromnoise.cli import _drawing

        model = runs.open_model(self.run, self.precision, self.ema)
        choice = runs.Choice.of(
            model.sampling,
            self.sampler,
            changes(self.set),
            self.steps,
            self.spacing,
            self.clip,
            self.guidance,
            self.label,
        )
        writable(out)
        _drawing.draw_to(out, model, self.n, choice, self.seed, self.batch_size)
        print(out)
        return 0
