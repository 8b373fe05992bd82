"""Open models of other libraries, whichever format they have."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, storage
from fromnoise.weights import formats, lora
from fromnoise.weights.describing import described
from fromnoise.weights.formats.base import Format
from fromnoise.weights.formats.source import Source
from fromnoise.weights.formats.strangers import recognized
from fromnoise.weights.names import CONFIG, INDEX

_PARTS = ("network", "schedule", "parameterization", "variance")
_FOLDERS = (INDEX, CONFIG)


def is_foreign(path: str | Path) -> bool:
    """Whether this is a file, or a folder of another library; our folders have a manifest or are runs.

    Raises:
        FromNoiseError: if a folder is both, since one of its models would be ignored silently.
    """
    place = files.expanded(path)
    if place.is_dir():
        theirs = any(os.path.lexists(place / name) for name in _FOLDERS) or lora.is_one(place)
        ours = os.path.lexists(place / storage.MANIFEST)
        if ours and os.path.lexists(place / INDEX):
            raise FromNoiseError(f"{path}: holds two models, a saved one ({storage.MANIFEST}) and a pipeline of "
                                 f"diffusers ({INDEX}): keep the files of one of them")  # fmt: skip
        return theirs and not ours
    return place.is_file()


def read(path: str | Path, warn: Callable[[str], None], like: Any = None) -> nn.Module:
    """Read a model in float32 on the CPU, in evaluation mode; nothing in the file is executed.

    Args:
        path: the file or folder.
        warn: called with one line about an assumption, or about something that is left out.
        like: facts that the file does not state, {"network": {"heads": 4}, "schedule": "cosine"}, or a Recipe.

    Raises:
        FromNoiseError: if the format is unknown, the file is damaged, or our networks cannot express the model.
    """
    source = Source.of(files.expanded(path), parts(like), warn, strict=like is None or isinstance(like, Mapping))
    for name in formats.names():
        form = formats.build(name)
        if form.claims(source):
            return _read(form, source, path)
    known = "" if source.is_folder else recognized(source)
    raise FromNoiseError(f"{path} {known}" if known else _unknown(path, source))


def _read(form: Format, source: Source, path: str | Path) -> nn.Module:
    """Read a source with a format; every error becomes one line that names the file."""
    try:
        with described(path):
            return form.read(source).eval()
    except FromNoiseError as error:
        text, known = str(error), (str(path), str(source.path), str(source.path.with_suffix(".json")))
        raise FromNoiseError(text if text.startswith(known) else f"{path}: {text}") from None


def _unknown(path: str | Path, source: Source) -> str:
    about = f"{path}: is of no format that can be read ({', '.join(formats.names())})"
    if source.is_folder:
        return about
    names = sorted(source.state)
    some = ", ".join(files.one_line(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
    return (f"{about}; its tensors are called {some}. Load weights of your own network with load_state_dict, and "
            "give the network to fn.Denoiser(network, schedule)")  # fmt: skip


def parts(like: Any) -> dict[str, Any]:
    """The argument `like` as a dict by part; for a Recipe its own parts.

    Raises:
        FromNoiseError: if it is neither a mapping nor a Recipe.
    """
    if like is None:
        return {}
    if isinstance(like, Mapping):
        return dict(like)
    if all(hasattr(like, part) for part in _PARTS):
        return {part: getattr(like, part) for part in _PARTS} | _side(like)
    raise FromNoiseError("like: must be a Recipe, or options by part such as "
                         f'{{"network": {{"heads": 4}}, "schedule": "cosine"}}, got {type(like).__name__}')  # fmt: skip


def _side(recipe: Any) -> dict[str, Any]:
    """The size of a recipe's images, if it is one number."""
    size = getattr(getattr(recipe, "data", None), "size", None)
    return {"side": size} if isinstance(size, int) else {}
