"""Compiles networks in parallel with untimed stages, so that timed stages find them in PyTorch's cache.

Compiling takes a minute of CPU time per network and no GPU time; with the cache, a quarter of that. The stages' own
code compiles the networks; the figures it measures here are discarded.
"""

import multiprocessing
from dataclasses import replace
from pathlib import Path

from gpu_stages.context import Context


def run(context: Context) -> None:
    """Run both jobs in their own processes until they are done or stopped."""
    folder = context.folder / "warm"
    folder.mkdir(exist_ok=True)
    processes = multiprocessing.get_context("spawn")
    started = [processes.Process(target=job, args=(folder, context.data_root, context.deadline))
               for job in (_training, _sampling)]  # fmt: skip
    for process in started:
        process.start()
    for process in started:
        process.join()


def _training(folder: Path, data_root: Path, deadline: float) -> None:
    from gpu_stages import training

    context = Context("training", folder, False, data_root, deadline)
    case = next(case for case in training.CASES if case.compiled)
    training._ours(context, replace(case, needs=0), "warm", case.batches[0])


def _sampling(folder: Path, data_root: Path, deadline: float) -> None:
    from gpu_stages import sampling

    compiled = sampling.Sampling(Context("sampling", folder, False, data_root, deadline))
    for batch in compiled.compiled_batches:
        compiled.compiled(batch)
