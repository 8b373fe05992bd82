"""What the three training commands share: their options, and continuing an existing run."""

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

# What may change when a run is resumed. Data may move: checkpoints record its content.
_FREE_ON_RESUME = {"train.steps", "train.minutes", "train.checkpoint_every", "train.keep", "train.sample_every",
                   "train.skip_nonfinite", "train.accumulate", "train.gradient_checkpointing",
                   "train.shard",
                   "data.name", "data.root", "data.workers", "data.memory", "data.cache", "data.cache_gb",
                   "compile"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long to train, on what data, and where to write."""

    data: Annotated[str | None, option("NAME|FOLDER", default="from the recipe")] = None
    """Data set name, folder of images (each sub-folder is a class), archive, array, table or hf://owner/name."""
    data_root: Annotated[Folder, option(default="~/.cache/fromnoise")] = None
    """Folder of the named data sets; missing ones are downloaded into it."""
    out: Annotated[Folder, option(default="runs/RECIPE; for a classifier, RUN/classifier")] = None
    """Folder of the run."""
    steps: Annotated[Number, option(default="from the recipe")] = None
    """Number of optimiser steps. An autoencoder that is trained first keeps the number of its own recipe."""
    minutes: Annotated[float | None, option("M", default="from the recipe")] = None
    """Minutes of training, instead of a number of steps; for cascades, minutes per stage."""
    batch_size: Annotated[Number, option(default="from the recipe")] = None
    """Number of examples per optimiser step, over all processes."""
    seed: Annotated[Number, option(default="from the recipe")] = None
    """Random seed of the weights, the noise and the order of the data."""
    precision: Annotated[Precision | None, option("{auto,fp32,bf16}", default="from the recipe")] = None
    """Number format of the network; auto is bf16 where the hardware multiplies it natively."""
    compile: Annotated[Compile | None, option("{auto,on,off}", default="from the recipe")] = None
    """torch.compile; auto compiles where it pays off, which is on CUDA."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff, option(default="off")] = False
    """Continue the run in --out, or start it if there is none."""
    track: Annotated[tuple[str, ...], option("NAME ...", default="none")] = ()
    """Also log to tensorboard, wandb or both."""
    set: Settings = ()
    """Any keys of config.yaml, for example --set train.lr=1e-3 network.channels=64 schedule=cosine."""

    def config(self, base: "Config", out: Path) -> "Config":
        """The configuration to train: `base` with these options applied, or that of the existing run in `out`.

        Raises FromNoiseError if the folder holds another run, or any run without --resume; and if an option or a key is
        unknown, out of range, or would turn the existing run into a different one.
        """
        asked = self._changes()
        if _holds_a_run(out) and not self.resume and not _may_start_again():
            raise FromNoiseError(f"{out} holds a run already: continue it with --resume, or choose another --out")
        if _holds_a_run(out, own=True):
            saved = read(out, type(base))
            if saved.recipe != base.recipe:
                raise FromNoiseError(f"{out} is a run of recipe {saved.recipe}, not {base.recipe}")
            config = saved.with_changes(asked)
            _same_run(saved, config, out)
        else:
            config = base.with_changes(asked)
        if config.train.steps is None and config.train.minutes is None:
            raise FromNoiseError("this run would never end: set --steps or --minutes")
        _folder(out)
        return config

    def trackers(self) -> "list[type[Tracker]]":
        """The trackers that --track names. Raises FromNoiseError for an unknown name."""
        return [tracking.get(name) for name in self.track]

    def _changes(self) -> dict[str, Any]:
        name = None if self.data is None else placed(self.data)
        root = str(files.expanded(self.data_root).resolve()) if self.data_root else None
        flags = {"data.name": name, "data.root": root,
                 "train.steps": self.steps, "train.minutes": self.minutes, "train.batch_size": self.batch_size,
                 "seed": self.seed, "precision": self.precision, "compile": self.compile}  # fmt: skip
        given: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
        if self.data is not None:
            given["data.channels"] = None  # as many as the images have, unless --set says otherwise
        return given | changes(self.set)


def _may_start_again() -> bool:
    """Whether torchrun restarts this run if one of its processes fails (--max-restarts): it then continues from the
    last checkpoint. torchrun's count of restarts does not tell, because every machine has its own."""
    return os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"


def _holds_a_run(out: Path, own: bool = False) -> bool:
    """Whether the folder has a configuration or checkpoints, or (unless `own`) a stage in it has a configuration."""
    there = os.path.lexists(out / "config.yaml") or any(out.glob("checkpoints/step-*"))
    return there or (not own and any(out.glob("*/config.yaml")))


def _same_run(saved: "RunConfig", config: "RunConfig", out: Path) -> None:
    """Raise FromNoiseError naming the first change that would turn the saved run into a different one."""
    before, after = flat(saved.model_dump(mode="json")), flat(config.model_dump(mode="json"))
    for key in sorted(before.keys() | after.keys()):
        plain = key.split(".", 2)[2] if key.startswith("stages.") and key.count(".") > 1 else key
        free = plain in _FREE_ON_RESUME or plain.split(".")[0] in ("sample", "evaluate")
        if before.get(key) != after.get(key) and not free:
            raise FromNoiseError(
                f"{out} was started with {key} {before.get(key)}, and {after.get(key)} would make it another run: "
                "leave that out, or choose another --out"
            )


def _folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(13, "permission denied")
    except OSError as error:
        raise FromNoiseError(f"--out {out}: cannot be written ({error.strerror or error})") from None
