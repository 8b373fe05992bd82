"""`fromnoise nll`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fromnoise.app.cli._options import File, Folder, Name, Number, Precision, Run, option
from fromnoise.app.cli._words import writable
from fromnoise.app.runs.config import read_if_any
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.system.disk.hub import shown
from fromnoise.system.progress import Bar, say
from fromnoise.weights import hub


@dataclass(frozen=True)
class Nll:
    """Bits per dimension: the variational bound of a model on 8-bit images, term by term.

    It costs one network call for every image and step. Printed and, with --out, written as JSON:
    {bits_per_dim, prior, steps, decoder, standard_error, n}. With --method ode the density of the probability-flow ODE
    stands beside it, as "ode" in the file: of images with noise in their bins, the divergence by Hutchinson's estimate.
    """

    run: Run
    """A run's folder, one of its checkpoints, a diffusers folder, or hf://owner/name[@revision]."""
    data: Name = None
    """A data set's name or a folder; by default what the run was trained on."""
    data_root: Folder = None
    """Where named data sets lie."""
    split: Annotated[Literal["train", "test"] | None, option("train|test")] = None
    """Of a data set that has both; by default the run's own."""
    method: Literal["vlb", "ode"] = "vlb"
    """vlb: the bound; ode: and the probability-flow ODE beside it."""
    dequantise: Literal["uniform", "variational"] = "uniform"
    """Of the ODE: the noise in the bins, even, or normal as the cleanest level's and cut to them: tighter where that
    level is cleaner than a bin."""
    n: int = 256
    """How many images, the first of a fixed shuffle."""
    steps: Number = None
    """Steps of the chain; by default every one of the model's."""
    decoder: Literal["exact", "tanh"] = "exact"
    """The bins of the last step: the normal distribution, or the reference code's approximation of it."""
    variance: Annotated[str | None, option("NAME")] = None
    """Another reverse variance than the model's: fixed_small, fixed_large, or optimal, which is estimated first from as
    many of the images that the run was trained on."""
    seed: int = 0
    """Of the noise and the choice of images."""
    batch_size: int = 64
    """Images that are looked at together."""
    out: File = None
    """JSON file to write."""
    figure: File = None
    """Picture of the terms over t."""
    ema: bool = True
    """The averaged weights."""
    precision: Precision = "auto"
    """auto: bf16 where the hardware multiplies it natively."""

    def __call__(self) -> int:
        run = hub.local(self.run, say)
        config = read_if_any(run.parent.parent if run.parent.name == "checkpoints" else run)
        if config is None and self.data is None:
            raise FromNoiseError(
                f"{shown(self.run)}: has no configuration, and so no data of its own: name images with --data"
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
            raise FromNoiseError(f"--variance {self.variance}: this model has no output for it")
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
            say("these images were trained on; name others with --data")
        return 0

    def _print(self, report: dict[str, Any], what: str) -> None:
        print(f"{report['bits_per_dim']:.4f}{_error(report)} bits/dim on {what}")
        print(f"prior {report['prior']:.4f}   steps {sum(report['steps']):.4f}   decoder {report['decoder']:.4f}")
        if ode := report.get("ode"):
            print(f"{ode['bits_per_dim']:.4f}{_error(ode)} bits/dim by the ODE, {self.dequantise} dequantisation, "
                  f"{ode['calls']:.0f} network calls an image")  # fmt: skip


def _error(report: dict[str, Any]) -> str:
    return f" +- {report['standard_error']:.4f}" if report["standard_error"] is not None else ""
