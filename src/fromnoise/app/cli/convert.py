"""`fromnoise convert`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fromnoise.app.cli._options import Run, option
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.system.progress import say, warn

if TYPE_CHECKING:
    from torch import nn

    from fromnoise.weights.formats.base import Card

_OWN = "fromnoise"


@dataclass(frozen=True)
class Convert:
    """Write a model as another library loads it, with a README that says how; or another library's as one of ours.

    A run, for guided-diffusion: fromnoise convert runs/mine OUT --to openai. A file of theirs, as a saved model:
    fromnoise convert 64x64_diffusion.pt OUT --to fromnoise. The averaged weights are written in float32. A model that
    the other library cannot express is refused with the reason. sample, eval, nll, edit and train --init take files of
    other libraries as they are.
    """

    run: Run
    """A run's folder, one of its checkpoints, a saved model, another library's file or folder, or
    hf://owner/name[@revision]."""
    out: Annotated[Path, tyro.conf.Positional, option("OUT")]
    """The folder to write."""
    to: Annotated[str, option("FORMAT")] = "diffusers"
    """diffusers, openai, edm or dit (see `fromnoise list weight-formats`), or fromnoise for a saved model."""
    like: Annotated[str | None, option("RECIPE")] = None
    """A recipe that says what another library's file does not, such as attention heads and schedule."""
    ema: bool = True
    """The averaged weights."""
    push: Annotated[str | None, option("OWNER/NAME")] = None
    """Put OUT on the Hugging Face hub, too, into this repository, which is made where it is missing; HF_TOKEN or
    `hf auth login` says who you are."""
    private: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Have --push make a private repository."""

    def __call__(self) -> int:
        from fromnoise.denoise import Denoiser
        from fromnoise.weights import formats, hub, native

        if self.to.replace("_", "-") not in (known := [*formats.names(), _OWN]):
            raise unknown("format", self.to, known)
        form = None if self.to == _OWN else formats.build(self.to)
        if self.private and self.push is None:
            raise FromNoiseError("--private is of the repository that --push makes: name it")
        if self.push is not None:
            hub.insist_on_login(self.push)
        model, card = self._opened()
        if form is None:
            native.save(model, self.out)
            draws = isinstance(model, Denoiser)
            after = f"next: fromnoise {'sample' if draws else 'sample RUN --classifier'} {self.out}"
        else:
            form.write(native.of_kind(model, Denoiser, self.run), self.out, card)
            after = f"next, in Python: {form.loads.format(path=self.out)}"
        print(self.out)
        if self.push is not None:
            about = f"{card.about or 'A diffusion model.'} Written by fromnoise"
            print(hub.push(self.out, self.push, about, self.private))
        say(after)
        return 0

    def _opened(self) -> "tuple[nn.Module, Card]":
        """The model, on the CPU, and what is said of it."""
        from fromnoise import recipes
        from fromnoise.app import runs
        from fromnoise.app.runs.config import read_config
        from fromnoise.weights import hub, opening
        from fromnoise.weights.formats.base import Card

        run = hub.local(self.run, say)
        if opening.is_foreign(run):
            like = None if self.like is None else recipes.load(self.like)
            return opening.read(run, warn, like), Card(f"Converted from {run.name}.")
        if self.like is not None:
            raise FromNoiseError("--like is for files of other libraries: a model of fromnoise says everything itself")
        model = runs.open_model(self.run, "fp32", self.ema)
        if model.before is not None:
            stages = " and ".join(str(self.run / name) for name in read_config(run).stages)
            raise FromNoiseError(f"{self.run}: is a cascade, whose stages are written one by one: {stages}")
        config = model.config
        about = "" if config is None else f"Recipe {config.recipe}, {model.step:,} steps, on {config.data.name}."
        return model.denoiser.cpu(), Card(about, model.choice().steering.clip)
