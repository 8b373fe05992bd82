"""What a run trains first: cascade stages, an autoencoder, an image-text model, the rungs of a distillation."""

from pathlib import Path

from fromnoise import recipes
from fromnoise.app.runs.config import CONFIG, read_config
from fromnoise.recipes.config import RunConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.weights.describing import AUTOENCODER, IMAGE_TEXT

TEACHER = "teacher"
"""Folder name of the teacher's copy inside a student's run."""


def before(config: RunConfig, out: Path, given: bool = False) -> list[tuple[str, RunConfig]]:
    """Return (folder name, configuration) of everything that is trained before the run itself.

    Args:
        config: the configuration of the run.
        out: the run's folder.
        given: whether an autoencoder is given, so that none is trained.
    """
    if not isinstance(config, Recipe):
        return []
    own = [config.stage(name) for name in config.stages] or [config]
    seen = next((part.unclip for part in own if part.unclip is not None), None)
    first: list[tuple[str, RunConfig]] = []
    if seen is not None and shared_image_text(out) is None and not _saved(out, IMAGE_TEXT):
        first = [(IMAGE_TEXT, _on_the_same(recipes.load(seen.image_text), config))]
    if config.stages:
        return [*first, *zip(config.stages, own, strict=True)]
    if first:
        return first
    if config.distill is not None:
        from fromnoise.recipes.distillation import rungs

        ladder = {f"steps-{steps}": part for steps, part in rungs(config).items()}
        places = [*(out / name for name in ladder), out]
        return [(name, _as_it_was(ladder[name], out / name, then)) for name, then in zip(ladder, places[1:])]  # noqa: B905
    if config.latent is None or given or _saved(out, AUTOENCODER):
        return []
    return [(AUTOENCODER, _on_the_same(recipes.load(config.latent.autoencoder), config))]


def shared_image_text(run: Path) -> Path | None:
    """The image-text model that a stage shares with the other stages of its run; None if `run` is no stage."""
    place = run.parent / IMAGE_TEXT
    return place if place.is_dir() and (run.parent / f"{CONFIG}.yaml").is_file() else None


def _saved(out: Path, kind: str) -> bool:
    """Whether the run holds a copy of a given model of that kind, rather than one that it trains itself."""
    return (out / kind / f"{kind}.json").exists()


def _on_the_same(part: RunConfig, config: Recipe) -> RunConfig:
    """Give a preliminary training the data, text encoder, seed and precision of the run that needs it."""
    data = {f"data.{key}": value for key, value in config.data.model_dump(mode="json").items()}
    words = {"text.encoder": config.text.encoder} if config.text is not None and hasattr(part, "text") else {}
    return part.with_changes(data | words | {"seed": config.seed, "precision": config.precision})


def _as_it_was(part: Recipe, place: Path, student: Path) -> Recipe:
    """Keep the length of a rung that already has a student: training longer would change the student's teacher."""
    if not (student / TEACHER).exists() or not (place / f"{CONFIG}.yaml").exists():
        return part
    train = read_config(place).train
    return part.with_changes({"train.steps": train.steps, "train.minutes": train.minutes})
