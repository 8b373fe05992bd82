"""The Hugging Face hub: addresses on it, and its errors as one line.

Its library is imported only where the network is needed; it reads HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and tokens.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

SCHEME = "hf://"
_REPO = r"[\w-][\w.-]*/[\w-][\w.-]*"
_REVISION = r"refs/(?:pr|convert)/[\w.-]+|[^/@]+"
_ADDRESS = re.compile(rf"(?:models/)?({_REPO})(?:@({_REVISION}))?(?:/([^@]+))?")
_FORM = "hf://owner/name, hf://owner/name@revision or hf://owner/name/folder"


@dataclass(frozen=True)
class Address:
    """hf://REPO[@REVISION][/FOLDER].

    Attributes:
        repo: owner/name.
        revision: a branch, a tag or a commit; None for the default branch.
        folder: a folder in the repository; "" for the whole repository.
    """

    repo: str
    revision: str | None = None
    folder: str = ""

    def __str__(self) -> str:
        return (
            SCHEME
            + self.repo
            + (f"@{self.revision}" if self.revision else "")
            + (f"/{self.folder}" if self.folder else "")
        )


def is_address(what: object) -> bool:
    """Whether it names something on the hub: hf://..., or hf:/..., which pathlib makes of it."""
    return re.match(r"hf:[/\\]", str(what)) is not None


def address(what: object) -> Address:
    """Parse a hub address from a string or a Path.

    Raises:
        FromNoiseError: if it lacks an owner or a name, is not a model repository, has a folder or revision that leads
            outside, or contains an unprintable character.
    """
    rest = re.sub(r"^hf:/+", "", str(what).replace("\\", "/")).rstrip("/")
    kind, _, name = rest.partition("/")
    if kind in ("datasets", "spaces", "buckets") and "/" in name:
        raise FromNoiseError(f"{SCHEME}{files.one_line(rest)}: is in the hub's {kind}; a model is named {_FORM}")
    found = _ADDRESS.fullmatch(rest)
    folder, revision = (found[3] or "", unquote(found[2] or "")) if found else ("", "")
    steps = [part for name in (folder, revision) if name for part in name.split("/")]
    strange = not (rest + revision).isprintable() or "\\" in revision or not {"", ".", ".."}.isdisjoint(steps)
    if found is None or strange:
        raise FromNoiseError(f"{SCHEME}{files.one_line(rest)}: is not a model's address: give {_FORM}")
    return Address(found[1], revision or None, folder)


def shown(what: object) -> str:
    """A string or a Path as the user wrote it: hf:/ is hf:// again."""
    return re.sub(r"^hf:[/\\]+", SCHEME, str(what)) if is_address(what) else str(what)


def hint(path: str | Path) -> str:
    """A hint to load hf://owner/name, for a path owner/name when no folder OWNER exists; else an empty string."""
    name = Path(path).as_posix()
    if re.fullmatch(_REPO, name) is None or os.path.lexists(name.partition("/")[0]):
        return ""
    return f'; if the hub\'s is meant, load "{SCHEME}{name}"'


def client(what: object) -> Any:
    """Import huggingface_hub.

    Raises:
        FromNoiseError: if it is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.utils
    except ImportError as error:
        raise FromNoiseError(f'{what} needs huggingface_hub ({error}): pip install "fromnoise[interop]"') from None
    return huggingface_hub


@contextmanager
def talking(what: object, repo: str, patience: float | None = None, writing: bool = False) -> Iterator[None]:
    """A block that talks to the hub: any error in it becomes one line, and the library's log of it is silenced.

    Args:
        what: how the message begins.
        repo: owner/name.
        patience: seconds to wait for a silent server; default: the library's own timeout.
        writing: whether the block uploads something.

    Raises:
        FromNoiseError: for every exception in the block.
    """
    hub = client(what)
    log = hub.utils.logging
    before = log.get_verbosity()
    log.set_verbosity(log.CRITICAL)  # the error itself says what it would log
    try:
        with _patient(hub.utils.get_session(), patience or hub.constants.HF_HUB_DOWNLOAD_TIMEOUT):
            yield
    except FromNoiseError:
        raise
    except Exception as error:  # from the hub, the network or the disk
        raise line(error, what, repo, writing) from None
    finally:
        log.set_verbosity(before)


@contextmanager
def _patient(session: Any, seconds: float) -> Iterator[None]:
    """Give a timeout to every request: the library looks up names and lists without one."""
    if not hasattr(session, "event_hooks"):  # older versions, which send with another library
        yield
        return

    def limit(request: Any) -> None:
        given = request.extensions.get("timeout") or {}
        request.extensions["timeout"] = {of: given.get(of) or seconds for of in ("connect", "read", "write", "pool")}

    hooks = session.event_hooks
    session.event_hooks = {**hooks, "request": [*hooks.get("request", ()), limit]}
    try:
        yield
    finally:
        session.event_hooks = hooks


def line(error: BaseException, what: object, repo: str, writing: bool = False) -> FromNoiseError:
    """An error of the hub's library, or of a library built on it, as one line with the way out."""
    chain = list(_chain(error))
    offline = [one for one in chain if "OfflineModeIsEnabled" in (type(one).__name__, *str(one).strip(")").split("("))]
    said = next((said for one in (*offline, *chain) if (said := _said(one, repo, writing))), None)
    return FromNoiseError(f"{what}: {said or _first_line(error)}")


