"""Write a folder with tensors from torch.save, the facts that they do not state, and code to load them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fromnoise import registry
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, storage
from fromnoise.system.disk.room import insist_on_room
from fromnoise.weights.formats.base import Card

WEIGHTS, SAID, README = "model.pt", "model.json", "README.md"
A_STUDENT = "a distilled model, whose output it would misread; its teacher can be written"
MAKER = "trained with fromnoise"
"""Words in every README that fromnoise writes; `is_ours` looks for them."""


def write(
    denoiser: Denoiser,
    path: Path,
    content: Mapping[str, Any],
    said: Mapping[str, Any],
    code: Sequence[str],
    card: Card,
) -> None:
    """Write model.pt, model.json and README.md; an older folder is replaced once the new one is complete.

    Args:
        denoiser: the model.
        path: the folder.
        content: the value of model.pt: tensors under the other library's names, perhaps with other entries that it has.
        said: facts about the model that `content` does not state, for `fn.load`.
        code: lines of Python with which the other library loads model.pt.
        card: the text of the README.

    Raises:
        FromNoiseError: if other files would be lost, or the folder cannot be written.
    """
    target = insist_on_room(path, (WEIGHTS, SAID, README), is_ours, "such a model")
    try:
        with storage.making(target, listed=False) as writing:
            torch.save(dict(content), writing / WEIGHTS)
            files.write_json(writing / SAID, dict(said))
            files.write_text(writing / README, _readme(denoiser, code, card))
    except OSError as error:
        raise FromNoiseError(f"{path}: cannot be written ({error.strerror or error})") from None


def is_ours(folder: Path) -> bool:
    """Whether a folder's README says that fromnoise wrote it: other programs use the same file names."""
    try:
        return MAKER in files.read_text(folder / README)
    except files.Unreadable:
        return False


def own_options(denoiser: Denoiser, name: str, whose: str) -> dict[str, Any]:
    """The options of the denoiser's network, which must be the registered network `name`.

    Raises:
        FromNoiseError: if it is another network, the model is distilled, or its network takes inputs that the format
            lacks.
    """
    if denoiser.student is not None:
        raise cannot(whose, A_STUDENT)
    network = denoiser.network
    if not (registry.is_entry(type(network)) and registry.spec(network)["name"] == name):
        raise cannot(whose, f"a {type(network).__name__}, only a {name}")
    options = registry.spec(network)
    given = [*options["numbers"], *(key for key in ("text", "image_embedding") if options[key])]
    if given:
        raise cannot(whose, f"a network that is given {' and '.join(given)}")
    return options


def variance_of(denoiser: Denoiser) -> str:
    """The name of a denoiser's variance, with underscores."""
    spec = denoiser.variance.spec
    return (spec if isinstance(spec, str) else spec["name"]).replace("-", "_")


def cannot(whose: str, what: str) -> FromNoiseError:
    """The error that a format cannot express a model."""
    return FromNoiseError(f"{whose}: cannot hold {what}")


def _readme(denoiser: Denoiser, code: Sequence[str], card: Card) -> str:
    count = sum(p.numel() for p in denoiser.network.parameters())
    classes = ", ".join(denoiser.class_names[:20])
    lines = [
        f"# A diffusion model of {'x'.join(map(str, denoiser.shape or ())) or 'images'}",
        "",
        f"{count:,} parameters, {MAKER}. {card.about}".strip(),
        *(["", f"Classes, in the order of their labels: {classes}."] if classes else []),
        "",
        "```python",
        *code,
        "```",
        "",
        f'`{SAID}` says to fromnoise what the tensors do not: `fn.load("{WEIGHTS}")`.',
    ]
    return "\n".join(lines) + "\n"
