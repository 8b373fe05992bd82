"""The `train` part of a run's configuration."""

from typing import Any, Literal

from pydantic import Field, field_validator

from fromnoise.errors import FromNoiseError
from fromnoise.registry.section import Section
from fromnoise.train import optimizers


class TrainConfig(Section):
    """How long, how fast, and what is kept."""

    steps: int | None = Field(None, ge=1, description="optimiser steps; none trains until `minutes` are over")
    minutes: float | None = Field(None, gt=0, description="training time, sampling and saving not counted")
    batch_size: int = Field(128, ge=1, description="examples of one optimiser step, over all processes")
    accumulate: int = Field(1, ge=1, description="parts that a process works through one after the other")
    gradient_checkpointing: bool = Field(False, description="compute what is inside a block again in the backward "
                                         "pass: less memory, a third more time")  # fmt: skip
    shard: Literal["auto", "none", "full", "hybrid"] = Field(
        "auto", description="of many processes, which part of the weights, gradients, average and moments each holds: "
        "none: all of them (DDP); full: its part of each (FSDP2); hybrid: its part among the processes of its machine; "
        "auto: none as long as they fit into 40 % of a GPU's memory")  # fmt: skip
    optimizer: str = Field("adamw", description="muon: matrices by Muon, the rest by AdamW")
    lr: float = Field(2e-4, gt=0, le=1e6, description="learning rate after the warm-up")
    lr_schedule: dict[str, Any] = Field({"name": "constant"}, description="after the warm-up: constant, cosine or "
                                        "inverse-sqrt, with its options")  # fmt: skip
    warmup: int = Field(0, ge=0, description="steps over which the learning rate rises linearly")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's decay of the two moments")
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    label_dropout: float = Field(0.0, ge=0, lt=1, description="share of examples whose label is hidden, for "
                                 "classifier-free guidance")  # fmt: skip
    ema: float = Field(0.9999, ge=0, lt=1, description="decay of the averaged weights, reached gradually")
    checkpoint_every: int = Field(1000, ge=1, description="steps")
    keep: int = Field(2, ge=1, description="newest checkpoints that are kept, beside the best")
    sample_every: int = Field(0, ge=0, description="steps between sample grids; 0 draws none")
    skip_nonfinite: int = Field(0, ge=0, description="steps with a loss or gradient that is not a number that may be "
                                "left out before the run stops")  # fmt: skip

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
