"""Reads and edits images, and sends their progress to the page. Needs torch."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fromnoise.app import edits
from fromnoise.app.runs import SampleOptions, SamplingPlan
from fromnoise.app.runs.embedded import opened
from fromnoise.app.runs.model import Model, draw_states
from fromnoise.app.studio import making
from fromnoise.app.studio.works.base import Places, Send
from fromnoise.app.studio.works.seen import Watched, images
from fromnoise.data.computed import COMPUTED
from fromnoise.data.folder import read_image
from fromnoise.data.images import InMemory, to_uint8, to_unit
from fromnoise.editing import Inpaint
from fromnoise.errors import FromNoiseError
from fromnoise.parameterizations.prediction import Prediction

if TYPE_CHECKING:
    from fromnoise.app.studio.works.edit import Edit

FRAMES = 100
"""About how many frames are sent of an edit, regardless of its network calls."""
_LATENT = 3.0
"""Standard deviations that fill the gray scale when latents are shown undecoded."""


class Following:
    """Sends the network's predictions at intervals.

    Args:
        send: takes the frames.
        total: number of network calls; None if unknown.
        scale: x0hat is divided by this before it is shown.
    """

    def __init__(self, send: Send, total: int | None, scale: float = 1.0):
        self.send, self.total, self.scale = send, total, scale
        self.calls, self._next = 0, 1

    def __call__(self, p: Prediction) -> None:
        self.calls += 1
        if self.calls < self._next:
            return
        # the calls of an adaptive solver are unknown: send a frame whenever they have grown by a twentieth
        ahead = -(-self.total // FRAMES) if self.total else max(1, self.calls // 20)
        self._next = self.calls + ahead
        self.send({"kind": "step", "calls": self.calls}, {"x0": images(p.x0, self.scale)})


def insist_on_fit(asked: "Edit", model: Model) -> None:
    """Check that a model supports this kind of edit.

    Raises:
        FromNoiseError: if it does not.
    """
    if asked.kind == "control":
        if not model.needs_images:
            raise FromNoiseError("kind: this model is not conditioned on an image; train one with recipe control")
        return
    edits.insist_on_fit(asked.kind, model, asked.guidance, asked.label, "choose one")


def plan_of(asked: "Edit", model: Model) -> SamplingPlan:
    """The sampling plan, as the command chooses it: guidance is off if no class is given."""
    return model.choice(options_of(asked))


def options_of(asked: "Edit") -> SampleOptions:
    """The sampling options of an edit, as `SampleOptions`."""
    control = asked.kind == "control"
    scale = asked.guidance if asked.guidance is not None or control or asked.label else 1.0
    texts = (asked.text.strip(),) if control and asked.text.strip() else ()
    return SampleOptions(sampler=asked.sampler or None, steps=asked.steps, guidance=scale, label=asked.label or None,
                         texts=texts)  # fmt: skip


def changed(asked: "Edit", model: Model, places: Places, send: Send) -> None:
    """Compute an edit of any kind that `fromnoise edit` offers."""
    plan = plan_of(asked, model)
    pixels = edits.read(asked.kind, model, [places[name] for name in ("image", "other") if name in places])
    size = pixels.shape[-2], pixels.shape[-1]
    mask = edits.read_mask(places["mask"], places["image"], size) if asked.kind == "inpaint" else None
    n = 1 if asked.kind == "reconstruct" else asked.n or 8
    following = Following(send, _calls(asked, plan, n), _LATENT if model.denoiser.codec is not None else 1.0)
    watched = Watched(plan.steered(model.denoiser), following)
    known = {"given": pixels.numpy()} | ({"mask": mask.numpy()[None]} if mask is not None else {})
    send({
        "kind": "start", "edit": asked.kind, "n": n, "total": following.total, "plan": plan.described(),
        "shape": list(model.denoiser.image_shape or ()), "command": making.command(asked, places["run"]),
        "python": making.python(asked, places["run"], model, mask is not None),
    }, known)  # fmt: skip
    words, embeds = (asked.text.strip(), asked.from_text.strip()), edits.decodes(asked.kind, model)
    shown, made = edits.edit(
        asked.kind, watched, to_unit(pixels), plan, n=n, mask=mask, strength=asked.strength,
        repeats=asked.repeats, seed=asked.seed, image_text=opened(places["run"]) if embeds else None,
        words=words if all(words) else None,
    )  # fmt: skip
    end: dict[str, Any] = {"kind": "end", "calls": watched.calls, "network_seconds": watched.seconds}
    if asked.kind == "reconstruct":
        end["difference"] = (made - shown).square().mean().sqrt().item()
    send(end, {"x": to_uint8(made).numpy(), "given": to_uint8(shown).numpy()})


def control(asked: "Edit", model: Model, places: Places, send: Send) -> None:
    """Draw samples that are conditioned on a given image."""
    pixels, told = condition(model, places["image"], asked.sketch)
    model = replace(model, beside=InMemory("yours", told[None]))
    plan, n = plan_of(asked, model), asked.n or 8
    stages = model.stages(plan)
    total = sum(stage.sampler.nfe(stage.steps) or 50 for stage in stages)
    following = Following(send, total, _LATENT if model.denoiser.codec is not None else 1.0)
    watched = Watched(stages[-1].denoiser, following)
    stages = [*stages[:-1], replace(stages[-1], denoiser=watched)]
    send({
        "kind": "start", "edit": "control", "n": n, "total": total, "plan": plan.described(),
        "shape": list(model.denoiser.image_shape or ()), "command": making.command(asked, places["run"]),
        "python": making.python_of_control(asked, places["run"]),
    }, {"given": pixels[None].numpy(), "condition": told[None].numpy()})  # fmt: skip
    made = to_uint8(draw_states(model, n, plan, asked.seed, n, stages=stages))
    send({"kind": "end", "calls": watched.calls, "network_seconds": watched.seconds},
         {"x": made.numpy(), "given": pixels[None].numpy(), "condition": told[None].numpy()})  # fmt: skip


def condition(model: Model, path: Path, sketch: bool) -> tuple[Tensor, Tensor]:
    """Return (image, conditioning image), uint8 [C, H, W] each, fitted to size as in training."""
    channels, height, width = model.denoiser.image_shape or (3, 64, 64)
    data = model.config.data if model.config is not None else None
    fit = data.fit if data is not None else "crop"
    of = computed(model)
    if of is None or sketch:
        shown = int(model.denoiser.network.image_channels)  # pyrefly: ignore[bad-argument-type]
        told = read_image(path, shown, (height, width), fit)
        return told, told
    pixels = read_image(path, channels, (height, width), fit)
    return pixels, of(pixels[None])[0]


def computed(model: Model) -> Callable[[Tensor], Tensor] | None:
    """The function that computes conditioning images from the data (e.g. edges); None if they are given."""
    return COMPUTED.get((model.config.data.pairs if model.config is not None else None) or "")


def _calls(asked: "Edit", plan: SamplingPlan, n: int) -> int | None:
    """About how many network calls an edit takes; None if a solver decides. Chains may have fewer levels."""
    batches = -(-n // 64)
    if asked.kind in ("interpolate", "reconstruct", "variations", "text-difference"):
        return None
    if asked.kind == "image-to-image":
        walked = math.floor((0.6 if asked.strength is None else asked.strength) * plan.steps + 1e-9)
        once = plan.sampler.nfe(max(1, walked))
    elif asked.kind == "inpaint":
        repeats = 5 if asked.repeats is None else asked.repeats
        once = Inpaint(torch.zeros(1), torch.zeros(1), plan.sampler, repeats).nfe(plan.steps)
    else:
        once = plan.sampler.nfe(plan.steps)
    return None if once is None else batches * once
