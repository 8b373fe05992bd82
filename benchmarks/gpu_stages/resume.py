"""A run that is killed twice and resumed: the same weights bit for bit, or how far apart they are."""

import multiprocessing
import os
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from gpu_stages import formats, ours
from gpu_stages.context import Context
from gpu_stages.right import apart


def run(context: Context) -> None:
    """Four runs in parallel: uninterrupted and killed, with and without deterministic algorithms."""
    steps, kills, every = (6, (3, 5), 2) if context.tiny else (60, (22, 43), 7)
    ways = [(exact, at) for exact in (True, False) for at in ((), kills)]
    with tempfile.TemporaryDirectory() as folder, context.trying("resume"), ThreadPoolExecutor(len(ways)) as pool:
        jobs = [pool.submit(_weights, context, Path(folder, f"{exact}-{len(at)}"), exact, steps, at, every)
                for exact, at in ways]  # fmt: skip
        whole, killed, loose_whole, loose_killed = (job.result() for job in jobs)
        note = f"{steps} steps of `digits`, kill -9 after {kills[0]} and {kills[1]}, a checkpoint every {every}"
        numbers = formats.usual(context)
        context.check("killed and resumed, deterministic", float((whole != killed).sum()), 0, numbers=numbers,
                      note=f"weights that differ, of {len(whole):,}; {note}")  # fmt: skip
        context.row("killed and resumed, as usual", apart(loose_killed, loose_whole), "relative", numbers=numbers,
                    note=f"distance of the weights; {note}")  # fmt: skip


def _weights(context: Context, folder: Path, exact: bool, steps: int, kills: tuple, every: int) -> torch.Tensor:
    """The averaged weights of a run, with a process for each part between kills."""
    processes = multiprocessing.get_context("forkserver")
    # Preloading saves each part the seconds to import torch. On a GPU, nothing that might call the driver may be
    # preloaded: a process forked after that cannot use the GPU.
    processes.set_forkserver_preload(["gpu_stages.resume", *(["torch._dynamo"] if context.tiny else [])])
    for kill in (*kills, 0):
        arguments = (folder, context.tiny, exact, steps, kill, every)
        part = processes.Process(target=_part, args=arguments)
        part.start()
        part.join()
        if part.exitcode != (-signal.SIGKILL if kill else 0):
            raise RuntimeError(
                f"a part of the run ended with {part.exitcode}, to be killed after step {kill or 'none'}"
            )
    return torch.load(folder / "weights.pt", weights_only=True)


def _part(folder: Path, tiny: bool, exact: bool, steps: int, kill: int, every: int) -> None:
    """Train or resume; die by kill -9 after step `kill`."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(exact)
    context = Context("resume", folder, tiny, folder, 0.0)
    config, size = ours.recipe(context, "digits", train__ema=0.9), ours.shape(context, "digits")
    denoiser = config.build(size)
    images = ours.random_images(denoiser, 256, latents=False)
    hardware = formats.hardware(formats.usual(context))
    torch.backends.cudnn.benchmark = not exact  # kernels chosen by timing may differ from process to process
    with ours.trainer(config, denoiser, images, hardware, folder, steps=steps, checkpoint_every=every) as made:
        made.resume()
        ours.run(made, partial(_kill, kill))
        torch.save(torch.cat([v.flatten().cpu() for v in made.trained.ema.state().values()]), folder / "weights.pt")


def _kill(after: int, line: dict) -> None:
    if line["step"] == after:
        os.kill(os.getpid(), signal.SIGKILL)
