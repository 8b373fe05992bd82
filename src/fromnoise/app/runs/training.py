"""Training a configuration into a run."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fromnoise.app.runs.before import TEACHER, before
from fromnoise.app.runs.config import CONFIG, flat, write
from fromnoise.app.runs.latents import encoding, examples_of, kept_autoencoder
from fromnoise.app.runs.model import open_model
from fromnoise.app.runs.passing import Passing
from fromnoise.data.paired import Paired, reflow_pairs
from fromnoise.data.worded import Worded
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.nn import text
from fromnoise.nn.text.base import TextEncoder
from fromnoise.recipes.config import RunConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.system.disk import files, storage
from fromnoise.system.disk.holding import held
from fromnoise.system.disk.pictures import grid, save
from fromnoise.system.hardware import choose, peak_memory, tune
from fromnoise.system.progress import counter, say
from fromnoise.train.distributed import Processes
from fromnoise.train.fit import Fitted, fit
from fromnoise.train.progress import Watcher
from fromnoise.train.task import Task
from fromnoise.train.trainer import Trainer
from fromnoise.weights import guides, native

PAIRS = "pairs"
"""Folder name, inside a student's run, of the pairs that its teacher draws."""


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
    own = held(out, "trained") if processes.is_first else nullcontext()
    with own, processes.started(choose(config.precision).device, flat(config.model_dump(mode="json"))):
        if image_text is not None:
            with processes.first_alone():  # the other processes look into the run, too
                _keep(image_text, out / native.IMAGE_TEXT, guides.load_image_text)
        parts = before(config, out, autoencoder is not None or kept_autoencoder(config) is not None)
        if parts and processes.is_first:
            write(config, out)  # before the parts, so that --resume knows what was begun
        for name, part in parts:
            if processes.is_first:
                say(f"{name}, into {out / name}")
            rung = isinstance(part, Recipe) and part.distill is not None
            if status := train(part, out / name, trackers=trackers, teacher=teacher if rung else None):
                return status
            teacher = out / name if rung else teacher
        if not (isinstance(config, Recipe) and config.stages):
            return _train_one(config, out, autoencoder, processes, trackers, init, teacher)
        if processes.is_first:
            say(f"next: fromnoise sample {out} --n 64 --out {out.name}.png")
        return 0


def _train_one(
    config: RunConfig, out: Path, autoencoder: str | Path | None, processes: Processes, trackers: Sequence[Any],
    init: Path | None, teacher: Path | None,
) -> int:  # fmt: skip
    talk = say if processes.is_first else _silent
    begun = any(out.glob("checkpoints/step-*"))
    if isinstance(config, Recipe) and config.is_branch and init is None and not begun:
        raise FromNoiseError(f"{config.recipe}: a branch needs the model that it steers, and the run has none yet: "
                             "name its run or a saved model")  # fmt: skip
    with processes.first_alone():
        taught: dict[str, Any] = {}
        kept: Denoiser | None = None
        if isinstance(config, Recipe) and config.distill is not None:
            taught["teacher"] = kept = _teacher(teacher, out)
            autoencoder = autoencoder or (out / TEACHER / native.AUTOENCODER if kept and kept.codec else None)
        if (autoencoder := autoencoder or kept_autoencoder(config)) is not None:
            _keep(autoencoder, out / native.AUTOENCODER, native.load_autoencoder)
        images = examples_of(config, counter if processes.is_first else None)
        config = config.for_images(images, talk)
        encode = None
        if isinstance(config, Recipe) and config.latent is not None:
            encode = encoding(images, out, choose(config.precision), config.data.flip, processes)
    source, codec = encode() if encode is not None else (images, None)  # every process takes part
    with processes.first_alone():
        if isinstance(config, Recipe) and config.unclip is not None:
            from fromnoise.app.runs.embedded import embedded

            source = embedded(images, out, config.unclip, choose(config.precision),
                              counter if processes.is_first else None)  # fmt: skip
        if (words := getattr(config, "text", None)) is not None:
            encoder = text.build(words.encoder)
            if kept is not None and kept.text is not None and kept.text.options == encoder.options:
                encoder = kept.text  # a student uses its teacher's text encoder, even if the captions have changed
            elif init is not None and not begun:
                encoder = _of_start(init, encoder)
            source = Worded(source, encoder, images.captions,
                            counter if processes.is_first else None)  # fmt: skip
        if isinstance(config, Recipe) and kept is not None and (way := config.distilling(kept)).draws_pairs:
            source = _pairs(way, config.seed, out)
        sampled = Passing(config) if isinstance(config, Recipe) and len(source.shape) > 1 else None
        task = config.task(source, codec, sampled, **taught)
        if init is not None and not begun:
            from fromnoise.app.runs.starting import start_from

            start_from(init, task, talk)
    for note in source.notes if isinstance(source, Worded) else images.notes:
        talk(f"fromnoise: warning: {note}")
    run = _Run(config, out, source, source.name if isinstance(source, Paired) else images.name, task, talk)
    fitted = fit(
        task,
        source,
        out=out,
        resume=True,
        seed=config.seed,
        precision=config.precision,
        compile=config.compile,
        flip=config.data.flip and codec is None,  # latents include those of mirror images already
        workers=config.data.workers,
        validation=config.data.hold_out or None,
        callbacks=[make(out) for make in trackers] if processes.is_first else (),
        watcher=Watcher(
            run.start, run.sample, lambda text: talk(f"fromnoise: warning: {text}"), lines=True, wants_model=False
        ),
        notes={CONFIG: config.model_dump(mode="json")},
        **config.train.model_dump(),
    )
    status = run.end(fitted)
    if status == 0 and config.kind == "classifier" and processes.is_first:
        from fromnoise.app.evaluation import draw_accuracy  # imported here because evaluation opens runs

        draw_accuracy(out, images)
    return status


