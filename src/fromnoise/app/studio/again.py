"""The command and the Python script that reproduce a result exactly."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise import registry

if TYPE_CHECKING:
    from fromnoise.app.runs.model import Model
    from fromnoise.app.runs.plan import SamplingPlan
    from fromnoise.app.studio.works.draw import Draw


def command(asked: "Draw", run: Path, out: str = "samples.png") -> str:
    """Return the `fromnoise sample ...` command, with the options that were chosen and no others."""
    words = ["fromnoise", "sample", shown(run), "--n", str(asked.n), "--seed", str(asked.seed)]
    for name in ("sampler", "steps", "spacing", "guidance", "clip", "threshold", "rescale", "label", "negative"):
        value = getattr(asked, name)
        if value not in (None, ""):
            words += option(_OPTIONS.get(name, f"--{name}"), value)
    if asked.interval:
        words += ["--guidance-interval", *(repr(float(bound)) for bound in asked.interval)]
    if texts := asked.asked().texts:
        words += ["--text", *texts]
    for key, value in asked.options.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return " ".join(map(shlex.quote, [*words, "--out", out]))


_OPTIONS = {"rescale": "--guidance-rescale", "label": "--class"}


def python(asked: "Draw", run: Path, model: "Model", plan: "SamplingPlan") -> str:
    """Return a Python script whose `x` is what the page shows."""
    if model.before is not None or model.needs_images or plan.texts:
        return _by_plan(asked, run)
    s = plan.steering
    steering: dict[str, Any] = {"clip": s.clip, "threshold": s.threshold, "interval": s.interval,
                                "rescale": s.rescale or None, "channels": s.channels}  # fmt: skip
    given = "".join(f", {name}={value!r}" for name, value in steering.items() if value)
    lines = ["import fromnoise as fn", "", f"denoiser = fn.load({shown(run)!r}, precision={model.precision!r})"]
    if given or s.scale != 1:
        lines.append(f"denoiser = fn.guidance.steer(denoiser, {s.scale!r}{given})")
    spec = registry.spec(plan.sampler)
    options = ", ".join(f"{name}={value!r}" for name, value in spec.items() if name != "name")
    cond = ""
    if plan.label is not None:
        from fromnoise.app.runs.plan import class_number

        cond = f", cond={{'label': {class_number(model.denoiser, plan.label)}}}"
    lines += [f"sampler = fn.samplers.{type(plan.sampler).__name__}({options})",
              f"x = fn.sample(denoiser, {asked.n}, sampler, steps={plan.steps}, seed={asked.seed}{cond}, "
              f"spacing={plan.spacing!r})"]  # fmt: skip
    return "\n".join(lines) + "\n"


def _by_plan(asked: "Draw", run: Path) -> str:
    """The script for cascades, image-conditional models and prompts, which need a sampling plan."""
    words = asked.asked()
    given = {"sampler": words.sampler, "options": words.options or None, "steps": words.steps,
             "spacing": words.spacing, "guidance": words.guidance, "clip": words.clip, "threshold": words.threshold,
             "interval": words.interval, "rescale": words.rescale, "label": words.label, "texts": words.texts or None,
             "negative": words.negative}  # fmt: skip
    options = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
    return (
        "from pathlib import Path\n\nimport fromnoise as fn\n\n"
        f"model = fn.runs.open_model(Path({shown(run)!r}))\n"
        "model = model.with_images() if model.needs_images else model\n"
        f"plan = model.choice(fn.runs.SampleOptions({options}))\n"
        f"x = fn.runs.draw(model, {asked.n}, plan, seed={asked.seed}, batch_size={asked.n})\n"
    )


def option(name: str, value: object) -> list[str]:
    """Command-line arguments of an option: --NAME or --no-NAME for a bool, --NAME=VALUE for a leading dash."""
    if isinstance(value, bool):
        return [name if value else name.replace("--", "--no-", 1)]
    return [f"{name}={value}"] if isinstance(value, str) and value.startswith("-") else [name, f"{value}"]


def shown(path: Path) -> str:
    """A path relative to the folder in which the studio was started, where possible."""
    try:
        near = str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
    return f"./{near}" if near.startswith("-") else near
