"""`fromnoise convert`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fromnoise.app.cli._options import On, Run, option
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.system.progress import say, warn

if TYPE_CHECKING:
    from torch import nn

    from fromnoise.weights.formats.base import Card

_OWN = "fromnoise"


@dataclass(frozen=True)
class Convert:
    """Convert a model to another library's format, or from it.

    examples:
      fromnoise convert runs/ddpm-cifar10 cifar-diffusers
          Write a diffusers folder, with a README that says how to load it.
      fromnoise convert runs/ddpm-cifar10 cifar-openai --to openai
          Write a folder that guided-diffusion loads.
      fromnoise convert 64x64_diffusion.pt adm-64 --to fromnoise
          Turn a file of guided-diffusion into a saved model.

    details:
      Weights are written in float32. A model that the other library cannot
      express is refused, with the reason. There is no need to convert before
      use: sample, eval, nll, edit and `train --init` open the files of other
      libraries directly.
    """

    run: Run
    """A run folder, one of its checkpoints, a saved model, another library's file, or hf://owner/name[@revision]."""
    out: Annotated[Path, tyro.conf.Positional, option("OUT")]
    """Folder to write."""
    to: Annotated[str, option("FORMAT")] = "diffusers"
    """Format: diffusers, openai, edm or dit (see `fromnoise list weight-formats`), or fromnoise for a saved model."""
    like: Annotated[str | None, option("RECIPE", default="none")] = None
    """Recipe for what the file of another library leaves out, such as the attention heads and the schedule."""
    ema: On = True
    """Write the averaged (EMA) weights."""
    push: Annotated[str | None, option("OWNER/NAME", default="none")] = None
    """Also upload OUT to this repository on the Hugging Face hub, which is created if it does not exist.
    Log in first, with HF_TOKEN or `hf auth login`."""
    private: Annotated[bool, tyro.conf.FlagCreatePairsOff, option(default="off")] = False
    """Make the repository that --push creates a private one."""

    def __call__(self) -> int:
        from fromnoise.denoise import Denoiser
        from fromnoise.weights import formats, hub, native

        if self.to.replace("_", "-") not in (known := [*formats.names(), _OWN]):
            raise unknown("format", self.to, known)
        form = None if self.to == _OWN else formats.build(self.to)
        if self.private and self.push is None:
            raise FromNoiseError("--private needs --push OWNER/NAME, the repository to create")
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
        """The model, on the CPU, and the facts for its README."""
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
            raise FromNoiseError("--like is only for files of other libraries: leave it out")
        model = runs.open_model(self.run, "fp32", self.ema)
        if model.before is not None:
            stages = " and ".join(str(self.run / name) for name in read_config(run).stages)
            raise FromNoiseError(f"{self.run} is a cascade: convert its stages one by one: {stages}")
        config = model.config
        about = "" if config is None else f"Recipe {config.recipe}, {model.step:,} steps, on {config.data.name}."
        return model.denoiser.cpu(), Card(about, model.choice().steering.clip)
