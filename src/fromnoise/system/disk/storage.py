"""Folders that are whole or absent: how checkpoints, models and caches are written and checked.

A folder is written under a temporary name beside its place, every file and then the folder is synced to
the disk, a manifest holds the size and SHA-256 of each file, and a rename puts it in place. What was
there before is removed only after that. Nothing but safetensors, JSON and plain arrays is ever read.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock
from safetensors import SafetensorError

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.system.disk.placing import MANIFEST, complete
from fromnoise.system.progress import warn

if TYPE_CHECKING:  # torch is imported where tensors are read or written: a configuration is read without it
    from torch import Tensor

T = TypeVar("T")


class Damaged(FromNoiseError):
    """A folder whose files are not what its manifest says."""


@contextmanager
def making(target: Path, listed: bool = True, kept: Iterable[str] = ()) -> Iterator[Path]:
    """An empty folder to write files into; at the end of the block it gets its manifest and takes the target's place.

    Args:
        target: the place.
        listed: whether there is a manifest; other programs' folders have none, and may have folders in them.
        kept: names of files that come along from the folder that was there, where it has them.

    Raises:
        FromNoiseError: a device or a pipe stands there, which is left where it is.
        OSError: the disk is full or the place cannot be written; what was there is still whole.
    """
    with suppress(FileNotFoundError):
        mode = target.lstat().st_mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise FromNoiseError(f"{target}: is {files.kind_of(mode)}, and a folder is to be written there: remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    writing = files.temporary(target.parent)
    try:
        writing.mkdir()
        yield writing
        complete(writing, target, {}, listed, kept)
    except SafetensorError as error:
        # safetensors hides the system's error number; a full disk is by far its most likely cause here.
        files.remove(writing)
        raise OSError(28 if "No space" in str(error) else 5, str(error), str(target)) from None
    except BaseException:
        files.remove(writing)
        raise


def write_folder(target: Path, tensors: "Mapping[str, Mapping[str, Tensor]]", texts: Mapping[str, Any]) -> None:
    """Write `target`, replacing what is there.

    Args:
        target: the folder.
        tensors: file stem -> tensors, saved as STEM.safetensors.
        texts: file stem -> JSON value, saved as STEM.json.

    Raises:
        OSError: the disk is full or the place cannot be written; what was there is still whole.
    """
    from safetensors.torch import save_file

    with making(target) as writing:
        for stem, values in tensors.items():
            save_file(_apart(values), writing / f"{stem}.safetensors")
        write_texts(writing, texts)


def write_texts(writing: Path, texts: Mapping[str, Any]) -> None:
    """JSON values as STEM.json, into a folder that is being made."""
    for stem, value in texts.items():
        (writing / f"{stem}.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _apart(values: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """On the CPU, each with memory of its own: weights that are tied have one, which safetensors refuses."""
    found, seen = {}, set()
    for name, value in values.items():
        value = value.detach().contiguous().cpu()
        place = value.untyped_storage().data_ptr()
        found[name] = value.clone() if place in seen and value.numel() else value
        seen.add(place)
    return found


def verify_folder(folder: Path, share: slice = slice(None)) -> None:
    """Check every file of the manifest against its size and hash.

    Args:
        folder: that was written here.
        share: of the files, in order of their names.

    Raises:
        Damaged: no manifest, a file is missing, cut or changed; the message names the file.
    """
    for name, (size, digest) in sorted(_entries(folder).items())[share]:
        path = folder / name
        try:
            with files.opened(path) as file:
                there = os.fstat(file.fileno()).st_size
                same = there == size and hashlib.file_digest(file, "sha256").hexdigest() == digest
        except (OSError, files.Unreadable):
            raise Damaged(f"{folder}: {name} is missing") from None
        if there != size:
            raise Damaged(f"{folder}: {name} has {there} bytes, not {size}")
        if not same:
            raise Damaged(f"{folder}: {name} was changed after it was written")


def _entries(folder: Path) -> dict[str, tuple[int, str]]:
    """name -> (bytes, SHA-256) of the manifest, which has at least one.

    Raises:
        Damaged: there is none, or it says something else.
    """
    try:
        manifest = files.read_json(folder / MANIFEST)
        found = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest.items()}
    except (FromNoiseError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise Damaged(f"{folder}: no readable {MANIFEST}") from None
    if not found or any(Path(name).name != name or "\0" in name for name in found):
        raise Damaged(f"{folder}: no readable {MANIFEST}")
    return found


def manifest(folder: Path) -> set[str]:
    """Names of the files that were written into a folder; none where no manifest can be read."""
    try:
        return set(_entries(folder))
    except Damaged:
        return set()


def holds(folder: Path, stem: str) -> bool:
    """Whether STEM.safetensors, or parts of it, or STEM.json was written into a folder; what was put there later does
    not count."""
    names = manifest(folder)
    return bool({f"{stem}.safetensors", f"{stem}.json"} & names) or bool(_parts(names, stem))


def read_tensors(folder: Path, stem: str) -> "dict[str, Tensor]":
    """The tensors of STEM.safetensors, or of its parts, on the CPU; raises Damaged."""
    from safetensors.torch import load_file

    if _parts(manifest(folder), stem):
        from fromnoise.system.disk import in_parts  # torch's, which few checkpoints need

        return in_parts.read(folder, stem)
    name = _written(folder, f"{stem}.safetensors")
    try:
        files.opened(folder / name).close()
        return load_file(folder / name)
    except (OSError, SafetensorError, files.Unreadable, ValueError, RuntimeError) as error:
        raise Damaged(f"{folder}: {name} cannot be read ({str(error).splitlines()[0]})") from None


def read_text(folder: Path, stem: str) -> Any:
    """The value of STEM.json; raises Damaged."""
    name = _written(folder, f"{stem}.json")
    try:
        return files.read_json(folder / name)
    except files.Unreadable as error:
        raise Damaged(str(error)) from None


def _written(folder: Path, name: str) -> str:
    if name not in _entries(folder):
        raise Damaged(f"{folder}: {name} is missing")
    return name


def digest(folder: Path, stem: str) -> str:
    """SHA-256 of STEM.safetensors, as the manifest has it, or of those of its parts; raises Damaged."""
    entries = _entries(folder)
    if parts := _parts(entries, stem):
        return hashlib.sha256("".join(entries[name][1] for name in parts).encode()).hexdigest()
    return entries[_written(folder, f"{stem}.safetensors")][1]


def _parts(names: Iterable[str], stem: str) -> list[str]:
    """Those of these files that are parts of a stem, in order; see `in_parts`."""
    return sorted(name for name in names if re.fullmatch(rf"{re.escape(stem)}-\d{{5}}-of-\d{{5}}\.safetensors", name))


def fingerprint(tensors: "Mapping[str, Tensor]") -> str:
    """SHA-256 of names, shapes and values, as float32: what model this is, wherever it lies."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        value = tensor.detach().cpu().contiguous()
        value = value.float() if value.is_floating_point() else value
        digest.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def short_hash(what: Any) -> str:
    """32 hexadecimal digits of a value's repr: for names of cached things."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:32]


def locked(folder: Path) -> FileLock:
    """A context that one process at a time is in, for what will stand at `folder`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(folder.name + ".lock"))


def once(folder: Path, make: Callable[[], None]) -> Path:
    """The folder, which `make` writes unless it is there and whole; of many processes one makes it, the others wait.

    One that is damaged is made again, with a warning.
    """
    with locked(folder):
        try:
            verify_folder(folder)
        except Damaged as error:
            if os.path.lexists(folder):
                warn(f"{error}; it is made again")
            make()
    return folder


def kept(folder: Path, make: Callable[[], None], read: Callable[[Path], T]) -> T:
    """What `read` gives of a folder as of `once`; made again where it is whole and yet nothing that `read` can read."""
    once(folder, make)
    try:
        return read(folder)
    except Exception as error:  # a cache that others wrote may be wrong in any way
        warn(f"{folder}: not what is kept there ({files.one_line(error)}); it is made again")
    with locked(folder):
        make()
    return read(folder)


def cache(part: str) -> Path:
    """Where what can be made or fetched again is kept: $FROMNOISE_CACHE, else ~/.cache/fromnoise."""
    return files.expanded(os.environ.get("FROMNOISE_CACHE") or "~/.cache/fromnoise") / part
