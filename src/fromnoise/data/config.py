"""Which images, and how they are brought to the network's size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from fromnoise.registry.section import Section


class DataConfig(Section):
    """The `data` part of a run's configuration."""

    name: str = Field("digits", description="a data set's name; a folder of images; archives (shards-{000..099}.tar, "
                      "*.tar, images.zip); a .npy, .npz or .parquet file; or hf://owner/name[@revision]")  # fmt: skip
    columns: dict[str, str] = Field(
        {}, description="of a table: the names of its columns, where they are not the obvious ones"
    )
    stream: bool = Field(
        False, description="read .tar or .parquet shards one after the other, in a counted order, rather than look "
        "into all of them first; addresses (https://, s3://, gs://) are always read so")  # fmt: skip
    classes: int | tuple[str, ...] | None = Field(
        None, description="of streamed shards: how many classes their labels count, or their names; 0 leaves labels "
        "aside")  # fmt: skip
    lanes: int = Field(
        16, ge=1, le=4096, description="of streamed shards: how many are read side by side, over all processes: more "
        "mix better, and serve more machines")  # fmt: skip
    cache: Path | None = Field(
        None, description="folder for shards that are fetched or unpacked; by default that of the library")  # fmt: skip
    cache_gb: float = Field(
        50.0, gt=0, description="GB up to which they are kept; then those go that were read longest ago")  # fmt: skip
    pairs: str | None = Field(
        None,
        description="a folder of images that the network is shown, each of the name of the image it belongs to; "
        "or edges: those of each image, computed (a folder of that name is ./edges)",
    )
    root: Path | None = Field(None, description="where named data sets lie; downloaded there where missing")
    split: Literal["train", "test"] = Field("train", description="of a named data set that has both")
    size: int | tuple[int, int] | None = Field(None, description="height and width; none keeps the data set's own")
    channels: int | None = Field(None, ge=1, le=4096, description="1 gray, 3 colour, 4 colour and opacity; none takes "
                                 "1 or 3, as the images are; arrays may have any number")  # fmt: skip
    background: str = Field("white", description="what transparent images are laid on, by name or #rrggbb; with 4 "
                            "channels they stay transparent")  # fmt: skip
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop", description="crop: scale the shorter side, cut the middle; pad: keep the pixels, add a border "
        "of the corner's colour (larger images are scaled down first); stretch: ignore the proportions")  # fmt: skip
    reduce: int = Field(
        1, ge=1, description="then shrink by so much, to the means over squares: a cascade's small images"
    )
    keep_depth: bool = Field(False, description="keep the digits of 16-bit and floating point gray images, rather than "
                             "round them to 256 values")  # fmt: skip
    hold_out: float = Field(0.0, ge=0, lt=1, description="share of the images that is held out for a validation loss, "
                            "by which the best checkpoint is chosen")  # fmt: skip
    flip: bool = Field(False, description="mirror half of the examples left to right")
    augment: float = Field(0.0, ge=0, le=1, description="probability with which an image is mirrored, turned, scaled, "
                           "stretched, shifted, each by itself; samples are not")  # fmt: skip
    workers: int = Field(2, ge=0, description="loader processes, used only by sets too large for memory")
    memory: int = Field(1024, ge=0, description="MB of uint8 images up to which a set is held in memory")

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
        """The same data as images of (C, H, W), and with other changes."""
        c, h, w = shape
        return self.model_copy(update={"channels": c, "size": (h * self.reduce, w * self.reduce), **changes})
