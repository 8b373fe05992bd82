"""What the three commands that train share: their options, and going on with a run that is there."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from fromnoise.app import tracking
from fromnoise.app.cli._options import Compile, Folder, Number, Precision, Settings, option
from fromnoise.app.cli._words import changes, placed
from fromnoise.app.runs.config import flat, read
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

if TYPE_CHECKING:
    from fromnoise.app.tracking.base import Tracker
    from fromnoise.recipes.config import RunConfig

    Config = TypeVar("Config", bound=RunConfig)

# What a resumed run may change and still be the same run. Data may move: checkpoints know their content.
_FREE_ON_RESUME = {"train.steps", "train.minutes", "train.checkpoint_every", "train.keep", "train.sample_every",
                   "train.skip_nonfinite", "train.accumulate", "train.gradient_checkpointing",
                   "train.shard",
                   "data.name", "data.root", "data.workers", "data.memory", "data.cache", "data.cache_gb",
                   "compile"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long, on what, and where to."""

    data: Annotated[str | None, option("NAME|FOLDER")] = None
    """A data set's name, or a folder of images (a sub-folder is a class)."""
    data_root: Folder = None
    """Where named data sets lie; what is missing is downloaded there."""
    out: Folder = None
    """Folder of the run; runs/RECIPE unless named (RUN/classifier for a classifier)."""
    steps: Number = None
    """Optimiser steps; the autoencoder that a model of latents needs first has its recipe's own."""
    minutes: Annotated[float | None, option("M")] = None
    """Minutes of training, in place of a number of steps; of each stage of a cascade."""
    batch_size: Number = None
    """Images of one step."""
    seed: Number = None
    """Of weights, noise and order."""
    precision: Annotated[Precision | None, option("auto|fp32|bf16")] = None
    """auto: bf16 where the hardware multiplies it natively."""
    compile: Annotated[Compile | None, option("auto|on|off")] = None
    """torch.compile; auto: where it pays, which is on CUDA."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on with the run in --out; start it where there is none."""
    track: Annotated[tuple[str, ...], option("NAME")] = ()
    """Show the log elsewhere too: tensorboard, wandb, or both."""
    set: Settings = ()
    """Any key of config.yaml, e.g. --set train.lr=1e-3 network.channels=64 schedule=cosine."""

    def config(self, base: "Config", out: Path) -> "Config":
        """What is trained: the base with what was asked for, or the run that is there.

        Raises:
            FromNoiseError: the folder holds another run, or one and no --resume; or what was asked for is no number of
                steps, no key, or would make the run another one.
        """
        asked = self._changes()
        if _holds_a_run(out) and not self.resume and not _may_start_again():
            raise FromNoiseError(f"{out} holds a run already: go on with --resume, or name another folder with --out")
        if _holds_a_run(out, own=True):
            saved = read(out, type(base))
            if saved.recipe != base.recipe:
                raise FromNoiseError(f"{out} is a run of recipe {saved.recipe}, not {base.recipe}")
            config = saved.with_changes(asked)
            _same_run(saved, config, out)
        else:
            config = base.with_changes(asked)
        if config.train.steps is None and config.train.minutes is None:
            raise FromNoiseError("this run would never end: give --steps or --minutes")
        _folder(out)
        return config

    def trackers(self) -> "list[type[Tracker]]":
        """What --track names.

        Raises:
            FromNoiseError: an unknown name.
        """
        return [tracking.get(name) for name in self.track]

    def _changes(self) -> dict[str, Any]:
        name = None if self.data is None else placed(self.data)
        root = str(files.expanded(self.data_root).resolve()) if self.data_root else None
        flags = {"data.name": name, "data.root": root,
                 "train.steps": self.steps, "train.minutes": self.minutes, "train.batch_size": self.batch_size,
                 "seed": self.seed, "precision": self.precision, "compile": self.compile}  # fmt: skip
        given: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
        if self.data is not None:
            given["data.channels"] = None  # what the images have, unless --set says otherwise
        return given | changes(self.set)


def _may_start_again() -> bool:
    """Whether torchrun starts this run anew where a process of it fails (--max-restarts): it then goes on from the last
    checkpoint. How often it did is no sign, since each machine counts its own failures alone."""
    return os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"


def _holds_a_run(out: Path, own: bool = False) -> bool:
    """Its own configuration or checkpoints, or that of a part which was begun."""
    there = os.path.lexists(out / "config.yaml") or any(out.glob("checkpoints/step-*"))
    return there or (not own and any(out.glob("*/config.yaml")))


def _same_run(saved: "RunConfig", config: "RunConfig", out: Path) -> None:
    """Raises: FromNoiseError naming the first difference that would make it another run."""
    before, after = flat(saved.model_dump(mode="json")), flat(config.model_dump(mode="json"))
    for key in sorted(before.keys() | after.keys()):
        plain = key.split(".", 2)[2] if key.startswith("stages.") and key.count(".") > 1 else key
        free = plain in _FREE_ON_RESUME or plain.split(".")[0] in ("sample", "evaluate")
        if before.get(key) != after.get(key) and not free:
            raise FromNoiseError(
                f"{out} was started with {key} {before.get(key)}, and {after.get(key)} would make it another run: "
                "leave it out, or name another folder with --out"
            )


def _folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(13, "permission denied")
    except OSError as error:
        raise FromNoiseError(f"--out {out}: cannot be written ({error.strerror or error})") from None
