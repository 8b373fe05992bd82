"""What a run trains, and the examples that it learns from, as its configuration says."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fromnoise.app.runs.before import TEACHER
from fromnoise.app.runs.examples import examples_of, kept_autoencoder
from fromnoise.app.runs.passing import Passing
from fromnoise.app.runs.taught import keep_autoencoder, pairs_of, teacher_of, words_of
from fromnoise.data.examples import Examples
from fromnoise.data.images import Images
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.recipes.config import RunConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.system.hardware import choose
from fromnoise.system.progress import counter
from fromnoise.train.distributed import Processes
from fromnoise.train.task import Task
from fromnoise.weights.describing import AUTOENCODER


@dataclass(frozen=True)
class Prepared:
    """A task and its data.

    Attributes:
        config: the configuration, completed by what the data says.
        task: the network and its loss.
        source: the examples that it learns from: `images`, or their latents, captions, embeddings or pairs.
        images: the data set.
        flip: whether half of the examples are mirrored during training.
    """

    config: RunConfig
    task: Task
    source: Examples
    images: Images
    flip: bool


def prepare(
    config: RunConfig,
    out: Path,
    processes: Processes,
    talk: Callable[[str], None],
    autoencoder: str | Path | None,
    init: Path | None,
    teacher: Path | None,
) -> Prepared:
    """Load the data and build the task; all processes of a run must call this.

    Args:
        config: the configuration of a single training.
        out: the run's folder.
        processes: the processes of the run.
        talk: shows a line to the user.
        autoencoder, init, teacher: see `runs.train`.

    Raises:
        FromNoiseError: if the data, the network and the objective do not fit together, or a model is missing.
    """
    begun = any(out.glob("checkpoints/step-*"))
    if isinstance(config, Recipe) and config.is_branch and init is None and not begun:
        raise FromNoiseError(f"{config.recipe}: a branch needs the model that it steers, and the run has none yet: "
                             "name its run or a saved model")  # fmt: skip
    init = None if begun else init
    bar = counter if processes.is_first else None
    with processes.first_alone():
        taught: dict[str, Any] = {}
        kept: Denoiser | None = None
        if isinstance(config, Recipe) and config.distill is not None:
            taught["teacher"] = kept = teacher_of(teacher, out)
            autoencoder = autoencoder or (out / TEACHER / AUTOENCODER if kept and kept.codec else None)
        if (autoencoder := autoencoder or kept_autoencoder(config)) is not None:
            keep_autoencoder(autoencoder, out)
        images = examples_of(config, bar)
        config, notes = config.for_images(images, talk), images.notes
        encode = None
        if isinstance(config, Recipe) and config.latent is not None:
            from fromnoise.app.runs.latents import encoding

            encode = encoding(images, out, choose(config.precision), config.data.flip, processes)
    source, codec = encode() if encode is not None else (images, None)  # every process takes part
    with processes.first_alone():
        if isinstance(config, Recipe) and config.unclip is not None:
            from fromnoise.app.runs.embedded import embedded

            source = embedded(images, out, config.unclip, choose(config.precision), bar)
        if (words := getattr(config, "text", None)) is not None:
            from fromnoise.data.worded import Worded

            source = Worded(source, words_of(words.encoder, kept, init), images.captions, bar)
            notes = source.notes
        if isinstance(config, Recipe) and kept is not None and (way := config.distilling(kept)).draws_pairs:
            source = pairs_of(way, config.seed, out)
        sampled = Passing(config) if isinstance(config, Recipe) and len(source.shape) > 1 else None
        task = config.task(source, codec, sampled, **taught)
        if init is not None:
            from fromnoise.app.runs.starting import start_from

            start_from(init, task, talk)
    for note in notes:
        talk(f"fromnoise: warning: {note}")
    return Prepared(config, task, source, images, config.data.flip and codec is None)
