"""Shards at addresses: each is downloaded once per machine, completely or not at all, and cached."""

import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

T = TypeVar("T")

SCHEMES = {"https": "", "http": "", "s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "memory": ""}
"""The supported schemes, and the package that each needs besides those of the extra `remote`."""

WAITS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds to wait after one failure, after two in a row, ...; a download then continues where it broke off."""
PATIENCE = 60.0
"""Seconds within which an answer, or `_PIECE` bytes, must arrive."""
_PIECE = 4 * 2**20
_TRIES = 2
"""Further attempts, after the first, of requests that precede training."""
_LOOKS_UP = 0.5
_WORRYING = 3
"""Failures in a row after which a warning is shown."""
_FOR_NOW = {408, 425, 429}


class Elsewhere(FromNoiseError):
    """A file that does not exist or may not be read: trying again would not help."""


def is_url(name: str) -> bool:
    """Whether a name is an address (scheme://...) rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name) is not None


def shown(url: str) -> str:
    """A path or an address in one line, without passwords and signatures."""
    if not is_url(url):
        return files.one_line(url)
    return files.one_line(re.sub(r"//[^/@]*@", "//", url.partition("?")[0]))


def filesystem(url: str) -> tuple[Any, str]:
    """(fsspec's file system, the path in it) of an address.

    Raises:
        FromNoiseError: the scheme is not supported, or its package is not installed.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in SCHEMES or "::" in url:
        raise FromNoiseError(f"{shown(url)}: addresses of shards begin with https://, http://, s3://, gs:// or az://")
    options: dict[str, Any] = {}
    try:
        import fsspec

        if scheme in ("http", "https"):
            import aiohttp

            patience = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE, sock_read=PATIENCE)
            options["client_kwargs"] = {"timeout": patience, "trust_env": True}  # respect HTTPS_PROXY
        return fsspec.core.url_to_fs(url, **options)
    except ImportError:
        package = SCHEMES[scheme] or '"fromnoise[remote]"'
        raise FromNoiseError(f"{shown(url)}: {scheme}:// needs pip install {package}") from None


def listed(url: str) -> list[str]:
    """The addresses that match a pattern with *, or those in a folder, sorted.

    Raises:
        FromNoiseError: they cannot be listed.
    """

    def look() -> list[str]:
        fs, path = filesystem(url)
        found = fs.glob(path) if "*" in url else fs.ls(path, detail=False)
        return sorted(str(fs.unstrip_protocol(one)) for one in found)

    return patiently(url, look)


def length_of(url: str) -> int:
    """The length of a file in bytes; -1 if the server does not say.

    Raises:
        FromNoiseError: the file does not exist, or the server does not answer.
    """

    def look() -> int:
        fs, path = filesystem(url)
        size = fs.info(path).get("size")
        return -1 if size is None else int(size)

    return patiently(url, look)


def read(url: str, limit: int) -> bytes:
    """The content of a small file of at most `limit` bytes.

    Raises:
        FromNoiseError: the file does not exist, is larger, or cannot be downloaded.
    """

    def look() -> bytes:
        fs, path = filesystem(url)
        with fs.open(path, "rb", block_size=0 if fs.protocol == ("http", "https") else None) as file:
            content = b""
            while len(content) <= limit and (piece := file.read(limit + 1 - len(content))):
                content += piece
        return content

    content = patiently(url, look)
    if len(content) > limit:
        raise FromNoiseError(f"{shown(url)}: is larger than the {limit:,} bytes that such a file may have")
    return content


def fetch(url: str, file: BinaryIO, length: int = -1) -> None:
    """Download a file into an empty one; after a failure, continue where it broke off.

    Args:
        url: the address.
        file: the empty file, open for writing.
        length: the length that it must have, in bytes; -1 if unknown.

    Raises:
        FromNoiseError: the file does not exist, has another length, or cannot be downloaded after several attempts.
    """
    at_once = False  # whether the server does not support range requests
    most = failures = 0
    while True:
        try:
            _read_on(url, file, length, at_once)
            return
        except Exception as error:
            if not at_once and isinstance(error, ValueError) and "range requests" in str(error):
                at_once = True
                continue
            failures = 1 if file.tell() > most else failures + 1
            most = max(most, file.tell())
            _wait(url, error, failures)


def _read_on(url: str, file: BinaryIO, length: int, at_once: bool) -> None:
    """Download the rest, from the current end of `file`."""
    fs, path = filesystem(url)
    size = in_time(lambda: fs.info(path)).get("size")
    if size is not None and length >= 0 and size != length:
        raise Elsewhere(f"{shown(url)}: has {size:,} bytes, but had {length:,} when its examples were counted: shards "
                        "must not change during a run")  # fmt: skip
    if at_once or size is None:
        file.seek(0)
        file.truncate()
    options: dict[str, Any] = {"block_size": 0} if at_once or size is None else {"cache_type": "none"}
    with in_time(lambda: fs.open(path, "rb", **options)) as source:
        if file.tell():
            source.seek(file.tell())
        while piece := in_time(lambda: _piece(source)):
            file.write(piece)
    expected = length if size is None else size
    if expected not in (-1, file.tell()):
        raise EOFError(f"it ended after {file.tell():,} of {expected:,} bytes")


def _piece(source: Any) -> bytes:
    """The next `_PIECE` bytes, collected from as many reads as necessary; fewer at the end."""
    parts, wanted = [], _PIECE
    while wanted and (part := source.read(wanted)):
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


def patiently(url: str, look: Callable[[], T]) -> T:
    """The result of `look`, which is tried a few times.

    Raises:
        FromNoiseError: the file does not exist, or all attempts failed.
    """
    failures = 0
    while True:
        try:
            return in_time(look)
        except Exception as error:
            failures += 1
            _wait(url, error, failures, _TRIES)


def _wait(url: str, error: Exception, failures: int, most: int | None = None) -> None:
    """Wait after a failure, if another attempt may succeed.

    Raises:
        FromNoiseError: another attempt would not help, or there were too many.
    """
    if is_ending():
        raise Elsewhere("the program is ending") from None
    if isinstance(error, FromNoiseError):
        raise error
    if isinstance(error, OSError) and error.filename and error.errno and not isinstance(error, FileNotFoundError):
        raise error  # from the local disk
    answer = next((one for one in _chain(error) if isinstance(getattr(one, "status", None), int)), None)
    status = getattr(answer, "status", 0)
    if status in (401, 403) or isinstance(error, PermissionError) or "Credential" in type(error).__name__:
        raise Elsewhere(f"{shown(url)}: access denied ({_said(answer or error)}): check the address and the "
                        "credentials of its service") from None  # fmt: skip
    gone = isinstance(error, FileNotFoundError) and error.__cause__ is None
    if gone or (400 <= status < 500 and status not in _FOR_NOW):
        raise Elsewhere(f"{shown(url)}: no such file") from None
    why = _said(answer or error.__cause__ or error)
    if failures > (len(WAITS) if most is None else most):
        raise FromNoiseError(f"{shown(url)}: cannot be downloaded ({why}; tried {failures} times): check the network, "
                             "then resume") from None  # fmt: skip
    if failures == _WORRYING:
        warnings.warn(f"{shown(url)}: {why}; still trying", stacklevel=2)
    until = time.monotonic() + WAITS[failures - 1]
    while (left := until - time.monotonic()) > 0 and not is_ending():
        time.sleep(min(left, _LOOKS_UP))


def _said(error: BaseException) -> str:
    """The message of a server or a library, without passwords in addresses."""
    if (status := getattr(error, "status", None)) is not None:
        return f"{status} {files.one_line(getattr(error, 'message', ''))}".strip()
    text = files.one_line(error) or type(error).__name__
    return re.sub(r"[a-z0-9]+://\S+", lambda found: shown(found[0]), text)


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__


def is_ending() -> bool:
    """Whether the main thread has ended, and the program only waits for other threads."""
    return not threading.main_thread().is_alive()


def in_time(work: Callable[[], T]) -> T:
    """The result of `work`, run in a thread; if it takes longer than PATIENCE, raise TimeoutError and abandon it."""
    given: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            given.append(work())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until = time.monotonic() + PATIENCE
    while thread.is_alive() and (left := until - time.monotonic()) > 0:
        thread.join(min(left, _LOOKS_UP))
        if is_ending():
            raise Elsewhere("the program is ending")
    if raised:
        raise raised[0]
    if not given:
        raise TimeoutError(f"no data for {PATIENCE:g} seconds")
    return given[0]
