"""`fromnoise nll`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fromnoise.app.cli._options import File, Folder, Name, Number, On, Precision, Run, option
from fromnoise.app.cli._words import writable
from fromnoise.app.runs.config import read_if_any
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.system.disk.hub import shown
from fromnoise.system.progress import Bar, say
from fromnoise.weights import hub


@dataclass(frozen=True)
class Nll:
    """Measure bits per dimension on 8-bit images.

    examples:
      fromnoise nll runs/digits --n 64
          Print the variational bound on 64 images the run was trained on.
      fromnoise nll runs/mnist --data mnist --split test --out nll.json
          Measure test images of MNIST, and write every term to nll.json.
      fromnoise nll runs/digits --method ode --steps 100 --n 32
          Bound with 100 steps, and the density of the probability-flow ODE.

    details:
      The bound is printed as the sum of its terms (prior, steps, decoder) and
      costs one network call per image and step. --out writes
      {bits_per_dim, prior, steps, decoder, standard_error, n}. With --method ode
      the file also has the key "ode": the density of images with noise in their
      bins, its divergence by Hutchinson's estimate.
    """

    run: Run
    """A run folder, one of its checkpoints, a saved model, a diffusers folder, or hf://owner/name[@revision]."""
    data: Annotated[Name, option("NAME|FOLDER", default="the data of the run")] = None
    """Data set, by its name or as a folder of images."""
    data_root: Annotated[Folder, option(default="that of the run")] = None
    """Folder of the named data sets; missing ones are downloaded into it."""
    split: Annotated[Literal["train", "test"] | None, option("{train,test}", default="that of the run")] = None
    """Split of a data set that has both."""
    method: Literal["vlb", "ode"] = "vlb"
    """vlb: the variational bound. ode: also the density of the probability-flow ODE."""
    dequantise: Literal["uniform", "variational"] = "uniform"
    """For --method ode, the noise in the bins: uniform, or normal with the noise of the cleanest level, cut to the bin.
    The latter is tighter where that level is cleaner than a bin."""
    n: int = 256
    """Number of images, the first of a fixed shuffle."""
    steps: Annotated[Number, option(default="all steps of the model's chain")] = None
    """Number of steps of the bound."""
    decoder: Literal["exact", "tanh"] = "exact"
    """Probability of a bin in the last step: exact, or by the tanh approximation of the reference code."""
    variance: Annotated[Name, option(default="that of the model")] = None
    """Another reverse variance: fixed_small, fixed_large or optimal.
    optimal is estimated first, from as many of the training images."""
    seed: int = 0
    """Random seed of the noise and of the choice of images."""
    batch_size: int = 64
    """Number of images that are evaluated together."""
    out: Annotated[File, option(default="none")] = None
    """JSON file to write."""
    figure: Annotated[File, option(default="none")] = None
    """Image file for a plot of the terms against t."""
    ema: On = True
    """Use the averaged (EMA) weights, as published figures do."""
    precision: Precision = "auto"
    """Number format of the network; auto is bf16 where the hardware multiplies it natively."""

    def __call__(self) -> int:
        run = hub.local(self.run, say)
        config = read_if_any(run.parent.parent if run.parent.name == "checkpoints" else run)
        if config is None and self.data is None:
            raise FromNoiseError(
                f"{shown(self.run)} has no configuration and so no data of its own: choose images with --data"
            )
        if self.n < 1 or self.batch_size < 1:
            raise FromNoiseError(f"--n and --batch-size must be at least 1, got {self.n} and {self.batch_size}")
        from fromnoise import guidance, variances
        from fromnoise.app import evaluation, figures
        from fromnoise.app.runs import open_model
        from fromnoise.data.config import DataConfig
        from fromnoise.data.loading import load
        from fromnoise.system.progress import counter

        denoiser = open_model(run, self.precision, self.ema).of_images().denoiser
        other = None if self.variance in (None, "optimal") else variances.build(self.variance)
        if other is not None and other.outputs > denoiser.variance.outputs:
            raise FromNoiseError(f"--variance {self.variance}: this model has no output for it; choose another")
        chain = denoiser.schedule.steps(self.steps, "uniform") if self.steps is not None else denoiser.schedule.chain
        evaluation.check_bits(denoiser)
        shape, root = denoiser.shape or (0, 0, 0), {"root": self.data_root} if self.data_root else {}
        changes = {"name": self.data} if self.data else {}
        changes |= {"split": self.split} if self.split else {}
        own = config.data if config is not None else DataConfig(name=self.data or "")
        images = load(own.at(shape, **changes, **root), counter)
        for path in (self.out, self.figure):
            if path is not None:
                writable(path)
        batches = -(-min(self.n, len(images)) // self.batch_size)
        if self.variance == "optimal":
            trained_on = load(own.at(shape, **root))
            with Bar("variance", batches * chain.steps) as bar:
                other = evaluation.variance_from(
                    denoiser, trained_on, self.n, chain, self.seed, self.batch_size, bar.advance
                )
        denoiser = denoiser if other is None else guidance.WithVariance(denoiser, other)
        with Bar("bits/dim", batches * chain.steps) as bar:
            report = evaluation.bits_per_dim(
                denoiser,
                images,
                self.n,
                chain=chain,
                method=self.method,
                decoder=self.decoder,
                dequantise=self.dequantise,
                seed=self.seed,
                batch_size=self.batch_size,
                callback=bar.advance,
            )
        if self.out:
            files.write_json(self.out, report)
        self._print(report, f"{report['n']} images of {images.name}, {chain.steps} steps")
        if self.figure is not None:
            figures.bound_terms(report, self.figure)
            print(f"{self.figure}   the terms over t")
        if self.data is None and self.split in (None, own.split):
            say("the model was trained on these images; choose others with --data")
        return 0

    def _print(self, report: dict[str, Any], what: str) -> None:
        print(f"{report['bits_per_dim']:.4f}{_error(report)} bits/dim on {what}")
        print(f"prior {report['prior']:.4f}   steps {sum(report['steps']):.4f}   decoder {report['decoder']:.4f}")
        if ode := report.get("ode"):
            print(f"{ode['bits_per_dim']:.4f}{_error(ode)} bits/dim by the ODE, {self.dequantise} dequantisation, "
                  f"{ode['calls']:.0f} network calls an image")  # fmt: skip


def _error(report: dict[str, Any]) -> str:
    return f" +- {report['standard_error']:.4f}" if report["standard_error"] is not None else ""
