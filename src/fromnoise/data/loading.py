"""From a configuration to images."""

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


def load(config: DataConfig, progress: Progress | None = None) -> Images:
    """The images that `config` names: a registered data set, a folder, archives, an array, or a table of the hub; of an
    encoded data set, the images that it was made of.

    Args:
        config: name, root, size, channels, fit, pairs.
        progress: progress("what", total) returns a function that is called once for every item.

    Raises:
        FromNoiseError: there is nothing of that name, or what the source raises.
    """
    if config.classes is not None and not (config.stream or is_url(config.name)):
        raise FromNoiseError("data.classes is for streamed shards (data.stream=true): elsewhere the data say it")
    if (folder := precomputed.named(config.name)) is not None:
        return _encoded(folder, config, progress)
    computed = COMPUTED.get(config.pairs or "")
    if computed is not None:
        found = load(config.model_copy(update={"pairs": None}), progress)
        return Pairs(Computed(found, computed), found.shape[0])
    if config.name.replace("_", "-") in data.names() and not config.stream:
        found = fitted(data.get(config.name)().load(config.root, config.split), config)
    else:
        from fromnoise.data.own import load_own  # what reads archives and tables is seldom needed

        found = load_own(config, progress)
    if config.pairs is not None and not isinstance(found, Pairs):
        raise FromNoiseError(f"data.pairs stands beside a folder of images, and {files.one_line(config.name)} is none: "
                             f"beside any images stand their own {', '.join(COMPUTED)}")  # fmt: skip
    return reduced(found, config.reduce)


def _encoded(folder: Path, config: DataConfig, progress: Progress | None) -> Images:
    """The images that an encoded data set was made of, at the size that is asked for; with their captions as they were
    encoded, where they were.

    Raises:
        FromNoiseError: they are no longer there, or are other ones.
    """
    about = precomputed.describe(folder)
    if about.source is None:
        raise FromNoiseError(f"{folder} holds latents, and does not say where their images are: name those")
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
