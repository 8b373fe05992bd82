"""Folders that are whole or absent: how checkpoints and models are written and checked.

A folder is written under a temporary name beside its place, every file and then the folder is synced to
the disk, a manifest holds the size and SHA-256 of each file, and a rename puts it in place. What was
there before is removed only after that. Nothing but safetensors and JSON is ever read.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fromnoise import files
from fromnoise.errors import FromNoiseError
from fromnoise.progress import say

MANIFEST = "manifest.json"
_WRITING = ".writing-"
_OLD = ".old-"

T = TypeVar("T")
Content = Mapping[str, Tensor] | Mapping[str, Any]


class Damaged(FromNoiseError):
    """A folder whose files are not what its manifest says."""


def write_folder(target: Path, tensors: Mapping[str, Mapping[str, Tensor]], texts: Mapping[str, Any]) -> int:
    """Write `target`, replacing what is there; returns the bytes written.

    Args:
        target: the folder.
        tensors: file stem -> tensors, saved as STEM.safetensors.
        texts: file stem -> JSON value, saved as STEM.json.

    Raises:
        OSError: the disk is full or the place cannot be written; what was there is still whole.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    writing = target.with_name(f"{_WRITING}{target.name}")
    old = target.with_name(f"{_OLD}{target.name}")
    shutil.rmtree(writing, ignore_errors=True)
    try:
        writing.mkdir()
        for stem, values in tensors.items():
            save_file(_apart(values), writing / f"{stem}.safetensors")
        for stem, value in texts.items():
            (writing / f"{stem}.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        written = write_manifest(writing)
    except SafetensorError as error:
        # safetensors hides the system's error number; a full disk is by far its most likely cause here.
        shutil.rmtree(writing, ignore_errors=True)
        raise OSError(28 if "No space" in str(error) else 5, str(error), str(target)) from None
    except BaseException:
        shutil.rmtree(writing, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    writing.rename(target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)
    return written


def write_manifest(folder: Path) -> int:
    """Size and hash of each file in it, and all of them on the disk; returns their bytes."""
    found = sorted(folder.iterdir())
    manifest = {f.name: {"bytes": f.stat().st_size, "sha256": _sha256(f)} for f in found}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    for path in [*found, folder / MANIFEST, folder]:
        sync(path)
    return sum(entry["bytes"] for entry in manifest.values())


def _apart(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each with memory of its own: weights that are tied have one, which safetensors refuses."""
    found, seen = {}, set()
    for name, value in values.items():
        value = value.detach().contiguous().cpu()
        place = value.untyped_storage().data_ptr()
        found[name] = value.clone() if place in seen and value.numel() else value
        seen.add(place)
    return found


def verify_folder(folder: Path) -> None:
    """Check every file of the manifest against its size and hash.

    Raises:
        Damaged: no manifest, a file is missing, cut or changed; the message names the file.
    """
    try:
        manifest = files.read_json(folder / MANIFEST)
        entries = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise Damaged(f"{folder}: no readable {MANIFEST}") from None
    for name, (size, digest) in entries.items():
        path = folder / Path(name).name
        if not path.is_file():
            raise Damaged(f"{folder}: {name} is missing")
        if path.stat().st_size != size:
            raise Damaged(f"{folder}: {name} has {path.stat().st_size} bytes, not {size}")
        if _sha256(path) != digest:
            raise Damaged(f"{folder}: {name} was changed after it was written")


def manifest(folder: Path) -> set[str]:
    """Names of the files that were written into a folder; none where no manifest can be read."""
    try:
        return set(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return set()


def read_tensors(folder: Path, stem: str) -> dict[str, Tensor]:
    """The tensors of STEM.safetensors, on the CPU."""
    return load_file(folder / f"{stem}.safetensors")


def digest(folder: Path, stem: str) -> str:
    """SHA-256 of STEM.safetensors, as the manifest has it."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return manifest[f"{stem}.safetensors"]["sha256"]


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and values, as float32: what model this is, wherever it lies."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        value = tensor.detach().cpu().contiguous()
        value = value.float() if value.is_floating_point() else value
        digest.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def remove(folder: Path) -> None:
    """A folder and what is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def read_text(folder: Path, stem: str) -> Any:
    """The value of STEM.json."""
    return json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step: a kill leaves the old one or the new one."""
    writing = path.with_name(f"{_WRITING}{path.name}")
    writing.write_text(text, encoding="utf-8")
    sync(writing)
    writing.replace(path)
    sync(path.parent)


def clean_up(parent: Path) -> None:
    """Finish or remove what a killed writer left behind in `parent`."""
    for old in parent.glob(f"{_OLD}*"):
        place = old.with_name(old.name.removeprefix(_OLD))
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(place)
    for writing in parent.glob(f"{_WRITING}*"):
        shutil.rmtree(writing, ignore_errors=True)


def sync(path: Path) -> None:
    """Have the system put a file or folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_hash(what: Any) -> str:
    """32 hexadecimal digits of a value's repr: for names of cached things."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:32]


def locked(folder: Path) -> FileLock:
    """A context that one process at a time is in, for what will stand at `folder`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(folder.name + ".lock"))


def once(folder: Path, make: Callable[[], None]) -> Path:
    """The folder, which `make` writes unless it is there and whole; of many processes one makes it, the others wait."""
    with locked(folder):
        try:
            verify_folder(folder)
        except Damaged as error:
            if os.path.lexists(folder):
                say(f"{error}: made again")
            make()
    return folder


def kept(folder: Path, make: Callable[[], None], read: Callable[[Path], T]) -> T:
    """What `read` gives of a folder as of `once`; made again where it is whole and yet nothing that `read` can read."""
    once(folder, make)
    try:
        return read(folder)
    except Exception as error:  # a cache that others wrote may be wrong in any way
        say(f"{folder}: not what is kept there ({files.one_line(error)}): made again")
    with locked(folder):
        make()
    return read(folder)


def cache(part: str) -> Path:
    """Where what can be made or fetched again is kept: $FROMNOISE_CACHE, else ~/.cache/fromnoise."""
    return Path(os.environ.get("FROMNOISE_CACHE") or "~/.cache/fromnoise").expanduser() / part
