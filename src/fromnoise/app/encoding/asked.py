"""Encoding a data set: checks the request before anything is computed, and prepares the folder."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fromnoise.app.encoding.work import Work
from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.data import precomputed
from fromnoise.data.config import DataConfig
from fromnoise.data.images import Images
from fromnoise.data.loading import load
from fromnoise.data.precomputed import Description
from fromnoise.data.worded import insist_on_captions
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.nn import text
from fromnoise.nn.coder import Autoencoder
from fromnoise.nn.text.base import TextEncoder, tidy
from fromnoise.registry import spec
from fromnoise.system import checks
from fromnoise.system.disk import files, storage
from fromnoise.system.disk.claims import Claims
from fromnoise.system.hardware import Hardware, Precision, choose
from fromnoise.system.progress import counter, say, warn
from fromnoise.train.distributed import Processes
from fromnoise.weights import hub, native, opening

_FORMATS: dict[str, Precision] = {"float32": "fp32", "bfloat16": "bf16"}
_MOST = 2**20


@dataclass(frozen=True)
class Encoded:
    """The result of `encode`.

    Attributes:
        folder: folder of the encoded data set.
        description: description of the data set.
        made: number of parts that this process made.
        hardware: the hardware that it computed on.
    """

    folder: Path
    description: Description
    made: int
    hardware: Hardware


def encode(
    config: DataConfig,
    folder: Path,
    autoencoder: Path | None = None,
    words: Mapping[str, Any] | None = None,
    part: int | None = None,
    batch: int | None = None,
    flip: bool = False,
    precision: Precision = "auto",
) -> Encoded:
    """Encode a data set into latents, caption embeddings or both; `fromnoise encode` in Python.

    Any number of processes may call this at once, on machines that share the folder; each makes parts until all exist.
    Parts finished by a killed process are kept.

    Args:
        config: the data. If it sets no channels, images are converted to the autoencoder's.
        folder: folder of the encoded data set: a new one, or one in which the same encoding was begun.
        autoencoder: an autoencoder, or a model that has one; see `load_autoencoder`.
        words: {"name": ..., option: value}, the text encoder for the captions.
        part: number of examples per part, a multiple of `batch`; default: from the folder, else about 4096.
        batch: number of images encoded together; default: from the folder, else 64.
        flip: also encode the mirror image of every image.
        precision: precision of the autoencoder; "auto" is the folder's, else the best of the hardware.

    Raises:
        FromNoiseError: if neither an autoencoder nor a text encoder is given, the arguments do not fit together, or
            the folder holds something else.
        OSError: if the disk is full, or the folder is not writable.
    """
    if autoencoder is None and words is None:
        raise FromNoiseError("nothing to encode with: name an autoencoder, a text encoder, or both")
    if autoencoder is None and flip:
        raise FromNoiseError("flip: applies to latents, and no autoencoder is named: leave it off")
    if precomputed.named(config.name) is not None:
        raise FromNoiseError(f"{files.one_line(config.name)}: is encoded already: name the data that it was made from")
    folder = files.expanded(folder)
    before = _insist_on_room(folder)
    part, batch = _sizes(part, batch, before)
    encoder = None if words is None else text.build(words)
    network = None if autoencoder is None else load_autoencoder(autoencoder)
    if network is not None and config.channels is None:
        config = config.model_copy(update={"channels": network.in_channels})
    processes = Processes()
    images = load(config, counter if processes.is_first else None)
    hardware = choose(_FORMATS[before.precision] if before and precision == "auto" else precision)
    codec = None if network is None else Autoencoded(network)
    asked = describe(images, codec, hardware, flip, part, batch)
    asked = asked.model_copy(update=_captioned(images, encoder) | {"source": config.model_dump(mode="json")})
    folder.mkdir(parents=True, exist_ok=True)
    with Claims().waited_for(folder / f"{precomputed.DESCRIPTION}.claim"):
        description = _begun(folder, asked, images, encoder, network)
    ready = None if description.text is None else text.build(description.text)
    if codec is not None:
        hardware.prepare(codec.network, inference=True)
    if processes.is_first:
        for note in images.notes:
            warn(note)
        say(f"{description.number:,} images of {images.name} in {description.said}, on {hardware.why}")
    work = Work(folder, description, images, codec.encode if codec else None, ready, processes.is_first,
                processes.rank / processes.world)  # fmt: skip
    return Encoded(folder, description, work.run(), hardware)


def describe(
    images: Images, codec: Autoencoded | None, hardware: Hardware, flip: bool, part: int, batch: int
) -> Description:
    """Describe the latents of a data set.

    Raises:
        FromNoiseError: if the autoencoder does not fit the channels or the size of the images.
    """
    found = Description(data=images.name, number=len(images), shape=images.shape, classes=tuple(images.classes),
                        content=images.content(), part=part, batch=batch)  # fmt: skip
    if codec is None:
        return found
    channels = codec.network.in_channels
    if channels != images.shape[0]:
        raise FromNoiseError(f"the autoencoder takes images with {channels} channels, and {images.name} has "
                             f"{images.shape[0]}")  # fmt: skip
    precision = str(hardware.dtype).removeprefix("torch.")
    return found.model_copy(update={"autoencoder": codec.sha256, "latent": codec.network.latent_shape(images.shape),
                                    "precision": precision, "flip": flip})  # fmt: skip


def load_autoencoder(path: Path) -> Autoencoder:
    """Load the autoencoder of `path`, in float32.

    `path` may be a run or saved model of an autoencoder or of a latent model, an encoded data set, or a diffusers
    pipeline or its VAE alone.

    Raises:
        FromNoiseError: if there is no autoencoder, or it is damaged.
    """
    where = hub.local(path, say)
    if opening.is_foreign(where):
        model = opening.read(where, warn)
        codec = model.codec if isinstance(model, Denoiser) else None
        return codec.network if isinstance(codec, Autoencoded) else native.of_kind(model, Autoencoder, path)
    root = where.parent.parent if where.parent.name == "checkpoints" else where
    inside = files.expanded(root) / native.AUTOENCODER
    return native.load_autoencoder(inside if inside.is_dir() else where, warn)


def _insist_on_room(folder: Path, hear: Callable[[str], None] = warn) -> Description | None:
    """Return the description of the data set begun in the folder; None if the folder is new or empty.

    Raises:
        FromNoiseError: if the folder holds something else.
    """
    if precomputed.is_one(folder):
        try:
            return precomputed.describe(folder)
        except storage.Damaged as error:
            hear(f"{error}; it is written again")
            return None
    if os.path.lexists(folder) and not folder.is_dir():
        what = "a file" if folder.is_file() else files.kind_of(folder.lstat().st_mode)
        raise FromNoiseError(f"{folder} is {what}, not a folder: name another")
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        begun = entry.name.startswith(files.WRITING) or entry.name in (
            f"{precomputed.DESCRIPTION}.claim",
            native.AUTOENCODER,
        )
        if not begun and precomputed.is_one(folder):  # another process has just begun it
            return _insist_on_room(folder, hear)
        if not begun:
            raise FromNoiseError(f"{folder} holds {files.one_line(entry.name)} and no encoded data: name a new folder")
    return None


def _sizes(part: int | None, batch: int | None, before: Description | None) -> tuple[int, int]:
    """Return the sizes of a part and of a batch: as requested, else as in the folder, else the defaults.

    Raises:
        FromNoiseError: if a size is invalid, or latents would depend on where the parts are cut.
    """
    batch = checks.whole("batch", (before.batch if before else precomputed.BATCH) if batch is None else batch, 1, _MOST)
    usual = before.part if before else max(precomputed.PART // batch, 1) * batch
    part = checks.whole("part", usual if part is None else part, 1, _MOST)
    if part % batch:
        raise FromNoiseError(f"part must be a multiple of the batch size, {batch}, so that latents do not depend on "
                             f"it; got {part}: use {max(part // batch, 1) * batch}")  # fmt: skip
    return part, batch


def _captioned(images: Images, encoder: TextEncoder | None) -> dict[str, Any]:
    """The fields of a description that concern the captions.

    Raises:
        FromNoiseError: if captions are to be encoded and there are none.
    """
    captions = [tidy(caption) for caption in images.captions]
    if encoder is not None:
        insist_on_captions(images, captions)
    return {"captions": precomputed.of_captions(captions), "asked": None if encoder is None else spec(encoder)}


def _begun(
    folder: Path, asked: Description, images: Images, encoder: TextEncoder | None, network: Autoencoder | None
) -> Description:
    """Return the folder's description; if there is none, copy the autoencoder and write one.

    Raises:
        FromNoiseError: if the folder's description is of another encoding.
    """
    before = _insist_on_room(folder, lambda text: None)  # the warning was given before
    if before is not None:
        before.insist_on(asked, folder)
    copy = folder / native.AUTOENCODER
    if network is not None and not _is_whole(copy):
        native.save(network, copy)
    if before is not None:
        return before
    if encoder is not None:
        ready = encoder.fitted([tidy(caption) for caption in images.captions])
        asked = asked.model_copy(update={"text": spec(ready)})
    storage.write_folder(folder / precomputed.DESCRIPTION, {}, {precomputed.STEM: asked.model_dump(mode="json")})
    return precomputed.describe(folder)


def _is_whole(copy: Path) -> bool:
    try:
        storage.verify_folder(copy)
    except storage.Damaged as error:
        if copy.is_dir():
            warn(f"{error}; it is written again")
        return False
    return True
