"""The command and the Python script that reproduce an edit exactly."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise.app.studio.again import option, shown

if TYPE_CHECKING:
    from fromnoise.app.runs.model import Model
    from fromnoise.app.studio.works.edit import Edit

FOLDER = "condition"
"""The folder in which the command of a control model expects the conditioning image."""
_OPTIONS = {"strength": "--strength", "repeats": "--repeats", "text": "--text", "from_text": "--from",
            "label": "--class", "guidance": "--guidance", "sampler": "--sampler", "steps": "--steps"}  # fmt: skip


def files_of(asked: "Edit") -> tuple[list[str], str]:
    """Return (names of the images, name of the mask) for the command; all are distinct."""
    first = _plain(asked.image_name) or "a.png"
    names = [first]
    if asked.other:
        second = _plain(asked.other_name) or "b.png"
        names.append(f"b-{second}" if second == first and asked.other != asked.image else second)
    return names, "mask.png" if first != "mask.png" else "painted-mask.png"


def command(asked: "Edit", run: Path) -> str:
    """Return the `fromnoise edit ...` command (for control, `fromnoise sample ...`) with the chosen options only."""
    if asked.kind == "control":
        words = ["fromnoise", "sample", shown(run), "--pairs", FOLDER, "--n", str(asked.n or 8)]
    else:
        names, mask = files_of(asked)
        words = ["fromnoise", "edit", asked.kind, shown(run), *names]
        words += ["--mask", mask] if asked.mask else []
        words += ["--n", str(asked.n or 8)] if asked.kind != "reconstruct" else []
    for field, name in _OPTIONS.items():
        value = getattr(asked, field)
        value = value.strip() if isinstance(value, str) else value
        if value not in (None, ""):
            words += option(name, value)
    return " ".join(map(shlex.quote, [*words, "--seed", str(asked.seed), "--out", f"{asked.kind}.png"]))


def python(asked: "Edit", run: Path, model: "Model", masked: bool) -> str:
    """Return a Python script whose `x` is what the page shows, in [-1, 1]."""
    names, mask = files_of(asked)
    channels, *size = model.denoiser.image_shape or (3, 64, 64)
    fitted = None if asked.kind == "upscale" else tuple(size)
    given: dict[str, Any] = {} if asked.kind == "reconstruct" else {"n": asked.n or 8}
    given |= {name: getattr(asked, name) for name in ("strength", "repeats") if getattr(asked, name) is not None}
    given["seed"] = asked.seed
    if asked.kind == "text-difference":
        given["words"] = (asked.text.strip(), asked.from_text.strip())
    arguments = "".join(f", {name}={value!r}" for name, value in given.items())
    more = ""
    if masked:
        more += ", mask=mask"
    if asked.kind in ("interpolate", "variations", "text-difference"):
        more += ", image_text=embedded.opened(model.path)"
    from fromnoise.app.studio.editing import options_of

    lines = [
        "from pathlib import Path",
        "",
        "import torch",
        "",
        "import fromnoise as fn",
        "from fromnoise.app import edits",
        *(["from fromnoise.app.runs import embedded"] if "embedded." in more else []),
        "from fromnoise.data.folder import read_image",
        "from fromnoise.data.images import to_unit",
        "",
        f"model = fn.runs.open_model(Path({shown(run)!r}))",
        f"plan = model.choice(fn.runs.SampleOptions({_options(options_of(asked))}))",
        f"files = [{', '.join(f'Path({name!r})' for name in names)}]",
        f"image = to_unit(torch.stack([read_image(file, {channels}, {fitted}) for file in files]))",
        *([f"mask = read_image(Path({mask!r}), 1, {fitted})"] if masked else []),
        f"given, x = edits.edit({asked.kind!r}, plan.steered(model.denoiser), image, plan{arguments}{more})",
    ]
    return "\n".join(lines) + "\n"


def python_of_control(asked: "Edit", run: Path) -> str:
    """Return the script for a control model; its `x` is uint8."""
    from fromnoise.app.studio.editing import options_of

    n = asked.n or 8
    return (
        "from pathlib import Path\n\nimport fromnoise as fn\n\n"
        f"model = fn.runs.open_model(Path({shown(run)!r})).with_images({FOLDER!r})\n"
        f"plan = model.choice(fn.runs.SampleOptions({_options(options_of(asked))}))\n"
        f"x = fn.runs.draw(model, {n}, plan, seed={asked.seed}, batch_size={n})\n"
    )


def _options(options: Any) -> str:
    given = {name: getattr(options, name) for name in ("sampler", "steps", "guidance", "label", "texts")}
    return ", ".join(f"{name}={value!r}" for name, value in given.items() if value not in (None, ()))


def _plain(name: str) -> str:
    """The base name of a file, made fit for a command line."""
    last = re.split(r"[/\\]", name)[-1].strip()
    last = "".join(letter for letter in last if letter.isprintable())[-120:]
    return f"./{last}" if last.startswith("-") else last
