"""A run that starts from another model's weights."""

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
    """Take every tensor of the other model (its averaged weights) that has the name and shape of one here, and say so.

    What has another shape, as the classes' vectors where their number changed, starts fresh. A branch and what it
    stands beside both start as the other model, or as those of another branch.

    Args:
        place: of a run, a checkpoint or a saved model, or hf://owner/name.
        task: what will be trained.
        say: tells a line.

    Raises:
        FromNoiseError: no denoiser is trained, there is no model, or none of its tensors fits; of a branch, not all of
            those that it stands beside.
    """
    if not isinstance(task, Diffusion):
        raise FromNoiseError("init: only denoisers start from another model")
    model = open_model(place, "fp32")
    name = model.source or place
    theirs, own = model.denoiser.network.state_dict(), task.network.state_dict()
    if isinstance(task.network, Control) and not isinstance(model.denoiser.network, Control):
        theirs = {f"{part}.{name}": value for part in ("of", "copy") for name, value in theirs.items()}
    fits = {name: value for name, value in theirs.items() if name in own and own[name].shape == value.shape}
    if isinstance(task.network, Control) and any(name.startswith("of.") and name not in fits for name in own):
        raise FromNoiseError(f"init: {name} has not the network that this branch was made for: name its model")
    if not fits:
        raise FromNoiseError(f"init: {name} has {len(theirs)} tensors, and none of them fits this run's network")
    task.network.load_state_dict(own | fits)
    fresh = [name for name in own if name not in fits]
    rest = f"; fresh: {', '.join(fresh[:6])}{', ...' if len(fresh) > 6 else ''}" if fresh else ""
    say(f"starts from {name}: {len(fits)} of {len(own)} tensors{rest}")
    before, now = native.describe(model.denoiser), native.describe(task.denoiser)
    words = task.denoiser.text
    if words is not None and model.denoiser.text is not None and not words.reads_as(model.denoiser.text):
        say("fromnoise: warning: init: its text encoder learned from other captions, or is another, so that its "
            "weights read other words; they learn anew")  # fmt: skip
    for key in _MEANING:
        if before[key] != now[key]:
            say(f"fromnoise: warning: init: its {key} is {before[key]} and this run's {now[key]}, so that its "
                "weights mean something else")  # fmt: skip
