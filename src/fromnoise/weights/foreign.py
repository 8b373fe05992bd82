"""Third-party weights: downloaded completely, checked by hash, and read so that nothing in them can run.

A .pth file is a pickle, and a pickle is a program. It is read by PyTorch's restricted unpickler, or by
`weights.pickles` if torch.save did not write it. This happens in a separate process that only writes tensors:
`python -m fromnoise.weights.foreign SOURCE TARGET`.
"""

import argparse
import io
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, storage
from fromnoise.system.disk.pretrained import sha256
from fromnoise.system.hardware.memory import half_of_memory
from fromnoise.system.progress import say
from fromnoise.weights import pickles
from fromnoise.weights.persistent import PARTS, plain_of

_PATIENCE = 600
"""The most seconds that converting a file may take."""

_REPEATED = 4
"""How often its tensors may repeat a file's numbers, as tied layers do; a million bytes are allowed in any case."""
_OPTIONS = ("args", "config", "hyper_parameters", "init_kwargs", "options")
"""Entries in which files keep the options of their network."""
_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes of every name after training on several devices, or compiled."""


@dataclass(frozen=True)
class Opened:
    """The content of a third-party file.

    Attributes:
        state: the tensors of its network, by name.
        part: the entry of the file that they come from; "" if the tensors are at the top of the file.
        entries: the names at the top of the file, except those of tensors.
        options: the options of its network, as plain values, if the file has them.
    """

    state: dict[str, Tensor]
    part: str = ""
    entries: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def fetch(url: str, path: Path, digest: str) -> Path:
    """Return `path`, downloaded with a progress bar if it is not there; a partial download is never used.

    Raises:
        FromNoiseError: if it cannot be downloaded, or its hash is wrong; the message says what to do.
    """
    try:
        with storage.locked(path):
            if _is(path, digest):
                return path
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=sys.stderr.isatty())
            if not _is(path, digest):  # a folder of that name would receive the file
                raise OSError(f"{path} is in the way: remove it")
    except Exception as error:  # from the network or the disk
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FromNoiseError(f"{path.name} could not be downloaded ({reason}): fetch {url} elsewhere and name the file "
                             "as weights, or try again") from None  # fmt: skip
    return path


def _is(path: Path, digest: str) -> bool:
    """Whether a file is there and has this hash; a line is printed if its hash is another."""
    with suppress(files.Unreadable):
        if sha256(path) == digest:
            return True
        say(f"{path}: its hash is wrong: downloading it again")
    return False


def tensors(path: Path, digest: str) -> dict[str, Tensor]:
    """The tensors of a .pth file with a known hash; converted once, into the cache.

    Raises:
        FromNoiseError: if there is no such file, its hash is another, or it does not hold plain tensors.
    """
    found = sha256(path)
    if found != digest:
        raise FromNoiseError(
            f"{path}: these are not the expected weights (SHA-256 {found[:12]}..., not {digest[:12]}...)"
        )
    return plain(path)


def plain(path: Path) -> dict[str, Tensor]:
    """The tensors of any .pth file, converted in a separate process.

    Raises:
        FromNoiseError: if it holds anything but plain tensors, or more than fits into memory.
    """
    return opened(path).state


def opened(path: Path) -> Opened:
    """The tensors of any .pth file, and what else it says about its network.

    From a training checkpoint the averaged weights are taken if it has them; the optimizer's state is left out.

    Raises:
        FromNoiseError: the errors of `plain`.
    """
    folder = storage.cache("opened") / sha256(path)[:32]

    def make() -> None:
        command = [sys.executable, "-P", "-m", "fromnoise.weights.foreign", str(path), str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            raise FromNoiseError(f"{path}: not read within {_PATIENCE} seconds") from None
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["it ended without a message"])[-1]
            raise FromNoiseError(f"{path}: not a file of plain tensors ({files.one_line(why[:200])})")

    def read(place: Path) -> Opened:
        about = storage.read_text(place, "about")
        return Opened(storage.read_tensors(place, "model"), about["part"], tuple(about["entries"]), about["options"])

    return storage.kept(folder, make, read)


def _convert(source: Path, target: Path) -> None:
    """Convert a file into a folder of tensors. Any exception may be raised for a file that does not hold tensors."""
    room = half_of_memory()
    _bound(room)
    _insist_on_no_bomb(source, room)
    found = unpacked(source, room)
    claimed = sum(value.numel() * value.element_size() for value in found.state.values())
    if claimed > room:  # a tensor may repeat a single number in all its elements
        raise FromNoiseError(
            f"its tensors unpack to {claimed:,} bytes, more than half of this machine's memory ({room:,})"
        )
    if claimed > _REPEATED * (size := source.stat().st_size) + 2**20:
        raise FromNoiseError(
            f"its tensors unpack to {claimed:,} bytes from a file of {size:,}, which repeats its numbers"
        )
    about = {"part": found.part, "entries": list(found.entries), "options": found.options}
    storage.write_folder(target, {"model": found.state}, {"about": about})


def _bound(room: int) -> None:
    """Limit this process's memory to three times what the tensors may take: reading and writing needs that much."""
    with suppress(ImportError, OSError, ValueError):  # systems that have no such limit
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = used + 3 * room + 2**31
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def unpacked(source: Path, room: int | None = None) -> Opened:
    """The content of a file as `opened` returns it, read in this process.

    Args:
        source: the file.
        room: bytes that its tensors may take; default: half of the memory.

    Raises:
        FromNoiseError: if it holds no tensors by name, or too many.
        Exception: any error of PyTorch's restricted unpickler.
    """
    return _found(_values(source, half_of_memory() if room is None else room))


