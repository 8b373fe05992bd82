"""Load the images that a configuration names."""

from pathlib import Path

from pydantic import ValidationError

from fromnoise import data
from fromnoise.data import precomputed
from fromnoise.data._reduce import reduced
from fromnoise.data._remote import is_url
from fromnoise.data.computed import COMPUTED, Computed
from fromnoise.data.config import DataConfig
from fromnoise.data.fitted import fitted
from fromnoise.data.images import Images, Progress
from fromnoise.data.kept_text import KeptText
from fromnoise.data.pairs import Pairs
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files


def load(config: DataConfig | str, progress: Progress | None = None) -> Images:
    """Load the images that `config` names: a named data set, a folder, archives, an array, or a table from the hub.

    For an encoded data set, these are the images that it was made from.

    Args:
        config: the `data` part of a configuration, or just the name, such as "digits" or a folder.
        progress: progress("what", total) returns a function that is called once for every item.

    Raises:
        FromNoiseError: there is no data set, folder or file of that name, or it cannot be read.
    """
    config = DataConfig(name=config) if isinstance(config, str) else config
    if config.classes is not None and not (config.stream or is_url(config.name)):
        raise FromNoiseError("data.classes is for streamed shards (data.stream=true): other data name their classes")
    if (folder := precomputed.named(config.name)) is not None:
        return _encoded(folder, config, progress)
    computed = COMPUTED.get(config.pairs or "")
    if computed is not None:
        found = load(config.model_copy(update={"pairs": None}), progress)
        return Pairs(Computed(found, computed), found.shape[0])
    if config.name.replace("_", "-") in data.names() and not config.stream:
        found = fitted(data.get(config.name)().load(config.root, config.split), config)
    else:
        from fromnoise.data.own import load_own  # reading archives and tables is seldom needed

        found = load_own(config, progress)
    if config.pairs is not None and not isinstance(found, Pairs):
        raise FromNoiseError(f"data.pairs needs a folder of images, and {files.one_line(config.name)} is not one: for "
                             f"other images use data.pairs={' or '.join(COMPUTED)}")  # fmt: skip
    return reduced(found, config.reduce)


def _encoded(folder: Path, config: DataConfig, progress: Progress | None) -> Images:
    """The images that an encoded data set was made from, at the requested size, with the encoded captions if any.

    Raises:
        FromNoiseError: the images cannot be found or read.
    """
    about = precomputed.describe(folder)
    if about.source is None:
        raise FromNoiseError(f"{folder} holds latents, but not the location of their images: set data.name to those")
    asked = {key: value for key in ("size", "channels") if (value := getattr(config, key)) is not None}
    asked |= {key: getattr(config, key) for key in ("pairs", "split", "reduce", "memory")}
    try:
        inner = DataConfig.model_validate(about.source).model_copy(update=asked)
        if precomputed.named(inner.name) is not None:
            raise FromNoiseError("it is itself encoded")
        found = load(inner, progress)
    except (FromNoiseError, ValidationError) as error:
        raise FromNoiseError(f"{folder} was encoded from {files.one_line(about.data)}, whose images cannot be read: "
                             f"{files.one_line(error)}") from None  # fmt: skip
    if about.text is not None:
        found.words = KeptText(folder, progress)
    return found
