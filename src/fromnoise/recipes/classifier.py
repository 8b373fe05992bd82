"""The configuration of a classifier of noisy images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from fromnoise.errors import FromNoiseError
from fromnoise.recipes.config import RunConfig, Spec
from fromnoise.recipes.diffusion import Recipe
from fromnoise.train.config import TrainConfig

if TYPE_CHECKING:
    from fromnoise.data.examples import Examples
    from fromnoise.denoise import Codec
    from fromnoise.guidance import NoisyClassifier
    from fromnoise.train.task import Task


class ClassifierConfig(RunConfig):
    """The complete configuration of a classifier of noisy images, on the levels, images and classes of a model."""

    what: ClassVar[str] = "a classifier of noisy images"
    holds: ClassVar[str] = "classifier"

    kind: Literal["classifier"] = "classifier"
    schedule: Spec
    times: Spec = Field({"name": "stratified"})

    def task(self, source: "Examples", codec: "Codec | None" = None, sampled: Any = None) -> "Task":
        from fromnoise import times
        from fromnoise.train import Classifying

        if len(source.classes) < 2:
            raise FromNoiseError(f"{source.name} has no classes to tell apart: put each into a sub-folder of its own")
        classifier = self.build(source.shape, list(source.classes))  # pyrefly: ignore[bad-argument-type]
        return Classifying(classifier, self.seed, times.build(self.times))

    def next_command(self, out: Path) -> str:
        return f"fromnoise sample RUN --classifier {out} --classifier-scale 2, and --guidance 0 if RUN knows classes"

    def build(self, shape: tuple[int, int, int], classes: list[str]) -> "NoisyClassifier":
        """The untrained classifier of images (C, H, W), with weights drawn from `seed`."""
        import torch

        from fromnoise import nn, schedules
        from fromnoise.guidance import NoisyClassifier

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = nn.build(self.network, in_channels=shape[0], outputs=len(classes))
        if hasattr(network, "check_size"):
            network.check_size(shape[1:])
        return NoisyClassifier(network, schedules.build(self.schedule), shape, classes)


_SHARED = ("channels", "mult", "blocks", "attention", "heads", "head_channels", "groups", "eps", "dropout", "resample",
           "scale_shift", "patch")  # fmt: skip


def for_model(recipe: Recipe) -> ClassifierConfig:
    """The default of `fromnoise train-classifier`: half the U-Net of a model, on the model's levels and data.

    It is trained by AdamW with weight decay 0.05, as in Dhariwal and Nichol 2021, for half as long as the model. For a
    model with another network it is a narrow half U-Net.
    """
    own = recipe.network
    # Two levels fit every even side, and images that are folded or cut into patches have even sides.
    narrow = {"channels": 32, "groups": 8, "mult": [1, 2], "patch": 2 if (own.get("patch") or 1) > 1 else 1}
    like = {k: own[k] for k in _SHARED if k in own} if own["name"] == "unet" else narrow
    t = recipe.train
    train = TrainConfig(
        steps=max(1, t.steps // 2) if t.steps else None,
        minutes=t.minutes / 2 if t.minutes else None,
        batch_size=t.batch_size,
        lr=1e-3,
        weight_decay=0.05,
        warmup=min(100, (t.steps or 1000) // 10),
        ema=min(t.ema, 0.999),
        checkpoint_every=t.checkpoint_every,
    )
    return ClassifierConfig(
        recipe=recipe.recipe,
        seed=recipe.seed,
        precision=recipe.precision,
        network={"name": "half-unet", **like},
        schedule=recipe.schedule,
        data=recipe.data.model_copy(update={"augment": 0.0}),
        train=train,
    )
