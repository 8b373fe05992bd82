"""`fromnoise index`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fromnoise.app.cli._options import File, Folder, option
from fromnoise.system.progress import counter, say


@dataclass(frozen=True)
class Index:
    """Index .tar or .parquet shards for streaming.

    examples:
      fromnoise index shards
          Count the images of every shard in a folder, into shards/index.json.
      fromnoise index 'shards/part-{000..999}.tar' --out index.json
          Index the named shards only, into another file.
      fromnoise train images --data shards --set data.stream=true
          Then train on them; streaming starts at once.

    details:
      webdataset's wids reads the same file.
    """

    shards: Annotated[str, tyro.conf.Positional, option("SHARDS")]
    """Folder of shards, file names with {000..999} or *, or an address (https://, s3://, gs://)."""
    out: Annotated[File, option(default="index.json beside the shards")] = None
    """Index file to write."""
    cache: Annotated[Folder, option(default="~/.cache/fromnoise/shards")] = None
    """Folder that keeps the shards which are downloaded."""

    def __call__(self) -> int:
        from fromnoise.data.shard_index import write_index

        say(f"wrote {write_index(self.shards, self.out, cache=self.cache, progress=counter)}")
        return 0
