"""`fromnoise export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fromnoise.app.cli._options import Off, Run, option
from fromnoise.app.cli._steering import Walked
from fromnoise.errors import FromNoiseError
from fromnoise.system.progress import say


@dataclass(frozen=True, kw_only=True)
class Export(Walked):
    """Export a model as ONNX or torch.export graphs.

    examples:
      fromnoise export runs/digits digits-onnx
          Write graphs with the sampler, steps and guidance of the recipe; then
          `python digits-onnx/run.py 16` draws 16 digits without fromnoise.
      fromnoise export runs/digits out --sampler ddim --steps 50 --half
          Export another sampler, with weights in half precision.
      fromnoise export runs/digits-cascade/x2 out --to torch-export
          Export one stage of a cascade, for PyTorch.

    output:
      The folder gets two graphs, for any number of images: the denoiser
      (x_t, t, conditions) -> x0 and eps, and the sampler x_T -> images for a
      fixed number of steps, which includes the decoder of a latent model. run.py
      draws samples with them. export.json describes the inputs and says how far
      the graphs are from the model.
    """

    run: Run
    """A run folder, one of its checkpoints, or a saved model."""
    out: Annotated[Path, tyro.conf.Positional, option("OUT")]
    """Folder to write."""
    to: Literal["onnx", "torch-export"] = "onnx"
    """onnx: for onnxruntime and other programs (needs the extra `export`). torch-export: .pt2 files, for PyTorch."""
    half: Off = False
    """Store the weights in half precision; the loss of accuracy is measured and printed."""

    def __call__(self) -> int:
        from fromnoise.app import runs
        from fromnoise.app.runs.config import read_config
        from fromnoise.weights import hub
        from fromnoise.weights.graphs import export

        model = runs.open_model(self.run, "fp32", self.ema)
        if model.before is not None:
            stages = " and ".join(str(self.run / name) for name in read_config(hub.local(self.run, say)).stages)
            raise FromNoiseError(f"{self.run} is a cascade: export its stages one by one: {stages}")
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
