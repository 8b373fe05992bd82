"""A folder that holds tensors as torch.save writes them, what they do not say, and how to load them."""

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
A_STUDENT = "a distilled model, whose output it would take for another; its teacher can be written"
MAKER = "trained with fromnoise"
"""In every README that is written here."""


def write(
    denoiser: Denoiser,
    path: Path,
    content: Mapping[str, Any],
    said: Mapping[str, Any],
    code: Sequence[str],
    card: Card,
) -> None:
    """model.pt, model.json and README.md; what was there is replaced when the new folder is whole.

    Args:
        denoiser: whose weights they are.
        path: of the folder.
        content: of model.pt: the tensors by the names of the other library, or those and what it keeps beside them.
        said: what those do not say of the model, for `fn.load`.
        code: lines of Python in which the other library loads model.pt.
        card: what the README says.

    Raises:
        FromNoiseError: something of somebody else would be lost, or it cannot be written.
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
    """Whether the README of a folder says that it was written here: others have files of these names, too."""
    try:
        return MAKER in files.read_text(folder / README)
    except files.Unreadable:
        return False


def own_options(denoiser: Denoiser, name: str, whose: str) -> dict[str, Any]:
    """The options of its network, which must be ours of that name.

    Raises:
        FromNoiseError: it is another; or the model is distilled, or its network given what the format has not.
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
    """Its name, with underscores."""
    spec = denoiser.variance.spec
    return (spec if isinstance(spec, str) else spec["name"]).replace("-", "_")


def cannot(whose: str, what: str) -> FromNoiseError:
    """That a format has no way of saying it."""
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
