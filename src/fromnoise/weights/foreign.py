"""Weights of other people: fetched whole, checked by hash, and read where nothing in them can run.

A .pth file is a pickle, and a pickle is a program. It is read by torch's restricted unpickler, in a process of its own
that only writes tensors: `python -m fromnoise.weights.foreign SOURCE TARGET`.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

from fromnoise import storage
from fromnoise.errors import FromNoiseError


def sha256(path: Path) -> str:
    """Of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(url: str, path: Path, digest: str) -> Path:
    """The file at `path`, downloaded with a bar unless it is there; half a download is never taken for the whole.

    Raises:
        FromNoiseError: it cannot be had, or is not what its hash says; with what to do.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(path.name + ".lock")):
            if path.exists() and sha256(path) == digest:
                return path
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FromNoiseError(f"{path.name} could not be downloaded ({reason}): fetch {url} elsewhere and name the file "
                             "as weights, or try again") from None  # fmt: skip
    return path


def tensors(path: Path, digest: str) -> dict[str, Tensor]:
    """The tensors of a .pth file of known content; converted once, into the cache.

    Raises:
        FromNoiseError: no such file, another content, or no plain tensors in it.
    """
    if not path.is_file():
        raise FromNoiseError(f"{path}: no such file")
    found = sha256(path)
    if found != digest:
        raise FromNoiseError(
            f"{path}: these are not the expected weights (SHA-256 {found[:12]}..., not {digest[:12]}...)"
        )
    return plain(path)


def plain(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth file, whatever it is; converted in a process of its own.

    Raises:
        FromNoiseError: something else than plain tensors is in it.
    """
    target = storage.cache("converted") / f"{sha256(path)[:32]}.safetensors"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "fromnoise.weights.foreign", str(path), str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
            raise FromNoiseError(f"{path}: not a file of plain tensors ({why[:200]})")
    return load_file(target)


def _convert(source: Path, target: Path) -> None:
    values = torch.load(source, map_location="cpu", weights_only=True)
    values = values.get("state_dict", values)
    writing = target.with_suffix(f".{os.getpid()}")
    save_file({k: v.contiguous() for k, v in values.items() if isinstance(v, Tensor)}, writing)
    writing.replace(target)


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), Path(sys.argv[2]))
