"""`fromnoise info`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fromnoise.app.cli._options import Run
from fromnoise.app.runs.config import has_any, read_any
from fromnoise.errors import printable
from fromnoise.system.disk.hub import shown
from fromnoise.system.progress import say, warn
from fromnoise.weights import hub


@dataclass(frozen=True)
class Info:
    """Describe a run or a saved model.

    examples:
      fromnoise info runs/digits
          Progress, loss, checkpoints and configuration of a run.
      fromnoise info hf://google/ddpm-cifar10-32
          Network, schedule and size of a model on the hub.
    """

    run: Run
    """A run folder, a saved model, a diffusers folder, or hf://owner/name[@revision]."""

    def __call__(self) -> int:
        run = hub.local(self.run, say)
        if not has_any(run) and _is_model(run):
            _print(_of_model(run, shown(self.run)))
            return 0
        config = read_any(run)
        stages = getattr(config, "stages", {})
        for part in [run / name for name in stages] or [run]:
            _describe(part)
            print()
        print("config.yaml")
        print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).rstrip())
        return 0


def _describe(run: Path) -> None:
    from fromnoise.system.disk import storage
    from fromnoise.train.progress import Progress
    from fromnoise.weights import native
    from fromnoise.weights.checkpoint import Checkpoints

    config = read_any(run)

    def read(folder: Path) -> tuple[Progress, dict[str, Any], int]:
        state = Progress.of(storage.read_text(folder, "state"), folder)
        return state, storage.read_text(folder, config.holds), native.parameters(folder)

    state, about, parameters = native.reading(run, read, warn, config.holds)
    lines = {
        "run": str(run),
        "holds": config.what,
        "recipe": config.recipe,
        "parameters": f"{parameters:,}",
        "trained on": _shape(about) + config.data.name,
        "classes": ", ".join(about.get("classes", ())) or "none",
        "trained": f"{state.step} steps, {state.images:,} images, {state.seconds / 60:.1f} minutes",
        "loss": f"{state.loss:.4f} (moving average), {_last_loss(run)} (last step)",
        "checkpoints": ", ".join(map(str, Checkpoints(run / "checkpoints").steps())),
    }
    _print(lines | _distilled(about))


def _distilled(about: dict[str, Any]) -> dict[str, str]:
    """The line on the distillation of a student; no line for other models."""
    return {"distilled": _named(about["student"])} if "student" in about else {}


def _print(lines: dict[str, str]) -> None:
    width = max(map(len, lines))
    for key, value in lines.items():
        print(printable(f"{key:<{width}}  {value}"))


def _is_model(folder: Path) -> bool:
    """Whether the folder holds a saved denoiser, or one in the format of another library."""
    from fromnoise.weights import native, opening

    return (folder / f"{native.DENOISER}.json").is_file() or opening.is_foreign(folder)


def _of_model(folder: Path, name: str) -> dict[str, str]:
    from fromnoise.weights import describing, native, opening

    denoiser = native.load(folder, warn=warn)
    about = describing.describe(denoiser)
    theirs = opening.is_foreign(folder)
    known = ", ".join(denoiser.class_names) or (f"{denoiser.classes}, without names" if denoiser.classes else "none")
    return {
        "model": name,
        "holds": "a denoiser of another library" if theirs else "a denoiser, saved",
        "network": _named(about["network"]),
        "parameters": f"{sum(p.numel() for p in denoiser.network.parameters()):,}",
        "images" if len(denoiser.shape or ()) == 3 else "states": "x".join(map(str, denoiser.shape or ())) or "any",
        "schedule": _named(about["schedule"]),
        "predicts": _named(about["parameterization"]),
        "variance": _named(about["variance"]),
        "classes": known,
    } | _distilled(about)


def _named(about: Any) -> str:
    """The name of a part, and its options if it has any."""
    if not isinstance(about, dict):
        return str(about)
    options = ", ".join(f"{key}={value}" for key, value in about.items() if key not in ("name", "own"))
    return str(about.get("name") or about.get("own")) + (f" ({options})" if options else "")


def _shape(about: dict[str, Any]) -> str:
    """The shape of the states of the network, if it is fixed."""
    shape = "x".join(map(str, about.get("shape") or ()))
    return f"{shape} from " if shape else ""


def _last_loss(run: Path) -> str:
    from fromnoise.train.log import newest

    loss = (newest(run / "metrics.jsonl") or {}).get("loss")
    return f"{loss:.4f}" if isinstance(loss, int | float) else "unknown"
