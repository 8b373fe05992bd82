"""Download models from the Hugging Face hub, at one commit and as safetensors and JSON only, and upload them."""

import glob
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, hub, pretrained, storage
from fromnoise.system.disk.hub import Address, is_address
from fromnoise.weights import lora
from fromnoise.weights.names import INDEX, STEM

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SAY = {storage.MANIFEST, "denoiser.json", "classifier.json", "autoencoder.json", INDEX, "model.pt", "model.json"}
"""Files that describe a model, in all the formats that fromnoise writes."""
_PATIENCE = 60.0
"""Seconds that the hub may take to answer during an upload."""

Say = Callable[[str], None]


def local(place: str | Path, say: Say) -> Path:
    """The folder itself, or for an address on the hub the folder that `fetched` returns."""
    return fetched(place, say) if is_address(place) else Path(place)


def fetched(place: str | Path, say: Say) -> Path:
    """Download a model into the hub's own cache, at one commit, and return its folder.

    JSON files come first, so that a model that cannot be read costs no download; then the safetensors of the parts that
    are needed, in half precision only if a part has no others. Pickles are never downloaded. Cached files are not
    downloaded again, and a commit that is cached is opened without a request.

    Args:
        place: hf://owner/name[@revision][/folder].
        say: called with a line that names the commit of a branch or tag, or the last known one if the hub does not
            answer.

    Raises:
        FromNoiseError: if there is no such model, no access or no network, the download breaks off, or the model is of
            a kind that fromnoise cannot read.
    """
    address = hub.address(place)
    with hub.talking(address, address.repo):
        under = glob.escape(f"{address.folder}/") if address.folder else ""
        snapshot = _at_one_commit(address, [f"{under}*.json"], say)
        commit, root = snapshot.name, snapshot / address.folder
        if root.is_file():
            raise _file(address)
        places = _insist_on_known(root, snapshot, address, commit)
        if not places:
            _snapshot(address.repo, commit, [f"{under}*.json", f"{under}*.safetensors"])
            if not _tensors(root):
                raise _strange(address, commit)
        for one in places:
            inside = "".join(f"{glob.escape(part)}/" for part in one.relative_to(snapshot).parts)
            for names in ((f"{STEM}.safetensors", f"{STEM}-*.safetensors"), (f"{STEM}.fp16*.safetensors",)):
                _snapshot(address.repo, commit, [f"{inside}{name}" for name in (*names, "*.json")])
                if any(one.glob(f"{STEM}*.safetensors")):
                    break
            else:
                raise _strange(address, commit, one.relative_to(snapshot).as_posix().removeprefix("."))
    for path in _tensors(root):
        _insist_on_whole(path, address)
    return root


def _at_one_commit(address: Address, wanted: Sequence[str], say: Say) -> Path:
    """Files of these patterns at the current commit of a branch; if the hub does not answer, at the last known one.

    The hub's library silently opens the last known commit even if the hub refuses access; here that is an error.
    """
    library, revision = hub.client(address), address.revision or "main"
    if re.fullmatch("[0-9a-f]{40}", revision):
        return _snapshot(address.repo, revision, wanted)

    def pin(commit: str) -> str:
        return f"pin it with {Address(address.repo, commit, address.folder)}"

    try:
        commit = str(library.HfApi().repo_info(address.repo, revision=revision).sha)
    except Exception as error:
        answer = hub.status(error)
        if answer in (401, 403, 404):
            raise
        try:
            found = _snapshot(address.repo, revision, wanted, here=True)
        except Exception:
            raise error from None
        why = f"the hub answers {answer}" if answer else f"{library.constants.ENDPOINT} is not reached"
        why = "HF_HUB_OFFLINE is set" if library.constants.HF_HUB_OFFLINE else f"now {why}"
        say(f"{address} was commit {found.name} when the hub was last asked ({why}), and is opened as such: "
            f"{pin(found.name)}")  # fmt: skip
        return found
    found = _snapshot(address.repo, revision, wanted)  # by the branch's name, so that the cache remembers its commit
    if found.name != commit:  # the hub went away meanwhile, or the branch moved
        found = _snapshot(address.repo, commit, wanted)
    say(f"{address} is commit {commit}: {pin(commit)}")
    return found


def source(place: str | Path, folder: Path) -> str:
    """The address with its commit, for a folder from `fetched`: it names this exact model for ever."""
    address = hub.address(place)
    above = len(Path(address.folder).parts)
    return str(Address(address.repo, folder.parents[above - 1].name if above else folder.name, address.folder))


def kept(place: str | Path, folder: Path) -> Path:
    """Our cache folder for files that are derived from a model of the hub, one for each commit."""
    name = source(place, folder).removeprefix(hub.SCHEME)
    return storage.cache("hub") / name.replace("/", "--").replace("@", "--")


def _snapshot(repo: str, revision: str, wanted: Sequence[str], here: bool = False) -> Path:
    """Download files that are not cached yet, with progress bars in a terminal; returns their folder.

    Args:
        repo, revision: the repository and its branch, tag or commit.
        wanted: patterns of file names.
        here: whether to use only the cache and send no request.
    """
    library = hub.client(repo)

    class Bar(library.utils.tqdm):
        def __init__(self, *args: Any, **options: Any):
            super().__init__(*args, **options | {"disable": not sys.stderr.isatty() or options.get("disable")})

    place = library.snapshot_download(
        repo, revision=revision, allow_patterns=list(wanted), tqdm_class=Bar, local_files_only=here
    )
    return Path(place)


