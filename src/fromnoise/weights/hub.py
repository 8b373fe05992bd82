"""Models of the hub of Hugging Face: fetched at one commit, safetensors and JSON alone, and put there."""

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fromnoise.disk import files, hub, storage
from fromnoise.disk.hub import Address, is_address
from fromnoise.errors import FromNoiseError
from fromnoise.weights import lora

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_PATIENCE = 60.0
"""Seconds that the hub may take to answer while something is put there."""

Say = Callable[[str], None]


def local(place: str | Path, say: Say) -> Path:
    """The folder itself, or the one that `fetched` makes of an address on the hub."""
    return fetched(place, say) if is_address(place) else Path(place)


def fetched(place: str | Path, say: Say) -> Path:
    """The folder of a model of the hub in the hub's own cache, as of one commit.

    JSON comes first, so that a model of a kind that is not read here costs no download; then safetensors, without
    those in other precisions where there are plain ones. Pickles are never fetched. What is there is not fetched again,
    and a commit that is there is opened without a request.

    Args:
        place: hf://owner/name[@revision][/folder].
        say: told in a line which commit a branch or tag is.

    Raises:
        FromNoiseError: no such model, no access, no network, a download that broke off, or no model of a kind that is
            read here; in one line with the way out.
    """
    address = hub.address(place)
    with hub.talking(address, address.repo):
        under = f"{address.folder}/" if address.folder else ""
        snapshot = _snapshot(address.repo, address.revision, [f"{under}*.json"])
        commit, root = snapshot.name, snapshot / address.folder
        _insist_on_known(root, snapshot, address, commit)
        if address.revision != commit:
            say(f"{address} is commit {commit}: pin it with {Address(address.repo, commit, address.folder)}")
        both = [f"{under}*.json", f"{under}*.safetensors"]
        _snapshot(address.repo, commit, both, ["*.*.safetensors"])
        if not _tensors(root):
            _snapshot(address.repo, commit, both)
        if not _tensors(root):
            raise _strange(address, commit)
    for path in _tensors(root):
        _insist_on_whole(path, address)
    return root


def source(place: str | Path, folder: Path) -> str:
    """The address with its commit, of what `fetched` made of it: what names the same model for ever."""
    address = hub.address(place)
    above = len(Path(address.folder).parts)
    return str(Address(address.repo, folder.parents[above - 1].name if above else folder.name, address.folder))


def kept(place: str | Path, folder: Path) -> Path:
    """Where what is made of a model of the hub may be kept: none of the hub's own cache, and one for each commit."""
    name = source(place, folder).removeprefix(hub.SCHEME)
    return storage.cache("hub") / name.replace("/", "--").replace("@", "--")


def _snapshot(repo: str, revision: str | None, wanted: Sequence[str], but: Sequence[str] = ()) -> Path:
    """The files of these patterns, fetched where they are not there, with bars where somebody sees them."""
    library = hub.client(repo)

    class Bar(library.utils.tqdm):
        def __init__(self, *args: Any, **options: Any):
            super().__init__(*args, **options | {"disable": not sys.stderr.isatty() or options.get("disable")})

    place = library.snapshot_download(
        repo, revision=revision, allow_patterns=list(wanted), ignore_patterns=list(but) or None, tqdm_class=Bar
    )
    return Path(place)


def _tensors(root: Path) -> list[Path]:
    return sorted(root.rglob("*.safetensors"))


def _insist_on_known(root: Path, snapshot: Path, address: Address, commit: str) -> None:
    """Raises FromNoiseError where the JSON files are of no model that is read here."""
    from fromnoise.weights import opening, pipelines  # here, since they load torch

    ours = (root / storage.MANIFEST).exists() or any(root.glob(f"checkpoints/step-*/{storage.MANIFEST}"))
    if not ours and not opening.is_foreign(root):
        raise _strange(address, commit)
    if not ours:
        try:
            pipelines.insist_on_known(root)
        except FromNoiseError as error:
            raise FromNoiseError(str(error).replace(str(snapshot), f"{hub.SCHEME}{address.repo}")) from None


def _strange(address: Address, commit: str) -> FromNoiseError:
    """The line for a repository that has no model for us, by the names of what it has."""
    under = f"{address.folder}/" if address.folder else ""
    names = hub.client(address).HfApi().list_repo_files(address.repo, revision=commit)
    names = [name for name in names if name.startswith(under) and not name.rpartition("/")[2].startswith(".")]
    if any(name.rpartition("/")[2] in lora.NAMES for name in names):
        return FromNoiseError(f"{address}: {lora.IS_ONE}")
    pickle = next((name for name in names if name.endswith(_PICKLES)), None)
    if pickle and not any(name.endswith(".safetensors") for name in names):
        return FromNoiseError(f"{address}: its weights are a pickle ({files.one_line(pickle)}), which may hold "
                              f"programs, and no safetensors: if you trust it, `hf download {address.repo}`, and name "
                              "the folder that it prints")  # fmt: skip
    there = ", ".join(map(files.one_line, names[:5])) or "nothing"
    return FromNoiseError(f"{address}: no model that is read here, which is a diffusers pipeline or a folder of "
                          f"fn.save; there is {there}")  # fmt: skip


def _insist_on_whole(path: Path, address: Address) -> None:
    """The hub names large files by their SHA-256, and its cache keeps them under that name; others are let through."""
    from fromnoise.weights import foreign

    name = path.readlink().name if path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", name) and foreign.sha256(path) != name:
        raise FromNoiseError(f"{address}: {path.resolve()} is not what the hub sent (another SHA-256): remove it, and "
                             "it is fetched again")  # fmt: skip


def insist_on_login(repo: str) -> None:
    """That something could be put there, as far as one request tells; before hours of work, not after.

    Raises:
        FromNoiseError: no owner/name, no library, no token, one that the hub does not know, or no network.
    """
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo) is None:
        raise FromNoiseError(f"{files.one_line(repo)}: no name of a repository: it is owner/name, where you or an "
                             "organisation of yours is the owner")  # fmt: skip
    what = f"{hub.SCHEME}{repo}"
    with hub.talking(what, repo, _PATIENCE, writing=True):
        library = hub.client(what)
        if library.get_token() is None:
            raise FromNoiseError(f"{what}: no token: make one with the role `write` at "
                                 f"{library.constants.ENDPOINT}/settings/tokens, and log in with `hf auth login`, or "
                                 "set HF_TOKEN")  # fmt: skip
        library.HfApi().whoami()


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """No bars where nobody sees them, and no warnings of how the library calls what it stands on."""
    silent = not sys.stderr.isatty() and not library.utils.are_progress_bars_disabled()
    if silent:
        library.utils.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        if silent:
            library.utils.enable_progress_bars()


def push(folder: Path, repo: str, message: str, private: bool = False) -> str:
    """Put a folder's files into a repository of models, which is made where it is missing.

    Args:
        folder: whose files are sent; others that are there stay.
        repo: owner/name.
        message: of the commit.
        private: whether a new repository is; one that is there stays as it is.

    Returns:
        The address for browsers.

    Raises:
        FromNoiseError: no token, no right to write, no network; in one line with the way out.
    """
    what = f"{hub.SCHEME}{repo}"
    with hub.talking(what, repo, _PATIENCE, writing=True), _quiet(hub.client(what)):
        api = hub.client(what).HfApi()
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=str(folder), commit_message=message)
    return str(url)
