"""`fromnoise encode`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fromnoise.app.cli._options import File, Folder, Name, Number, Precision, Settings, option
from fromnoise.app.cli._words import changes, placed
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.system.disk import files

if TYPE_CHECKING:
    from fromnoise.app.encoding.asked import Encoded
    from fromnoise.data.config import DataConfig

_KEYS = ("columns", "split", "channels", "background", "fit", "keep_depth", "memory")
"""The keys of `data` that affect the images and have no option of their own."""


@dataclass(frozen=True, kw_only=True)
class Encode:
    """Encode a data set ahead of training.

    examples:
      fromnoise encode ~/photos --size 256 --autoencoder runs/kl --out latents
          Encode images as latents of an autoencoder.
      fromnoise encode emoji --text minilm --out emoji-words
          Encode captions with a text encoder.
      fromnoise train digits-latent --data latents
          Then train on the encoded data.

    details:
      The result is written in parts, each with the SHA-256 of its files. Start
      the same command as often as you like, also on other machines that share
      the folder: each process takes parts that no other has, and all end when
      every part is complete. After a kill, the same command continues; a damaged
      part is made again.
      Several processes:
        torchrun --nproc-per-node 8 -m -- fromnoise encode DATA ...
    """

    data: Annotated[str, tyro.conf.Positional, option("DATA")]
    """Data set name, folder of images, archives, array, table or hf://owner/name, as for `train --data`."""
    out: Annotated[Path, option("FOLDER")]
    """Folder of the encoded data set, for `train --data`; it also holds a copy of the autoencoder."""
    autoencoder: Annotated[File, option("MODEL", default="none")] = None
    """Encode the images with this autoencoder.
    It is a run, a saved model, a diffusers VAE or pipeline, or hf://owner/name; a latent model will do."""
    text: Annotated[Name, option(default="none")] = None
    """Encode the captions with this text encoder; see `fromnoise list text-encoders`."""
    size: Annotated[tuple[int, ...], option("N ...", default="that of the data set")] = ()
    """Height and width of the images, as one number or two."""
    flip: Annotated[bool, tyro.conf.FlagCreatePairsOff, option(default="off")] = False
    """Also encode the mirror image of every image, for trainings with data.flip=true."""
    part: Annotated[Number, option(default="about 4096, or as the folder was begun")] = None
    """Number of examples in a part, a multiple of --batch-size. A kill loses at most one part."""
    batch_size: Annotated[Number, option(default="64, or as the folder was begun")] = None
    """Number of images that are encoded together. The last bits of a latent depend on it."""
    data_root: Annotated[Folder, option(default="~/.cache/fromnoise")] = None
    """Folder of the named data sets; missing ones are downloaded into it."""
    precision: Precision = "auto"
    """Number format of the autoencoder.
    auto is what the folder was begun with, else bf16 where the hardware multiplies it natively."""
    set: Settings = ()
    """Other keys of data, and options of the text encoder: --set data.fit=pad data.channels=3 text.length=64."""

    def __call__(self) -> int:
        if self.autoencoder is None and self.text is None:
            raise FromNoiseError("nothing to encode with: give --autoencoder MODEL, --text ENCODER, or both")
        config, words = self._data(), self._words()
        from fromnoise.app.encoding.asked import encode
        from fromnoise.system.hardware import tune

        tune(self.precision)
        found = encode(config, self.out, self.autoencoder, words, self.part, self.batch_size, self.flip, self.precision)
        _tell(found)
        return 0

    def _data(self) -> "DataConfig":
        """The configuration of DATA. Raises FromNoiseError for an unknown key or an invalid value."""
        from fromnoise import recipes
        from fromnoise.data.config import DataConfig

        if len(self.size) > 2:
            raise FromNoiseError(f"--size takes one number, or height and width, got {len(self.size)} numbers")
        given = {"data.name": placed(self.data), "data.channels": None,
                 "data.size": list(self.size) if len(self.size) == 2 else next(iter(self.size), None),
                 "data.root": str(files.expanded(self.data_root).resolve()) if self.data_root else None}  # fmt: skip
        for key, value in changes(self.set).items():
            part, _, name = key.partition(".")
            if part == "text" and name:
                continue
            if part != "data" or name not in _KEYS:
                known = [f"data.{own}" for own in _KEYS] + ([f"text.{self.text}'s options"] if self.text else [])
                raise unknown("key of --set", key, known)
            given[key] = value
        return recipes.load("images").model_copy(update={"data": DataConfig()}).with_changes(given).data

    def _words(self) -> dict[str, Any] | None:
        """The text encoder with its options.

        Raises FromNoiseError for an unknown encoder, or for options without an encoder.
        """
        from fromnoise.nn import text

        own = {key.partition(".")[2]: value for key, value in changes(self.set).items() if key.startswith("text.")}
        if self.text is None:
            if own:
                raise FromNoiseError(
                    f"--set text.{next(iter(own))} is an option of the text encoder: choose one with --text"
                )
            return None
        text.registry.check(self.text)
        return {**own, "name": self.text}


def _tell(found: "Encoded") -> None:
    """Describe the data set on standard error and print its folder; only the first of all processes does."""
    from fromnoise.system.progress import say
    from fromnoise.train.distributed import Processes

    if not Processes().is_first:
        return
    about = found.description
    what = (
        [f"{about.number * (1 + about.flip):,} latents of {'x'.join(map(str, about.latent))}"] if about.latent else []
    )
    what += [f"{about.number:,} encoded captions"] if about.text else []
    whole = f"{found.folder}: {' and '.join(what)} of {about.data} in {about.said}, complete"
    say(f"{whole}; {found.made:,} made now" if found.made else f"{whole}: nothing left to do")
    print(found.folder)
    recipe = "digits-latent" if about.latent else "emoji-text"
    say(f"next: fromnoise train RECIPE --data {found.folder}, with a recipe such as {recipe}")