def _tensors(root: Path) -> list[Path]:
    return sorted(root.rglob("*.safetensors"))


def _insist_on_known(root: Path, snapshot: Path, address: Address, commit: str) -> list[Path]:
    """The folders with another library's weights; empty if the JSON files describe a model of ours.

    Raises:
        FromNoiseError: if they describe no model that fromnoise can read, or two.
    """
    from fromnoise.weights import opening, pipelines  # imported here, since they load torch

    ours = (root / storage.MANIFEST).exists() or any(root.glob(f"checkpoints/step-*/{storage.MANIFEST}"))
    try:
        if not opening.is_foreign(root) and not ours:
            raise _strange(address, commit)
        return [] if ours else pipelines.insist_on_known(root)
    except FromNoiseError as error:
        raise FromNoiseError(str(error).replace(str(snapshot), f"{hub.SCHEME}{address.repo}")) from None


def _file(address: Address) -> FromNoiseError:
    """The error for an address of a file, which asks for its folder instead."""
    above = Address(address.repo, address.revision, address.folder.rpartition("/")[0])
    return FromNoiseError(f"{address}: is a file; name its folder, {above}")


def _strange(address: Address, commit: str, part: str | None = None) -> FromNoiseError:
    """The error for a repository without a readable model, or without weights in `part`, judged by its file names."""
    under = f"{address.folder}/" if address.folder else ""
    every = hub.client(address).HfApi().list_repo_files(address.repo, revision=commit)
    if address.folder in every:
        return _file(address)
    names = [name for name in every if name.startswith(under) and not name.rpartition("/")[2].startswith(".")]
    if part is not None:
        names = [name for name in names if name.rpartition("/")[0] == part]
    if any(name.rpartition("/")[2] in lora.NAMES for name in names):
        return FromNoiseError(f"{address}: {lora.IS_ONE}")
    pickle = next((name for name in names if name.endswith(_PICKLES)), None)
    if pickle and (part is not None or not any(name.endswith(".safetensors") for name in names)):
        return FromNoiseError(f"{address}: its weights are a pickle ({files.one_line(pickle)}), which may hold "
                              f"programs, and no safetensors: if you trust it, `hf download {address.repo}`, and name "
                              "the folder that this prints")  # fmt: skip
    there = ", ".join(map(files.one_line, names[:5])) or "nothing"
    if part is not None:
        return FromNoiseError(f"{address}: {part or 'it'} needs weights, {STEM}.safetensors or its shards, but has "
                              f"{there}")  # fmt: skip
    return FromNoiseError(f"{address}: must be a diffusers pipeline or a folder of fn.save, but has "
                          f"{there}")  # fmt: skip


def _insist_on_whole(path: Path, address: Address) -> None:
    """Check a cached file's SHA-256, which is its name in the hub's cache if it is large; others are not checked."""
    name = path.readlink().name if path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", name) and pretrained.sha256(path) != name:
        raise FromNoiseError(f"{address}: {path.resolve()} is not what the hub sent (another SHA-256): remove it to "
                             "download it again")  # fmt: skip


def insist_on_login(repo: str) -> None:
    """Check with one request, before hours of work, that an upload to `repo` is likely to succeed.

    Raises:
        FromNoiseError: if `repo` is not owner/name, the library is not installed, there is no token or network, or the
            hub does not know the token.
    """
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo) is None:
        raise FromNoiseError(f"{files.one_line(repo)}: must be owner/name, where you or an organisation of yours "
                             "is the owner")  # fmt: skip
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
    """A block without progress bars outside a terminal, and without the library's own deprecation warnings."""
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
    """Upload a folder's files to a model repository, which is created if it is missing.

    Args:
        folder: the folder; other files in the repository stay.
        repo: owner/name.
        message: the commit message.
        private: whether a new repository is private; an existing one must then be private, too.

    Returns:
        The repository's address for browsers.

    Raises:
        FromNoiseError: if there is no token, no permission to write or no network, the repository is public although
            `private` is set, or it has another model's file that would be opened instead of the new ones.
    """
    what = f"{hub.SCHEME}{repo}"
    with hub.talking(what, repo, _PATIENCE, writing=True), _quiet(hub.client(what)):
        api = hub.client(what).HfApi()
        url = str(api.create_repo(repo, private=private, exist_ok=True))
        if private and not api.repo_info(repo).private:
            raise FromNoiseError(f"{what}: is public, but a private repository was asked for; nothing is sent: make it "
                                 f"private at {url}/settings, or name another")  # fmt: skip
        sent = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        if other := next((name for name in sorted(api.list_repo_files(repo)) if _stale(name, sent)), None):
            raise FromNoiseError(f"{what}: holds {files.one_line(other)} of another model, which would be opened "
                                 f"instead of this one; nothing is sent: remove it at {url}/tree/main, or name "
                                 "another repository")  # fmt: skip
        api.upload_folder(repo_id=repo, folder_path=str(folder), commit_message=message)
    return url


def _stale(name: str, sent: set[str]) -> bool:
    """Whether a file that is not replaced by the upload describes a model, or holds weights of one."""
    above, _, last = name.rpartition("/")
    beside = {one.rpartition("/")[0] for one in sent if one.rpartition("/")[2].startswith(STEM)}
    return name not in sent and (name in _SAY or (above in beside and last.startswith(STEM)))