def _values(source: Path, room: int) -> Any:
    """The file's value, from PyTorch's restricted unpickler, or from `pickles` if torch.save did not write it.

    The parsed options of a command line (argparse.Namespace) are allowed as data.
    """
    with files.opened(source) as file:
        start = file.read(32)
    if pickles.is_one(start):
        return pickles.read(source, room, _loaded)
    with torch.serialization.safe_globals([argparse.Namespace]):
        return _loaded(source)


def _loaded(source: Path | io.BytesIO) -> Any:
    return torch.load(source, map_location="cpu", weights_only=True)


def _insist_on_no_bomb(source: Path, room: int) -> None:
    """Check that a file fits into memory and is not compressed: torch.save compresses nothing."""
    if (size := source.stat().st_size) > room:
        raise FromNoiseError(f"its {size:,} bytes are more than half of this machine's memory ({room:,})")
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise FromNoiseError("compressed, which torch.save never does")


def _found(values: Any) -> Opened:
    """The network's tensors by name, and its options."""
    if not isinstance(values, Mapping):
        raise FromNoiseError(f"a {type(values).__name__}, not tensors by name")
    inside = {name: values[name] for name in PARTS if isinstance(values.get(name), Mapping)}
    part = next((name for name, own in inside.items() if _tensors(own)), "")
    state = _tensors(inside[part] if part else values)
    for name, value in state.items():
        if not isinstance(name, str) or value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise FromNoiseError(f"{name!r} is no plain tensor with a name")
    if not state:
        raise FromNoiseError("no tensor by name in it")
    while before := next((one for one in _WRAPPERS if all(name.startswith(one) for name in state)), ""):
        state = {name.removeprefix(before): value for name, value in state.items()}
    entries = [str(name) for name, value in values.items() if not isinstance(value, Tensor)]
    told = next((values[name] for name in _OPTIONS if name in values), {})
    told = vars(told) if isinstance(told, argparse.Namespace) else told
    options = plain_of(told) if isinstance(told, Mapping) else {}
    return Opened(state, part, tuple(entries), options)


def _tensors(values: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _main(source: str, target: str) -> None:
    try:
        _convert(Path(source), Path(target))
    except Exception as error:
        kind, text = type(error).__name__, files.one_line(error)
        if kind == "UnpicklingError":  # PyTorch's own message would say how to execute the file
            text = "it holds something other than tensors, or is damaged"
        sys.exit(text if isinstance(error, FromNoiseError) else f"{kind}: {text}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
