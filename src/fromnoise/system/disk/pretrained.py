"""Transformers from the hub, in folders: a JSON configuration and safetensors weights, nothing that is executed."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_CONFIG_LIMIT = 2**20
_CODE = ("auto_map", "quantization_config")
_LARGEST = {"num_hidden_layers": 200, "image_size": 2**11, "hidden_size": 2**14, "intermediate_size": 2**16}
_LARGEST_OF_OTHERS = 2**18


def fetched(repository: str, commit: str, names: list[str]) -> Path:
    """The folder in the hub's cache with these files of a commit; missing files are downloaded.

    Raises:
        Exception: any error of the hub's library.
    """
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repository, revision=commit, allow_patterns=names))


def options(folder: Path) -> dict[str, Any]:
    """Read the configuration, and check that it builds a network of plausible size from transformers' own code.

    Raises:
        FromNoiseError: if it is missing, asks for third-party code, or asks for an implausibly large network.
    """
    found = files.read_json(folder / CONFIG, _CONFIG_LIMIT)
    _insist_on_plain(found, folder / CONFIG)
    return found


def network(cls: Any, folder: Path) -> Any:
    """Load a network of this class; every weight must be in the file, since transformers would draw it at random.

    Raises:
        FromNoiseError: if a weight is missing. Also the errors of `options`.
        Exception: any error of transformers.
    """
    import torch  # imported here: callers that only name files do not need it

    options(folder)
    config = cls.config_class.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        numbers = sum(p.numel() for p in cls(config).parameters())
    size = (folder / WEIGHTS).stat().st_size
    if numbers > size:
        raise FromNoiseError(f"{CONFIG} describes {numbers:,} weights, but {WEIGHTS} has only {size:,} bytes")
    with _without_bars():
        made, found = cls.from_pretrained(folder, use_safetensors=True, local_files_only=True, output_loading_info=True)
    if found["missing_keys"]:
        raise FromNoiseError(f"{WEIGHTS} lacks {min(found['missing_keys'])}")
    return made


@contextmanager
def _without_bars() -> Iterator[None]:
    """Hide the progress bars of transformers: a library shows none that nobody asked for."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises:
        Unreadable: if there is no such file, or it is not a regular file.
    """
    with files.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyrefly: ignore[bad-argument-type]


def _insist_on_plain(found: Any, config: Path) -> None:
    if not isinstance(found, dict):
        raise FromNoiseError(f"{config}: must hold a JSON object of options")
    for name, value in found.items():
        if name in _CODE or name.endswith("attn_implementation"):
            raise FromNoiseError(f"{config}: {name} would choose the code that runs: remove that line")
        most = _LARGEST.get(name, _LARGEST_OF_OTHERS)
        if isinstance(value, int) and not -1 <= value <= most:
            raise FromNoiseError(f"{config}: {name} is {value}, and may be at most {most}")
        if isinstance(value, dict):
            _insist_on_plain(value, config)
