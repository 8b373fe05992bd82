"""Describes a model and what it supports; the page builds its controls from this."""

import dataclasses
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.runs.model import Model
    from fromnoise.app.studio.bench import Bench


@register("describe")
@dataclass(frozen=True)
class Describe(Work):
    """Describes the model of a run."""

    run: str

    models: ClassVar[tuple[str, ...]] = ("run",)
    quick: ClassVar[bool] = True

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        from fromnoise.compose.unclip import embedding_size
        from fromnoise.guidance.base import is_guided

        model = bench.model(places["run"])
        denoiser = model.denoiser
        whole = model.networks()
        plan = model.choice()
        send({
            "kind": "model",
            "shape": list(denoiser.image_shape or ()),
            "classes": list(denoiser.class_names) or [str(i) for i in range(denoiser.classes)],
            "text": any(one.text is not None for one in whole),
            "can_guide": bool(denoiser.null_cond) and not is_guided(denoiser),
            "latent": denoiser.codec is not None,
            "cascade": model.before is not None,
            "enlarges": denoiser.low is not None and model.before is None,
            "beside": model.needs_images,
            "embedding": embedding_size(denoiser) is not None,
            "student": denoiser.student is not None,
            "steps": denoiser.schedule.chain.steps,
            "schedule": type(denoiser.schedule).__name__,
            "parameterization": denoiser.parameterization.name,
            "variance": type(denoiser.variance).__name__,
            "parameters": sum(p.numel() for one in whole for p in one.network.parameters()),
            "trained": model.step,
            "plan": plan.described(),
            "samplers": _samplers(model),
            "spacings": _spacings(),
        })  # fmt: skip


def _samplers(model: "Model") -> list[dict[str, Any]]:
    """The samplers that this model supports, with their options."""
    from fromnoise import samplers
    from fromnoise.samplers.base import insist_on_match

    found = []
    for name in samplers.names():
        sampler = samplers.build(name)
        try:
            insist_on_match(model.denoiser, sampler)
            sampler.check(model.denoiser)
        except FromNoiseError:
            continue
        kinds = typing.get_type_hints(type(sampler))
        options = [
            {"name": f.name, "default": getattr(sampler, f.name)}
            for f in dataclasses.fields(sampler)
            if isinstance(getattr(sampler, f.name), bool | int | float | str) or kinds[f.name] == float | None
        ]
        found.append({"name": name, "summary": samplers.registry.summary(name), "options": options,
                      "spacing": sampler.default_spacing, "order": sampler.order})  # fmt: skip
    return found


def _spacings() -> list[str]:
    from fromnoise.schedules import spacings

    return spacings.names()
