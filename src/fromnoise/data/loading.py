"""From a configuration to images."""

from fromnoise import data
from fromnoise.data._reduce import reduced
from fromnoise.data.computed import COMPUTED, Computed
from fromnoise.data.config import DataConfig
from fromnoise.data.fitted import fitted
from fromnoise.data.images import Images, Progress
from fromnoise.data.pairs import Pairs
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files


def load(config: DataConfig, progress: Progress | None = None) -> Images:
    """The images that `config` names: a registered data set, a folder, archives, an array, or a table of the hub.

    Args:
        config: name, root, size, channels, fit, pairs.
        progress: progress("what", total) returns a function that is called once for every item.

    Raises:
        FromNoiseError: there is nothing of that name, or what the source raises.
    """
    computed = COMPUTED.get(config.pairs or "")
    if computed is not None:
        found = load(config.model_copy(update={"pairs": None}), progress)
        return Pairs(Computed(found, computed), found.shape[0])
    if config.name.replace("_", "-") in data.names():
        found = fitted(data.get(config.name)().load(config.root, config.split), config)
    else:
        from fromnoise.data.own import load_own  # what reads archives and tables is seldom needed

        found = load_own(config, progress)
    if config.pairs is not None and not isinstance(found, Pairs):
        raise FromNoiseError(f"data.pairs stands beside a folder of images, and {files.one_line(config.name)} is none: "
                             f"beside any images stand their own {', '.join(COMPUTED)}")  # fmt: skip
    return reduced(found, config.reduce)