def status(error: BaseException) -> int | None:
    """The HTTP status of a server's answer; None if there was no answer."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _first_line(error: BaseException) -> str:
    return files.one_line(" ".join(str(error).split())[:300]) or type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was raised from, the outermost first."""
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in seen:
        seen.append(one)
        yield one
        one = one.__cause__ or one.__context__


_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
_UNREACHED = {"ConnectError", "TimeoutException", "Timeout", "ProxyError", "ConnectionError"}
_CUT = {"ProtocolError", "RemoteProtocolError", "ReadError", "WriteError", "ChunkedEncodingError", "IncompleteRead"}


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def _said(error: BaseException, repo: str, writing: bool) -> str | None:
    """The message for an error, None for an unknown one.

    Errors are recognised by the names of their classes, which are the same in all versions of the library and of the
    HTTP libraries below it.
    """
    from huggingface_hub import constants

    kinds = {cls.__name__ for cls in type(error).__mro__}
    answer = status(error)
    place = f"{constants.ENDPOINT}/{repo}"
    if "OfflineModeIsEnabled" in kinds or "(OfflineModeIsEnabled)" in str(error):
        return "is not complete in the cache, and HF_HUB_OFFLINE is set: unset it and try again"
    strange = "DatasetNotFoundError" in kinds  # it drops the error that it was raised from
    if "GatedRepoError" in kinds or (strange and "gated" in str(error)):
        return f"is gated: ask for access at {place}, and {_LOGIN}"
    if "DisabledRepoError" in kinds:
        return f"was disabled: see {place}"
    if "RevisionNotFoundError" in kinds or (strange and str(error).startswith("Revision ")):
        return f"no such branch, tag or commit: see {place}/commits/main"
    if writing and answer in (401, 403):
        return (
            f"this token may not write there ({answer}): create one for {repo.split('/')[0]} with the role `write` at "
            f"{constants.ENDPOINT}/settings/tokens, and {_LOGIN}"
        )
    if "RepositoryNotFoundError" in kinds or strange or answer in (401, 403, 404):
        if writing:
            return f"the hub knows no such owner ({answer}): it must be you or an organisation of yours"
        why = f" ({answer})" if answer else ""
        return f"the hub knows no {repo}, or it is private{why}: correct the name, or {_LOGIN}"
    if answer == 429:
        return f"too many requests (429): try again in a few minutes, or {_LOGIN}, which allows more"
    if answer is not None and answer >= 500:
        return f"the hub answers {answer}: try again later, or name a mirror with HF_ENDPOINT"
    if kinds & _CUT or "Consistency check failed" in str(error):
        return "the connection broke off: try again; files that are complete are kept"
    if kinds & _UNREACHED:
        way = f"or fetch it elsewhere with `hf download {repo}`, and name the folder"
        if repo.startswith("datasets/"):
            way = "or fetch its parquet files elsewhere, and name their folder"
        way = "try again" if writing else way
        return f"{constants.ENDPOINT} is not reached ({_first_line(error)}): check the network and HF_ENDPOINT, {way}"
    if "JSONDecodeError" in kinds:
        return f"{constants.ENDPOINT} does not answer like the hub: check HF_ENDPOINT"
    if answer is not None and answer >= 400 and not writing:
        return f"the hub refuses the request ({answer}): check the name, {place} and HF_ENDPOINT"
    if isinstance(error, OSError) and error.errno in _DISK:
        where, why = error.filename or constants.HF_HUB_CACHE, (error.strerror or "").lower()
        return f"{where}: cannot be written ({why}): set HF_HOME to another folder"
    return None
