"""The `data` part of a run's configuration: which images to use, and how to resize and augment them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from fromnoise.registry.section import Section


class DataConfig(Section):
    """The `data` part of a run's configuration."""

    name: str = Field("digits", description="a named data set; a folder of images; archives (shards-{000..099}.tar, "
                      "*.tar, images.zip); a .npy, .npz or .parquet file; or hf://owner/name[@revision]")  # fmt: skip
    columns: dict[str, str] = Field(
        {}, description="for tables: names of the columns image, label and caption, if they are not found by themselves"
    )
    stream: bool = Field(
        False, description="read .tar or .parquet shards sequentially, instead of indexing all of them before "
        "training; always on for addresses (https://, s3://, gs://)")  # fmt: skip
    classes: int | tuple[str, ...] | None = Field(
        None, description="for streamed shards: number or names of the classes; 0 ignores labels")  # fmt: skip
    lanes: int = Field(
        16, ge=1, le=4096, description="for streamed shards: how many are read side by side, over all processes; more "
        "lanes mix examples better and serve more machines")  # fmt: skip
    cache: Path | None = Field(
        None, description="folder for downloaded and unpacked shards; default: the library's cache")  # fmt: skip
    cache_gb: float = Field(
        50.0, gt=0, description="largest size of the shards' cache in GB; beyond it, the least recently used shards "
        "are removed")  # fmt: skip
    pairs: str | None = Field(
        None,
        description="images that condition the network: a folder with one for each image, under the same name; or "
        "edges, computed from each image (a folder called edges is ./edges)",
    )
    root: Path | None = Field(None, description="folder of named data sets; missing ones are downloaded there")
    split: Literal["train", "test"] = Field("train", description="split of a named data set that has both")
    size: int | tuple[int, int] | None = Field(None, description="height and width that images are resized to, as one "
                                               "number or two; default: the data set's own")  # fmt: skip
    channels: int | None = Field(None, ge=1, le=4096, description="1: gray, 3: colour, 4: colour and opacity; "
                                 "default: 1 or 3, as the images are; arrays may have any number")  # fmt: skip
    background: str = Field("white", description="colour behind transparent images, by name or #rrggbb; with 4 "
                            "channels images stay transparent")  # fmt: skip
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop", description="how images are brought to size; crop: scale the shorter side and cut out the middle; pad: "
        "shrink if necessary and add a border in the corner's colour; stretch: ignore the proportions")  # fmt: skip
    reduce: int = Field(
        1, ge=1, description="factor by which images are then shrunk, by averaging: for the small images of a cascade"
    )
    keep_depth: bool = Field(False, description="keep the precision of 16-bit and floating point gray images, instead "
                             "of rounding them to 256 values")  # fmt: skip
    hold_out: float = Field(0.0, ge=0, lt=1, description="share of the images that is held out for a validation loss, "
                            "which selects the best checkpoint")  # fmt: skip
    flip: bool = Field(False, description="mirror half of the training images, chosen at random, from left to right")
    augment: float = Field(0.0, ge=0, le=1, description="probability of each augmentation: mirroring, turning, "
                           "scaling, stretching, shifting; the network is conditioned on them, so samples show "
                           "none")  # fmt: skip
    workers: int = Field(2, ge=0, description="loader processes, used only if the data do not fit into `memory`")
    memory: int = Field(1024, ge=0, description="largest size, in MB, of a data set that is held in memory")

    @field_validator("columns")
    @classmethod
    def _are_columns(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            if key not in ("image", "label", "caption"):
                raise ValueError(f"{key} is none of image, label and caption")
        return value

    @field_validator("classes")
    @classmethod
    def _are_classes(cls, value: int | tuple[str, ...] | None) -> int | tuple[str, ...] | None:
        if isinstance(value, int) and not 0 <= value <= 2**20:
            raise ValueError("a number of classes lies in 0 to 2^20")
        if isinstance(value, tuple) and len(set(value)) < len(value):
            raise ValueError("two classes have one name")
        return value

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, value: str) -> str:
        from PIL import ImageColor

        ImageColor.getrgb(value)  # a ValueError names it
        return value

    @property
    def hw(self) -> tuple[int, int] | None:
        """(height, width), if the size is fixed."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def reduced(self) -> tuple[int, int] | None:
        """(height, width) after `reduce`, if the size is fixed."""
        return None if self.hw is None else (self.hw[0] // self.reduce, self.hw[1] // self.reduce)

    def at(self, shape: Sequence[int], **changes: Any) -> "DataConfig":
        """A copy for images of shape (C, H, W) after `reduce`, with further changes of fields."""
        c, h, w = shape
        return self.model_copy(update={"channels": c, "size": (h * self.reduce, w * self.reduce), **changes})
