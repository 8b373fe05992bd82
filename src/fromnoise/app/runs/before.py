"""What a run trains first: the stages of a cascade, an autoencoder, an image-text model, the rungs of a ladder."""

from pathlib import Path

from fromnoise import recipes
from fromnoise.app.runs.config import CONFIG, read_config
from fromnoise.recipes.config import RunConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.distillation import rungs
from fromnoise.weights import native

TEACHER = "teacher"
"""The folder of a student's run with a copy of its teacher."""


def before(config: RunConfig, out: Path, given: bool = False) -> list[tuple[str, RunConfig]]:
    """What else is trained, and into which folder."""
    if not isinstance(config, Recipe):
        return []
    own = [config.stage(name) for name in config.stages] or [config]
    seen = next((part.unclip for part in own if part.unclip is not None), None)
    first: list[tuple[str, RunConfig]] = []
    if seen is not None and shared_image_text(out) is None and not _saved(out, native.IMAGE_TEXT):
        first = [(native.IMAGE_TEXT, _on_the_same(recipes.load(seen.image_text), config))]
    if config.stages:
        return [*first, *zip(config.stages, own, strict=True)]
    if first:
        return first
    if config.distill is not None:
        ladder = {f"steps-{steps}": part for steps, part in rungs(config).items()}
        places = [*(out / name for name in ladder), out]
        return [(name, _as_it_was(ladder[name], out / name, then)) for name, then in zip(ladder, places[1:])]  # noqa: B905
    if config.latent is None or given or _saved(out, native.AUTOENCODER):
        return []
    return [(native.AUTOENCODER, _on_the_same(recipes.load(config.latent.autoencoder), config))]


def shared_image_text(run: Path) -> Path | None:
    """The image-text model beside a stage, which the stages of one run share; None of what is no stage."""
    place = run.parent / native.IMAGE_TEXT
    return place if place.is_dir() and (run.parent / f"{CONFIG}.yaml").is_file() else None


def _saved(out: Path, kind: str) -> bool:
    """Whether a run holds a model of that kind that was given, and is not trained there."""
    return (out / kind / f"{kind}.json").exists()


def _on_the_same(part: RunConfig, config: Recipe) -> RunConfig:
    """What is trained first, on the data of what needs it, and reading its words as it does."""
    data = {f"data.{key}": value for key, value in config.data.model_dump(mode="json").items()}
    words = {"text.encoder": config.text.encoder} if config.text is not None and hasattr(part, "text") else {}
    return part.with_changes(data | words | {"seed": config.seed, "precision": config.precision})


def _as_it_was(part: Recipe, place: Path, student: Path) -> Recipe:
    """A rung that has a student keeps its length: trained longer, it would no longer be what its student learned."""
    if not (student / TEACHER).exists() or not (place / f"{CONFIG}.yaml").exists():
        return part
    train = read_config(place).train
    return part.with_changes({"train.steps": train.steps, "train.minutes": train.minutes})
