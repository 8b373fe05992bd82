"""How DCP writes and reads the files of `in_parts`: its safetensors storage, with our names, hashes and last step."""

import hashlib
import queue
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future


class PartsWriter(HuggingFaceStorageWriter):
    """Write one file per stem and process.

    Args:
        writing: the folder, visible to all processes.
        begin: empties the folder; called on the first process, once all have made it and before any file is written.
        end: called on the first process with {file: {"bytes", "sha256"}} of all processes, once every file is on disk.
    """

    def __init__(self, writing: Path, begin: Callable[[], None], end: Callable[[dict[str, dict[str, Any]]], None]):
        super().__init__(str(writing), save_distributed=True)
        self.begin, self.end = begin, end
        self.per_thread_copy_ahead = 0  # all is on the CPU already, and a copying thread would use the first GPU

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Number the stems and send them to every process: one without tensors of a stem writes an empty file."""
        self.begin()
        stems = sorted({_stem(item.index.fqn) for plan in plans for item in plan.items})
        number = {item.index.fqn: stems.index(_stem(item.index.fqn)) + 1 for plan in plans for item in plan.items}
        self.fqn_to_index_mapping = number
        more = {"stems": stems, "world": len(plans)}
        return [replace(plan, storage_data=plan.storage_data | more) for plan in super().prepare_global_plan(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        about: Any = plan.storage_data
        items = self._split_by_storage_plan(about["fqn_to_index_mapping"], plan.items)
        files: queue.Queue = queue.Queue()
        names = [f"{stem}-{about['shard_index']:05d}-of-{about['world']:05d}.safetensors" for stem in about["stems"]]
        for i, name in enumerate(names, start=1):
            files.put((self.fs.concat_path(self.path, name), name, items.get(i, [])))
        self._write_data(planner, files).wait()
        done: Future[list[WriteResult]] = Future()
        done.set_result([self._hashed(name) for name in names])
        return done

    def _hashed(self, name: str) -> WriteResult:
        path = Path(self.path) / name
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return WriteResult(MetadataIndex(name), path.stat().st_size, sha256)

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        every = (one for of_process in results for one in of_process)
        self.end({one.index.fqn: {"bytes": one.size_in_bytes, "sha256": one.storage_data} for one in every})


def _stem(key: str) -> str:
    return key.partition("/")[0]


class _Listed(FileSystem):
    """A folder in which only these files are visible: files that were added later are not read."""

    def __init__(self, names: Iterable[str]):
        self.names = list(names)

    def ls(self, path: Any) -> list[str]:
        return [str(Path(path) / name) for name in self.names]


def reader(folder: Path, names: Iterable[str]) -> HuggingFaceStorageReader:
    """A reader of only these files of a folder."""
    made = HuggingFaceStorageReader(str(folder))
    made.fs = _Listed(names)
    return made
