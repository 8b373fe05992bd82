"""`fromnoise index`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fromnoise.app.cli._options import File, Folder, option
from fromnoise.system.progress import counter, say


@dataclass(frozen=True)
class Index:
    """Count the images of .tar or .parquet shards into index.json, with which streaming them starts at once.

    fromnoise index 'shards/part-{000..999}.tar', then fromnoise train images --data shards --set data.stream=true.
    Webdataset's wids reads the same file.
    """

    shards: Annotated[str, tyro.conf.Positional, option("SHARDS")]
    """A folder of shards, their names with {000..999} or *, or an address (https://, s3://, gs://)."""
    out: File = None
    """The file to write; by default index.json beside the shards."""
    cache: Folder = None
    """Where shards are kept that are fetched."""

    def __call__(self) -> int:
        from fromnoise.data.shard_index import write_index

        say(f"wrote {write_index(self.shards, self.out, cache=self.cache, progress=counter)}")
        return 0
