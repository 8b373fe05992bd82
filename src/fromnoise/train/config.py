"""The `train` part of a run's configuration."""

from typing import Any, Literal

from pydantic import Field, field_validator

from fromnoise.errors import FromNoiseError
from fromnoise.registry.section import Section
from fromnoise.train import optimizers


class TrainConfig(Section):
    """How long a run trains, with which optimiser, and which checkpoints it keeps."""

    steps: int | None = Field(None, ge=1, description="number of optimiser steps; default: train for `minutes`")
    minutes: float | None = Field(None, gt=0, description="training time in minutes, not counting sampling and saving")
    batch_size: int = Field(128, ge=1, description="examples per optimiser step, over all processes")
    accumulate: int = Field(1, ge=1, description="parts into which a process divides its share of the batch, to save "
                            "memory; gradients are accumulated")  # fmt: skip
    gradient_checkpointing: bool = Field(False, description="recompute the inside of each block in the backward pass: "
                                         "less memory, about a third more time")  # fmt: skip
    shard: Literal["auto", "none", "full", "hybrid"] = Field(
        "auto", description="with many processes: how weights, gradients, average and moments are distributed; none: "
        "every process holds all of them (DDP); full: each holds its part (FSDP2); hybrid: the parts are distributed "
        "within each machine; auto: none if they fit into 40 % of a GPU's memory")  # fmt: skip
    optimizer: str = Field("adamw", description="adamw, or muon: matrices by Muon, everything else by AdamW")
    lr: float = Field(2e-4, gt=0, le=1e6, description="learning rate after the warm-up")
    lr_schedule: dict[str, Any] = Field({"name": "constant"}, description="learning rate schedule after the warm-up: "
                                        "constant, cosine or inverse-sqrt, with options")  # fmt: skip
    warmup: int = Field(0, ge=0, description="steps over which the learning rate rises linearly")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's decay rates of the two moments")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay of the optimiser")
    clip: float = Field(1.0, gt=0, description="norm to which larger gradients are scaled down")
    label_dropout: float = Field(0.0, ge=0, lt=1, description="share of examples whose label is dropped, for "
                                 "classifier-free guidance")  # fmt: skip
    ema: float = Field(0.9999, ge=0, lt=1, description="decay of the averaged weights; it rises to this value at the "
                       "beginning")  # fmt: skip
    checkpoint_every: int = Field(1000, ge=1, description="steps between checkpoints")
    keep: int = Field(2, ge=1, description="number of newest checkpoints to keep, in addition to the best one")
    sample_every: int = Field(0, ge=0, description="steps between sample grids; 0 for none")
    skip_nonfinite: int = Field(0, ge=0, description="number of steps with an infinite or NaN loss or gradient that "
                                "are skipped before the run stops")  # fmt: skip

    @field_validator("betas")
    @classmethod
    def _forgets(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise FromNoiseError(f"both must lie in [0, 1), got {value[0]:g} and {value[1]:g}")
        return value

    @field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, value: str) -> str:
        optimizers.registry.check(value)
        return value
