"""From a model to its figures: sample, summarise the features, compare with the reference."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from fromnoise.app.evaluation._reference import Reference
from fromnoise.app.evaluation._summaries import summary_of
from fromnoise.app.evaluation.memorisation import Learned, memorisation
from fromnoise.app.evaluation.parts import Parts
from fromnoise.app.evaluation.report import report, short, shortened
from fromnoise.app.runs import Model, SamplingPlan
from fromnoise.data.hashing import batches
from fromnoise.data.images import Images
from fromnoise.errors import FromNoiseError
from fromnoise.metrics.comparison import figures, summarise
from fromnoise.metrics.features.base import Extractor
from fromnoise.system.progress import Bar
from fromnoise.train.distributed import Processes

QUANTISATION = "uint8: round(127.5 (x + 1)), clipped to 0..255"


def evaluate(
    model: Model,
    choice: SamplingPlan,
    reference: Reference,
    name: str,
    extractor: Extractor,
    *,
    n: int,
    seeds: Sequence[int] = (0,),
    folder: Path,
    metrics: Sequence[str] | None = None,
    batch_size: int = 64,
    processes: Processes | None = None,
    quiet: bool = False,
    learned: Learned | None = None,
) -> dict[str, Any]:
    """Return the figures of n samples for each seed, with their provenance, as a JSON value.

    Samples that are already in `folder` are not drawn again, so an interrupted evaluation can be resumed. Any number
    of processes may run the same evaluation, on any machines that share the folder, and may start and stop at any
    time: they divide the work, and each returns the same figures.

    Args:
        model: the model to sample from.
        choice: the sampling plan.
        reference: summary of the data that the samples are compared with.
        name, extractor: name of the features, and what extracts them.
        n: number of samples for each seed, at least 2.
        seeds: with several seeds, figures have a spread.
        folder: folder for the samples.
        metrics: names of the metrics; default: all.
        batch_size: number of samples denoised together.
        processes: the processes of this evaluation; default: from the environment.
        quiet: show no progress bar.
        learned: the training data, to find out whether the first seed's samples are copies; default: not examined.

    Raises:
        FromNoiseError: if sampling fails, or features are not finite.
    """
    processes = processes or Processes()
    every = [Parts(folder, model, choice, seed, n) for seed in seeds]
    _draw(every, batch_size, model.steps(choice), quiet)
    values, seconds, nfe, copies = [], 0.0, 0.0, None
    for parts in every:
        summary = summary_of(parts, name, extractor, quiet)
        spent, nfe = parts.cost()
        seconds += spent
        values.append(figures(summary, reference.summary, extractor, metrics))
        if learned is not None and copies is None and processes.is_first:
            looked = range(-(-min(learned.n, n) // parts.size))
            first = torch.cat(list(parts.read(looked)))[: learned.n]
            copies = memorisation(first, summary, learned, reference, extractor)
    about = {
        "model": {
            "run": model.source or str(model.path),
            "recipe": model.config.recipe if model.config else None,
            "step": model.step,
            "ema": model.ema,
            "precision": model.precision,
        },
        "sampling": shortened(choice.described()) | {"nfe": nfe, "seconds": seconds, "batch_size": batch_size},
        "quantisation": QUANTISATION,
        "reference": reference.about,
    } | ({"memorisation": copies} if copies else {})
    return report(values, seeds, n, extractor, name, about)


def measure(
    samples: Images,
    reference: Reference,
    name: str,
    extractor: Extractor,
    metrics: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the figures of given images, in the same format as `evaluate`."""
    if len(samples) < 2:
        raise FromNoiseError(f"{samples.name} holds {len(samples)} image; figures need at least 2")
    with Bar(f"{name} features of {samples.name}", len(samples)) as bar:
        summary = summarise(batches(samples), len(samples), extractor, bar.advance)
    values = [figures(summary, reference.summary, extractor, metrics)]
    about = {"samples": samples.name, "quantisation": "as the files have it", "reference": reference.about}
    return report(values, [], len(samples), extractor, name, about)


def _draw(every: Sequence[Parts], batch_size: int, length: int, quiet: bool) -> None:
    """Draw all samples, with a bar that shows the progress of all processes."""
    todo = [parts.groups(batch_size) for parts in every]
    costs = [[-(-len(group) * parts.size // batch_size) * length for group in groups]
             for parts, groups in zip(every, todo, strict=True)]  # fmt: skip
    with nullcontext() if quiet else Bar(f"sampling {short(every[0].n)}", sum(map(sum, costs))) as bar:
        before = 0
        for parts, groups, own in zip(every, todo, costs, strict=True):

            def reached(group: int, start: int = before, own: list[int] = own) -> None:
                if bar is not None:
                    bar.advance(max(0, start + sum(own[:group]) - bar.done))

            parts.draw(batch_size, None if bar is None else lambda moment: bar.advance(), reached, todo=groups)
            before += sum(own)
