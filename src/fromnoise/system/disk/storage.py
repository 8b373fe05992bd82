"""Folders that are complete or absent: how checkpoints, models and caches are written and checked.

A folder is written under a temporary name beside its final place. A manifest holds the size and SHA-256 of each file;
every file and then the folder is synced to the disk, and a rename puts it in place. The old folder is removed only
after that. Nothing but safetensors, JSON and plain arrays is ever read.
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
    """A folder whose files do not match its manifest."""


@contextmanager
def making(target: Path, listed: bool = True, kept: Iterable[str] = ()) -> Iterator[Path]:
    """Yield an empty folder to write files into; at the end of the block it gets a manifest and replaces `target`.

    Args:
        target: the final folder.
        listed: whether to write a manifest; folders for other programs have none, and may have subfolders.
        kept: names of files to copy from the old folder, if it has them.

    Raises:
        FromNoiseError: if `target` is a device or a pipe, which is never removed.
        OSError: if the disk is full or `target` cannot be written; the old folder stays intact.
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
        # safetensors hides the system's error number: 28 is a full disk (ENOSPC), 5 any other I/O error (EIO).
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
        OSError: if the disk is full or `target` cannot be written; the old folder stays intact.
    """
    from safetensors.torch import save_file

    with making(target) as writing:
        for stem, values in tensors.items():
            save_file(_apart(values), writing / f"{stem}.safetensors")
        write_texts(writing, texts)


def write_texts(writing: Path, texts: Mapping[str, Any]) -> None:
    """Write JSON values as STEM.json into a folder of `making`."""
    for stem, value in texts.items():
        (writing / f"{stem}.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _apart(values: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Tensors on the CPU, each with its own memory: tied weights share theirs, which safetensors refuses."""
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
        folder: a folder of `making`.
        share: which of the files to check, in order of their names.

    Raises:
        Damaged: if there is no manifest, or a file is missing, cut or changed; the message names the file.
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
    """{name: (bytes, SHA-256)} from the manifest, which has at least one entry.

    Raises:
        Damaged: if there is no manifest, or it cannot be understood.
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
    """Names of the files in a folder's manifest; empty if there is no readable manifest."""
    try:
        return set(_entries(folder))
    except Damaged:
        return set()


def holds(folder: Path, stem: str) -> bool:
    """Whether the manifest lists STEM.safetensors, parts of it, or STEM.json; files added later do not count."""
    names = manifest(folder)
    return bool({f"{stem}.safetensors", f"{stem}.json"} & names) or bool(_parts(names, stem))


def read_tensors(folder: Path, stem: str) -> "dict[str, Tensor]":
    """Read the tensors of STEM.safetensors, or of its parts, on the CPU. Raises Damaged."""
    from safetensors.torch import load_file

    if _parts(manifest(folder), stem):
        from fromnoise.system.disk import in_parts  # here, since it loads torch.distributed, which few checkpoints need

        return in_parts.read(folder, stem)
    name = _written(folder, f"{stem}.safetensors")
    try:
        files.opened(folder / name).close()
        return load_file(folder / name)
    except (OSError, SafetensorError, files.Unreadable, ValueError, RuntimeError) as error:
        raise Damaged(f"{folder}: {name} cannot be read ({str(error).splitlines()[0]})") from None


def read_text(folder: Path, stem: str) -> Any:
    """Read the value of STEM.json. Raises Damaged."""
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
    """The SHA-256 of STEM.safetensors from the manifest; for parts, the hash of their hashes. Raises Damaged."""
    entries = _entries(folder)
    if parts := _parts(entries, stem):
        return hashlib.sha256("".join(entries[name][1] for name in parts).encode()).hexdigest()
    return entries[_written(folder, f"{stem}.safetensors")][1]


def _parts(names: Iterable[str], stem: str) -> list[str]:
    """The names that are parts of a stem, in order; see `in_parts`."""
    return sorted(name for name in names if re.fullmatch(rf"{re.escape(stem)}-\d{{5}}-of-\d{{5}}\.safetensors", name))


def fingerprint(tensors: "Mapping[str, Tensor]") -> str:
    """SHA-256 of names, shapes and values (as float32): identifies a model independently of where it is stored."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        value = tensor.detach().cpu().contiguous()
        value = value.float() if value.is_floating_point() else value
        digest.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def short_hash(what: Any) -> str:
    """32 hexadecimal digits of the SHA-256 of a value's repr, for the names of cache folders."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:32]


def locked(folder: Path) -> FileLock:
    """A lock on `folder`, which need not exist yet, for one process at a time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(folder.name + ".lock"))


def once(folder: Path, make: Callable[[], None]) -> Path:
    """Return the folder; if it is missing, one process calls `make` to write it and the others wait.

    A damaged folder is made again, with a warning.
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
    """Return read(folder), where `make` has written the folder (see `once`); if `read` fails, it is made again."""
    once(folder, make)
    try:
        return read(folder)
    except Exception as error:  # a cache that someone else wrote may be wrong in any way
        warn(f"{folder}: has the wrong content ({files.one_line(error)}); it is made again")
    with locked(folder):
        make()
    return read(folder)


def cache(part: str) -> Path:
    """A folder in the cache, $FROMNOISE_CACHE or ~/.cache/fromnoise, for files that can be made or fetched again."""
    return files.expanded(os.environ.get("FROMNOISE_CACHE") or "~/.cache/fromnoise") / part