def _of_start(init: Path, encoder: TextEncoder) -> TextEncoder:
    """The text encoder of the `init` model if it is of the same kind, since the weights were trained on its tokens."""
    theirs = getattr(open_model(init, "fp32").denoiser, "text", None)
    return theirs if type(theirs) is type(encoder) and theirs.options == encoder.options else encoder


def _pairs(way: Any, seed: int, out: Path) -> Paired:
    """Pairs drawn by the teacher and kept in the run.

    Raises:
        FromNoiseError: if the teacher is conditioned on an image, which the pairs do not store.
    """
    teacher = way.teacher.to(choose().device)
    if getattr(teacher.network, "image_channels", 0):
        raise FromNoiseError("teacher: it is conditioned on an image: draw the pairs in Python, with "
                             "data.reflow_pairs and cond={'image': ...}")  # fmt: skip
    return reflow_pairs(teacher, way.pairs, sampler=way.sampler, steps=way.steps, seed=seed, folder=out / PAIRS,
                        progress=True)  # fmt: skip


def _teacher(given: Path | None, out: Path) -> Denoiser | None:
    """Return the run's teacher, and copy it into the run if there is no copy yet.

    Raises:
        FromNoiseError: if there is no model, or the run already has another teacher.
    """
    place = out / TEACHER
    try:
        kept = native.load(place) if place.exists() else None
    except FromNoiseError as error:
        raise FromNoiseError(f"{error}: delete {place}, and name the teacher again") from None
    if given is None:
        return kept
    found = open_model(given, "fp32").denoiser
    if kept is None:
        native.save(found, place)
    elif storage.fingerprint(kept.network.state_dict()) != storage.fingerprint(found.network.state_dict()):
        raise FromNoiseError(f"{place} holds another teacher than {given}: name another folder for the run")
    return found


def _keep(model: str | Path, place: Path, load: Callable[[str | Path], Any]) -> None:
    """Copy a model into the run, unless it is already there.

    Raises:
        FromNoiseError: if the run holds another model.
    """
    given = load(model)
    if not place.exists():
        native.save(given, place)
    elif storage.fingerprint(load(place).state_dict()) != storage.fingerprint(given.state_dict()):
        raise FromNoiseError(f"{place} holds another {place.name} than {model}: name another folder for the run")


def _silent(text: str) -> None:
    """Used by processes that print nothing."""


class _Run:
    """What a run prints and draws for the user."""

    def __init__(self, config: RunConfig, out: Path, source: Any, name: str, task: Task, talk: Callable[[str], None]):
        self.config, self.out, self.source, self.name, self.task, self.talk = config, out, source, name, task, talk
        self.done_before = self.writes = False

    def start(self, trainer: Trainer, resumed: bool) -> None:
        self.writes = trainer.processes.is_first
        self.done_before = resumed and trainer.is_finished()
        if self.done_before:
            self.talk(f"{self.out} is finished: {trainer.progress.step} steps, loss {trainer.progress.loss:.4f}")
            return
        if trainer.processes.is_first:
            write(self.config, self.out)
        count = sum(p.numel() for p in trainer.network.parameters())
        trained = sum(p.numel() for p in trainer.weights.values())
        counted = f"{count:,} parameters" + (f", {trained:,} of them trained" if trained < count else "")
        shape = "x".join(map(str, self.source.shape))
        what = f"{len(self.source):,} {self.config.examples_are} of {shape} from {self.name}"
        self.talk(f"{self.config.recipe}: {counted}, {what}, on {trainer.hardware.why}")
        if resumed:
            self.talk(f"resuming after step {trainer.progress.step}")

    def sample(self, step: int) -> None:
        looked = self.task.picture(self.source)
        if looked is not None and self.writes:
            save(grid(*looked), files.own_folder(self.out / "samples") / f"step-{step:08d}.png")

    def end(self, fitted: Fitted) -> int:
        p = fitted.progress
        if fitted.stopped:
            self.talk(f"stopped after step {p.step}, nothing is lost; continue with the same command and --resume")
            return 128 + fitted.stopped
        if not self.done_before:
            held_out = "" if p.validation is None else f", held-out {p.validation:.4f}"
            self.talk(f"trained {p.step} steps, {p.images:,} images in {p.seconds / 60:.1f} minutes "
                      f"({p.images / max(p.seconds, 1e-9):.0f} images/s), loss {p.loss:.4f}{held_out}"
                      f"{peak_memory(choose().device)}")  # fmt: skip
        self.talk(f"next: {self.config.next_command(self.out)}")
        return 0
