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
"""Of `data`, what decides the images and has no option of its own."""


@dataclass(frozen=True, kw_only=True)
class Encode:
    """Encode a data set for trainings to come: latents of an autoencoder, captions of a text encoder.

      fromnoise encode ~/photos --size 256 --autoencoder runs/kl --out photos-latents
      fromnoise encode emoji --text minilm --out emoji-words
      fromnoise train digits-latent --data photos-latents

    In parts, each with the SHA-256 of its files. Start it as often as you like, also on other machines that share the
    folder: each takes parts that nobody has made, and all end when all parts are whole. After a kill the same command
    goes on; a part that was damaged is made again. Many processes: torchrun --nproc-per-node 8 -m -- fromnoise encode
    DATA ...
    """

    data: Annotated[str, tyro.conf.Positional, option("DATA")]
    """As train --data takes it: a data set's name, a folder of images, archives, an array, a table or hf://owner/name."""
    out: Annotated[Path, option("FOLDER")]
    """Of the encoded data set, which train --data takes; it holds a copy of the autoencoder."""
    autoencoder: Annotated[File, option("MODEL")] = None
    """Whose latents: a run or a saved model of an autoencoder or a latent model, a diffusers VAE or pipeline, or
    hf://owner/name."""
    text: Name = None
    """Encode the captions by this encoder (see `fromnoise list text-encoders`), each different one of a part once."""
    size: Annotated[tuple[int, ...], option("N")] = ()
    """Height and width of the images, one number or two; by default their own."""
    flip: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Encode the mirror image of every image, too, for trainings with data.flip=true."""
    part: Number = None
    """Examples in a part, which a kill loses at most: a multiple of --batch-size, 4096 by default."""
    batch_size: Number = None
    """Images that are encoded together, 64 by default. The last bits of a latent depend on it."""
    data_root: Folder = None
    """Where named data sets lie; what is missing is downloaded there."""
    precision: Precision = "auto"
    """Of the autoencoder; auto: bf16 where the hardware multiplies it natively, or what the folder was begun with."""
    set: Settings = ()
    """Other keys of data, and options of the text encoder: --set data.fit=pad data.channels=3 text.length=64."""

    def __call__(self) -> int:
        if self.autoencoder is None and self.text is None:
            raise FromNoiseError("nothing to encode with: name --autoencoder MODEL, --text ENCODER, or both")
        config, words = self._data(), self._words()
        from fromnoise.app.encoding.asked import encode
        from fromnoise.system.hardware import tune

        tune(self.precision)
        found = encode(config, self.out, self.autoencoder, words, self.part, self.batch_size, self.flip, self.precision)
        _tell(found)
        return 0

    def _data(self) -> "DataConfig":
        """What DATA means.

        Raises:
            FromNoiseError: an unknown key, or a value that it cannot have.
        """
        from fromnoise import recipes
        from fromnoise.data.config import DataConfig

        if len(self.size) > 2:
            raise FromNoiseError(f"--size takes one number, or height and width, got {len(self.size)}")
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

        Raises:
            FromNoiseError: no such encoder, or options without one.
        """
        from fromnoise.nn import text

        own = {key.partition(".")[2]: value for key, value in changes(self.set).items() if key.startswith("text.")}
        if self.text is None:
            if own:
                raise FromNoiseError(
                    f"--set text.{next(iter(own))}: is an option of the text encoder: name it with --text"
                )
            return None
        text.registry.check(self.text)
        return {**own, "name": self.text}


def _tell(found: "Encoded") -> None:
    """On standard error what there is, and on standard output the folder; of all processes the first."""
    from fromnoise.system.progress import say
    from fromnoise.train.distributed import Processes

    if not Processes().is_first:
        return
    about = found.description
    what = (
        [f"{about.number * (1 + about.flip):,} latents of {'x'.join(map(str, about.latent))}"] if about.latent else []
    )
    what += [f"{about.number:,} encoded captions"] if about.text else []
    whole = f"{found.folder}: {' and '.join(what)} of {about.data} in {about.said}, whole"
    say(f"{whole}; {found.made:,} made now" if found.made else f"{whole}: nothing was left to do")
    print(found.folder)
    recipe = "digits-latent" if about.latent else "emoji-text"
    say(f"next: fromnoise train RECIPE --data {found.folder}, with a recipe such as {recipe}")
