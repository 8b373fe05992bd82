"""Starting a run from another model's weights."""

from collections.abc import Callable
from pathlib import Path

from fromnoise.app.runs.model import open_model
from fromnoise.errors import FromNoiseError
from fromnoise.nn.control import Control
from fromnoise.train.diffusion import Diffusion
from fromnoise.train.task import Task
from fromnoise.weights import native

_MEANING = ("schedule", "parameterization", "variance")


def start_from(place: Path, task: Task, say: Callable[[str], None]) -> None:
    """Copy every tensor of another model's averaged weights whose name and shape match, and report it.

    Tensors of another shape start fresh, such as the class embeddings if the number of classes changed. A control
    branch and the network that it steers both start as the other model; if that is a branch, too, as its parts.

    Args:
        place: a run, checkpoint or saved model, or hf://owner/name.
        task: the task to be trained.
        say: called with each line of the report.

    Raises:
        FromNoiseError: if the task trains no denoiser, there is no model, or no tensor fits; for a branch, if any
            tensor of the network that it steers does not fit.
    """
    if not isinstance(task, Diffusion):
        raise FromNoiseError("init: only denoisers can start from another model")
    model = open_model(place, "fp32")
    name = model.source or place
    theirs, own = model.denoiser.network.state_dict(), task.network.state_dict()
    if isinstance(task.network, Control) and not isinstance(model.denoiser.network, Control):
        theirs = {f"{part}.{name}": value for part in ("of", "copy") for name, value in theirs.items()}
    fits = {name: value for name, value in theirs.items() if name in own and own[name].shape == value.shape}
    if isinstance(task.network, Control) and any(name.startswith("of.") and name not in fits for name in own):
        raise FromNoiseError(f"init: {name} does not have the network that this branch steers: name that model")
    if not fits:
        raise FromNoiseError(f"init: {name} has {len(theirs)} tensors, and none of them fits this run's network")
    task.network.load_state_dict(own | fits)
    fresh = [name for name in own if name not in fits]
    rest = f"; fresh: {', '.join(fresh[:6])}{', ...' if len(fresh) > 6 else ''}" if fresh else ""
    say(f"starts from {name}: {len(fits)} of {len(own)} tensors{rest}")
    before, now = native.describe(model.denoiser), native.describe(task.denoiser)
    words = task.denoiser.text
    if words is not None and model.denoiser.text is not None and not words.reads_as(model.denoiser.text):
        say("fromnoise: warning: init: its text encoder is another one or was fitted to other captions, so its weights "
            "for text do not carry over and are learned again")  # fmt: skip
    for key in _MEANING:
        if before[key] != now[key]:
            say(f"fromnoise: warning: init: its {key} is {before[key]} and this run's is {now[key]}, so its "
                "weights compute something else")  # fmt: skip
