"""What a checkpoint records about its training data, to check that a resumed run uses the same data."""

from collections.abc import Mapping, Sequence
from typing import Any

from fromnoise.data.examples import Batches, Examples
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

NOTE = "examples"
"""Name of the record in a checkpoint."""


def about(source: Examples | Batches) -> dict[str, Any]:
    """The record of a data set: number, shape, class names and a digest of its content; {} for an iterable."""
    if isinstance(source, Batches):
        return {}
    return {"number": len(source), "shape": list(source.shape), "classes": [str(name) for name in source.classes],
            "content": source.content()}  # fmt: skip


def insist_on_the_same(checkpoint: object, learned: Any, now: Mapping[str, Any]) -> None:
    """Check that training may continue with these data; their location does not matter.

    Args:
        checkpoint: the checkpoint, for the message.
        learned: the record (`about`) of the data that the checkpoint learned from.
        now: the record of the data at hand.

    Raises:
        FromNoiseError: the data differ; the message says how.
    """
    if not isinstance(learned, Mapping) or not learned or not now:
        return
    before, after = learned.get("classes"), now["classes"]
    if before != after:
        _refuse(checkpoint, f"the classes {_named(before)}", f"{_named(after)}, so labels would change their meaning")
    if learned.get("number") != now["number"]:
        _refuse(checkpoint, f"{learned.get('number')} examples", str(now["number"]))
    if learned.get("shape") != now["shape"]:
        _refuse(checkpoint, f"examples of {_sides(learned.get('shape'))}", _sides(now["shape"]))
    content = learned.get("content")
    if content is not None and now["content"] is not None and content != now["content"]:
        _refuse(checkpoint, "other examples, as many and of the same shape", "these")


def _refuse(checkpoint: object, before: str, after: str) -> None:
    raise FromNoiseError(f"{checkpoint} learned from {before}, but the data now has {after}: restore the data, or "
                         "train into another folder")  # fmt: skip


def _named(classes: Any) -> str:
    if not isinstance(classes, Sequence) or not classes:
        return "(none)"
    shown = ", ".join(files.one_line(str(name)) for name in classes[:12])
    return shown + (f" and {len(classes) - 12} more" if len(classes) > 12 else "")


def _sides(shape: Any) -> str:
    return "x".join(map(str, shape)) if isinstance(shape, Sequence) else "unknown shape"
