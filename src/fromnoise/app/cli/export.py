"""`fromnoise export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fromnoise.app.cli._options import Run, option
from fromnoise.app.cli._steering import Walked
from fromnoise.errors import FromNoiseError
from fromnoise.system.progress import say


@dataclass(frozen=True, kw_only=True)
class Export(Walked):
    """Write a trained model as graphs that other programs run, without fromnoise.

    The folder gets two graphs for any number of images: the denoiser, (x_t, t, conditions) -> x0 and eps, and the whole
    sampler for a fixed number of steps, x_T -> images, a latent model's decoder included; a program run.py that draws
    samples by them; and export.json, which says what goes in and how far the graphs are from the model.

    Examples:
      fromnoise export runs/digits digits-onnx && python digits-onnx/run.py 16
      fromnoise export runs/digits out --sampler ddim --steps 50 --guidance 2 --half
      fromnoise export runs/digits out --to torch-export
      fromnoise export runs/digits-cascade/x2 out      # of a cascade each stage by itself
    """

    run: Run
    """A run's folder, one of its checkpoints, or a saved model."""
    out: Annotated[Path, tyro.conf.Positional, option("OUT")]
    """The folder to write."""
    to: Literal["onnx", "torch-export"] = "onnx"
    """onnx: for onnxruntime and others (extra `export`). torch-export: .pt2 files, for PyTorch alone."""
    half: bool = False
    """The weights in half precision; what that costs is measured and said."""

    def __call__(self) -> int:
        from fromnoise.app import runs
        from fromnoise.app.runs.config import read_config
        from fromnoise.weights import hub
        from fromnoise.weights.graphs import export

        model = runs.open_model(self.run, "fp32", self.ema)
        if model.before is not None:
            stages = " and ".join(str(self.run / name) for name in read_config(hub.local(self.run, say)).stages)
            raise FromNoiseError(f"{self.run}: is a cascade, whose stages are exported one by one: {stages}")
        plan = model.choice(self.walked("fp32"))
        config = model.config
        notes = {"recipe": config.recipe, "step": model.step, "data": config.data.name} if config is not None else {}
        made = export(
            plan.steered(model.denoiser),
            self.out,
            to=self.to,
            sampler=plan.sampler,
            steps=plan.steps,
            spacing=plan.spacing,
            half=self.half,
            notes=notes,
        )
        apart = ", ".join(f"{name} {e.largest:.1e} (mean {e.mean:.1e})" for name, e in made.errors.items())
        say(f"largest difference from this model in float32: {apart}")
        print(self.out)
        say(f"next: python {self.out}/run.py 16")
        return 0
