"""Training a configuration into a run."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fromnoise.app.runs.before import before
from fromnoise.app.runs.config import CONFIG, flat, write
from fromnoise.app.runs.examples import kept_autoencoder
from fromnoise.app.runs.preparing import prepare
from fromnoise.app.runs.reporting import Reporting
from fromnoise.app.runs.taught import keep_image_text
from fromnoise.recipes.config import RunConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.system.disk.holding import held
from fromnoise.system.hardware import choose, tune
from fromnoise.system.progress import say
from fromnoise.train.distributed import Processes
from fromnoise.train.fit import fit
from fromnoise.train.progress import Watcher


def train(
    config: RunConfig,
    out: str | Path,
    autoencoder: str | Path | None = None,
    trackers: Sequence[Callable[[Path], Callable[[dict[str, Any]], Any]]] = (),
    init: Path | None = None,
    teacher: Path | None = None,
    image_text: Path | None = None,
) -> int:
    """Train into the folder `out`, or resume the run that is there; `fromnoise train` in Python.

    A cascade is trained stage by stage, each stage into its own folder below `out`. A latent model is trained after
    its autoencoder, which is trained into `out`/autoencoder unless there is one.

    Args:
        config: from `recipes.load(name).with_changes({...})`.
        out: the run's folder, which receives config.yaml, metrics.jsonl, samples/ and checkpoints/.
        autoencoder: for a latent model, the folder of a trained autoencoder. The run keeps a copy, so it is complete
            wherever it is moved.
        teacher: for a student, a run or saved model of the teacher. The run keeps a copy.
        image_text: for unCLIP, a run or saved model that computes the image embeddings. The run keeps a copy.
        init: a model whose weights the run starts from where they fit; ignored when a run resumes. A control branch
            requires it: the model that it steers.
        trackers: functions that take the run's folder and return a callable for every line of the log.

    Returns:
        0, or 128 plus the number of the signal that stopped training; a checkpoint is written in either case.

    Raises:
        FromNoiseError: if the data, the network and the objective do not fit together, or training fails.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tune(config.precision)
    processes = Processes()
    first, talk = processes.is_first, say if processes.is_first else _silent
    own = held(out, "trained") if first else nullcontext()
    with own, processes.started(choose(config.precision).device, flat(config.model_dump(mode="json"))):
        if image_text is not None:
            with processes.first_alone():  # the other processes look into the run, too
                keep_image_text(image_text, out)
        parts = before(config, out, autoencoder is not None or kept_autoencoder(config) is not None)
        if parts and first:
            write(config, out)  # before the parts, so that --resume knows what was begun
        for name, part in parts:
            talk(f"{name}, into {out / name}")
            rung = isinstance(part, Recipe) and part.distill is not None
            if status := train(part, out / name, trackers=trackers, teacher=teacher if rung else None):
                return status
            teacher = out / name if rung else teacher
        if isinstance(config, Recipe) and config.stages:
            talk(f"next: fromnoise sample {out} --n 64 --out {out.name}.png")
            return 0
        ready = prepare(config, out, processes, talk, autoencoder, init, teacher)
        config, report = ready.config, Reporting(ready.config, out, ready.source, ready.task, talk)
        fitted = fit(
            ready.task,
            ready.source,
            out=out,
            resume=True,
            seed=config.seed,
            precision=config.precision,
            compile=config.compile,
            flip=ready.flip,
            workers=config.data.workers,
            validation=config.data.hold_out or None,
            callbacks=[make(out) for make in trackers] if first else (),
            watcher=Watcher(report.start, report.sample, report.warn, lines=True, wants_model=False),
            notes={CONFIG: config.model_dump(mode="json")},
            **config.train.model_dump(),
        )
        status = report.end(fitted)
        if status == 0 and config.kind == "classifier" and first:
            from fromnoise.app.evaluation import draw_accuracy  # imported here because evaluation opens runs

            draw_accuracy(out, ready.images)
        return status


def _silent(text: str) -> None:
    """Used by processes that print nothing."""
