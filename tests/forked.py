"""Whole runs of `fromnoise train` in processes of their own, one or several that train as one."""

import contextlib
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fromnoise.app.cli import main
from fromnoise.system.disk import storage
from fromnoise.weights.checkpoint import Checkpoints

TINY = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]", "network.mid_attention=false",
        "network.patch=2", "train.batch_size=8", "train.warmup=0", "train.sample_every=0", "train.keep=2"]  # fmt: skip
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(out: Path, *more: str, steps: int = 60, every: int = 7, settings: tuple[str, ...] = ()) -> list[str]:
    words = [*TINY, f"train.checkpoint_every={every}", *settings]
    return ["-m", "fromnoise", "train", "digits", "--out", str(out), "--steps", str(steps), "--precision", "fp32",
            "--set", *words, *more]  # fmt: skip


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], env=ENV, capture_output=True, text=True, timeout=300)


def _ready() -> Any:
    """What forks processes that have imported everything."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["fromnoise.app.cli", "fromnoise.app.runs.training", "torch._dynamo", "torch.distributed.fsdp",
         "fromnoise.system.disk.parts_writer"]
    )  # fmt: skip
    return processes


class Forked:
    """`python ARGUMENTS` of `command`, forked from a process that has imported everything and run nothing.

    A start then costs no seconds of importing torch. What is proven of whole processes is proven here too: it is a
    process of its own, with the signals, the exit status and the stderr of one. `undisturbed`, against which weights
    are compared, is started as people start it.
    """

    def __init__(self, arguments: list[str], errors: Path, **environment: str):
        processes = _ready()
        assert arguments[:2] == ["-m", "fromnoise"]
        self.errors = errors
        self.process = processes.Process(target=_command, args=(arguments[2:], errors, environment))
        self.process.start()
        self.kill, self.pid = self.process.kill, self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float = 120) -> tuple[int, str]:
        """Exit status, minus the number of a signal that ended it, and what it said."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            pytest.fail(f"no end within {timeout} s: {self.errors.read_text()}")
        return self.process.exitcode, self.errors.read_text()


def _command(words: list[str], errors: Path, environment: dict[str, str]) -> None:
    """In the forked process, in place of `python -m fromnoise`."""
    os.environ |= environment
    with errors.open("w") as file:
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    raise SystemExit(main(words))


def forked(out: Path, *more: str, **options) -> tuple[int, str]:
    """A whole run from start to end: its exit status, and what it said."""
    return Forked(command(out, *more, **options), out.with_suffix(".stderr")).wait()


@contextlib.contextmanager
def several(n: int, arguments: list[str], out: Path, on_node: int | None = None, last: list[str] | None = None,
            **environment: str):  # fmt: skip
    """Processes that train as one, with what torchrun tells them in the environment: `on_node` on each machine, and
    the last one with other arguments."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    own = on_node or n
    every = [
        Forked(arguments if last is None or rank < n - 1 else last, out.with_suffix(f".stderr{rank}"), RANK=str(rank), LOCAL_RANK=str(rank % own),
               LOCAL_WORLD_SIZE=str(own), WORLD_SIZE=str(n), MASTER_ADDR="127.0.0.1", MASTER_PORT=port, **environment)
        for rank in range(n)
    ]  # fmt: skip
    try:
        yield every
    finally:
        for one in every:
            one.kill()
            one.wait()


def run_several(n: int, arguments: list[str], out: Path, on_node: int | None = None, seconds: float = 120) -> str:
    """All to their end, which comes within so many seconds; what they said."""
    with several(n, arguments, out, on_node) as every:
        ends = [one.wait(seconds) for one in every]
    assert {status for status, _ in ends} == {0}, ends
    return "".join(said for _, said in ends)


def steps_logged(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, torch.Tensor]:
    found = Checkpoints(out / "checkpoints").newest_whole(pytest.fail)
    return storage.read_tensors(found, "model") | {f"ema.{k}": v for k, v in storage.read_tensors(found, "ema").items()}


def assert_equal(one: Path, two: Path) -> None:
    a, b = weights(one), weights(two)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def together(n: int, function: Callable[..., None], folder: Path, *arguments: Any) -> None:
    """function(*arguments) in n processes that torchrun would have started; it raises where it raised in any."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    context = _ready()
    every = []
    for rank in range(n):
        environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n),
                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
        errors = folder / f"together.stderr{rank}"
        every.append(context.Process(target=_function, args=(function, arguments, errors, environment)))
        every[-1].start()
    for one in every:
        one.join(120)
    ends = [one.exitcode for one in every]
    for one in every:
        one.kill()
    said = "".join((folder / f"together.stderr{rank}").read_text() for rank in range(n))
    assert ends == [0] * n, f"{ends}: {said}"


def _function(function: Callable[..., None], arguments: tuple, errors: Path, environment: dict[str, str]) -> None:
    os.environ |= environment
    with errors.open("w") as file:
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    function(*arguments)


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def wait_for_step(out: Path, step: int, process: Forked) -> None:
    while process.poll() is None:
        try:
            if len((out / "metrics.jsonl").read_text().splitlines()) >= step:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.002)
