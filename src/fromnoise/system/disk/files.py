"""The one module that writes files and reads files from third parties.

Writing: a file is written under a unique temporary name, synced and renamed. A reader finds the old file or the new
one, a full disk leaves the old one, and nothing is written through a planted link. Reading: only regular files up to a
size limit, so that no pipe blocks and no decompression bomb is unpacked.
"""

import io
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from fromnoise.errors import FromNoiseError, printable

WRITING = ".writing-"
"""Prefix of every temporary name; files that a killed process left behind may be removed."""

_OWN = os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_WAIT_FOR_NOTHING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_TEXT_LIMIT = 64 * 2**20
_DEEPEST = 50


class Unreadable(FromNoiseError):
    """A file that is missing, not a regular file, too large, or of the wrong content; the message names it."""

    def __init__(self, text: str):
        super().__init__(one_line(text))


def temporary(parent: Path) -> Path:
    """An unused temporary name in a folder."""
    return parent / f"{WRITING}{secrets.token_hex(6)}"


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a binary file that replaces `path` at the end of the block, complete and synced to the disk.

    Raises:
        FromNoiseError: if `path` is something other than a file: a link, a device, a folder.
        OSError: if the disk is full or `path` cannot be written; its `filename` is `path`. The old file stays intact.
    """
    path = Path(path)
    mode, writing = _mode_of(path), temporary(path.parent)
    try:
        descriptor = os.open(writing, os.O_RDWR | _OWN, 0o666)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                if mode is not None and hasattr(os, "fchmod"):
                    os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            writing.replace(path)
        except BaseException:
            with suppress(OSError):
                writing.unlink()
            raise
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    sync(path.parent)


def _mode_of(path: Path) -> int | None:
    """The permissions of the file that will be replaced; None if there is none.

    Raises:
        FromNoiseError: if `path` is not a regular file.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FromNoiseError(f"{path}: cannot be written ({_why(error)})") from None
    if not stat.S_ISREG(found.st_mode):
        raise FromNoiseError(f"{path}: is {kind_of(found.st_mode)}, and a file is to be written: name another")
    return stat.S_IMODE(found.st_mode)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replace a file in one step. Raises the errors of `replacing`."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: str | Path, text: str) -> None:
    """Replace a UTF-8 file in one step. Raises the errors of `replacing`."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Replace a file with a JSON value, indented for readers. Raises the errors of `replacing`."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def insist_on_writable(path: Path, called: str = "") -> None:
    """Check that `replacing` can write to `path`, without touching a file that is there; its folder is made.

    Args:
        path: the file.
        called: how the user named it, at the start of the message.

    Raises:
        FromNoiseError: if `path` is not a file, or its folder cannot be made or written.
    """
    name = f"{called} {path}".strip()
    try:
        if path.is_dir():
            raise FromNoiseError(f"{name}: is a folder; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        _mode_of(path)
        tried = temporary(path.parent)
        os.close(os.open(tried, os.O_WRONLY | _OWN, 0o666))
        tried.unlink()
    except FromNoiseError as error:
        raise FromNoiseError(f"{called} {error}".strip() if called not in str(error) else str(error)) from None
    except (OSError, ValueError) as error:
        raise FromNoiseError(f"{name}: cannot be written ({_why(error)})") from None


def own_folder(path: Path) -> Path:
    """A folder inside a run, made if it is missing; a link, which could lead out of the run, is refused.

    Raises:
        FromNoiseError: if it is a link, or something other than a folder.
        OSError: if it cannot be made.
    """
    with suppress(FileExistsError):
        path.mkdir(parents=True)
    insist_on_own_folder(path)
    return path


def insist_on_own_folder(path: Path) -> None:
    """Check that `path` is a real folder if anything exists there. Raises the errors of `own_folder`."""
    mode = path.lstat().st_mode if os.path.lexists(path) else stat.S_IFDIR
    if not stat.S_ISDIR(mode):
        raise FromNoiseError(f"{path}: is {kind_of(mode)}, and must be a folder of the run itself (the run's own "
                             "folder may be a link)")  # fmt: skip


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents; of a link only the link. Failures are ignored."""
    if path.is_symlink() or not path.is_dir():
        with suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk (fsync)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written but not listed, and every folder on Windows
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def opened(path: str | Path) -> io.BufferedReader:
    """Open a regular file for reading; a pipe, socket or device is refused without waiting for it.

    Raises:
        Unreadable: if there is no such file, it is not a regular file, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _WAIT_FOR_NOTHING)
    except FileNotFoundError:
        raise Unreadable(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path}: cannot be read ({_why(error)})") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise Unreadable(f"{path}: is {kind_of(mode)}, not a file")
    return io.BufferedReader(io.FileIO(descriptor, "rb"))


def read_bytes(path: str | Path, limit: int = _TEXT_LIMIT) -> bytes:
    """Read a whole file of at most `limit` bytes. Raises Unreadable."""
    with opened(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size  # read() allocates as much memory as it is asked for
            content = file.read(min(limit, size) + 1)
        except OSError as error:
            raise Unreadable(f"{path}: cannot be read ({_why(error)})") from None
    if len(content) > limit:
        raise Unreadable(f"{path}: is larger than the {limit:,} bytes that such a file may have")
    return content


def read_text(path: str | Path, limit: int = _TEXT_LIMIT) -> str:
    """Read a whole UTF-8 file. Raises Unreadable."""
    try:
        return read_bytes(path, limit).decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path}: is not text (byte {error.start} is not UTF-8)") from None


def read_json(path: str | Path, limit: int = _TEXT_LIMIT) -> Any:
    """Read the value of a JSON file. Raises Unreadable."""
    return parse_json(read_text(path, limit), path)


def parse_json(text: str, where: str | Path) -> Any:
    """Parse a JSON text.

    Raises:
        Unreadable: if it is not JSON, is nested too deeply, or has a number with thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise Unreadable(f"{where}: is nested too deeply") from None
    except ValueError as error:
        raise Unreadable(f"{where}: not readable as JSON ({_why(error)})") from None


def expanded(path: str | Path) -> Path:
    """Expand the ~ of a path.

    Raises:
        FromNoiseError: if it names a user that this machine does not have.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise FromNoiseError(f"{path}: there is no such user; write the whole path") from None


def parse_yaml(text: str, where: str | Path) -> Any:
    """Parse a YAML text into plain values.

    Raises:
        Unreadable: if it is not YAML, is nested too deeply, has a number with thousands of digits, or has aliases, with
            which a small text can expand to an endless value.
    """
    import yaml  # imported here, so that commands that read no YAML start without it

    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise Unreadable("nested too deeply")
            if isinstance(event, yaml.AliasEvent):
                raise Unreadable(f"the alias *{event.anchor}: write the value out")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise Unreadable(f"{where}: not readable as YAML ({' '.join(str(error).split())})") from None


def one_line(what: object) -> str:
    """A name, or the first line of an error, as one printable line: it may come from a third party's file."""
    text = str(what)
    if isinstance(what, BaseException):
        text = (text.strip().splitlines() or [type(what).__name__])[0]
    return printable(text).replace("\n", r"\n")


def kind_of(mode: int) -> str:
    """The kind of file system entry that a mode describes, in words."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
             stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "no file")


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error).split("\n", 1)[0] or type(error).__name__).lower()
