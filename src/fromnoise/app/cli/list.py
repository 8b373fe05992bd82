"""`fromnoise list`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fromnoise import (
    augmentations,
    couplings,
    data,
    distill,
    metrics,
    nn,
    objectives,
    parameterizations,
    recipes,
    samplers,
    schedules,
    times,
    variances,
)
from fromnoise.app import tracking
from fromnoise.app.cli._options import option
from fromnoise.errors import unknown
from fromnoise.metrics import features
from fromnoise.nn import text
from fromnoise.schedules import spacings
from fromnoise.train import lr_schedules, optimizers
from fromnoise.weights import formats

if TYPE_CHECKING:
    from fromnoise.registry import Registry

KINDS: "dict[str, Registry]" = {
    "recipes": recipes.registry,
    "samplers": samplers.registry,
    "spacings": spacings.registry,
    "schedules": schedules.registry,
    "parameterizations": parameterizations.registry,
    "variances": variances.registry,
    "objectives": objectives.registry,
    "times": times.registry,
    "distillations": distill.registry,
    "couplings": couplings.registry,
    "optimizers": optimizers.registry,
    "lr-schedules": lr_schedules.registry,
    "networks": nn.registry,
    "text-encoders": text.registry,
    "augmentations": augmentations.registry,
    "data": data.registry,
    "features": features.registry,
    "metrics": metrics.registry,
    "trackers": tracking.registry,
    "weight-formats": formats.registry,
}


@dataclass(frozen=True)
class List:
    """List recipes, samplers, data sets and other parts.

    examples:
      fromnoise list
          Everything, with a line for each name.
      fromnoise list recipes
          The recipes, with what each was expected and found to reach.
      fromnoise list samplers
          The samplers, with their order and cost.

    kinds:
      recipes, samplers, spacings, schedules, parameterizations, variances,
      objectives, times, distillations, couplings, optimizers, lr-schedules,
      networks, text-encoders, augmentations, data, features, metrics, trackers,
      weight-formats, all
    """

    kind: Annotated[str, tyro.conf.Positional, option("[KIND]")] = "all"
    """What to list; see above."""

    def __call__(self) -> int:
        from rich.console import Console
        from rich.table import Table

        if self.kind not in KINDS and self.kind != "all":
            raise unknown("kind of part", self.kind, [*KINDS, "all"])
        console = Console(highlight=False)
        for kind, registry in KINDS.items():
            if self.kind not in (kind, "all"):
                continue
            table = Table(title=kind, title_justify="left", box=None, show_header=False, padding=(0, 2))
            for name in registry.names():
                text = registry.summary(name)
                if kind == "samplers" and self.kind == kind:
                    text += f"\n[dim]{_facts(registry.build(name))}[/dim]"
                if kind == "recipes" and self.kind == kind:
                    recipe = registry.load(name)
                    text += f"\n[dim]expected: {recipe.expected}\nreproduced: {recipe.reproduced}[/dim]"
                table.add_row(f"[bold]{name}[/bold]", text)
            console.print(table)
            console.print()
        return 0


def _facts(sampler: Any) -> str:
    """The order and the cost of a sampler, on which one chooses it."""
    order = f"order {sampler.order}" if sampler.order else "no order declared"
    calls = sampler.nfe(20)
    cost = f"{calls} network calls in 20 steps" if calls else "as many network calls as its tolerance needs"
    return f"{order}; {cost}" + (f"; needs {sampler.needs}" if sampler.needs else "")
