"""Runs stages as processes: starts them in turn, shows their output, stops them at their limit, collects rows."""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gpu_stages import report

SCRIPT = Path(__file__).resolve().parent.parent / "gpu.py"
GRACE = 5.0  # extra seconds after its deadline for a stage to write its last row


@dataclass(frozen=True)
class Stage:
    """A stage: `run(context)` of the module gpu_stages.NAME, or of `module`.

    Attributes:
        name: name of the stage and of its files.
        share: share of the remaining time, relative to the shares of later stages.
        module: module that holds `run`; default: gpu_stages.NAME.
        beside: for a stage that times nothing, a module that runs in parallel until a stage does not name it. Not used
            in miniature.
    """

    name: str
    share: float
    module: str = ""
    beside: str = ""


@dataclass(frozen=True)
class Options:
    """Command-line options, the same for every stage."""

    folder: Path
    minutes: float
    tiny: bool
    data_root: Path


def run_all(stages: Sequence[Stage], options: Options, environment: Mapping[str, str]) -> int:
    """Run every stage, then write the table and the plot; returns 0 if all ran and all checks passed, else 1."""
    options.folder.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * options.minutes
    found, beside = [], _Beside(options, environment)
    try:
        for i, stage in enumerate(stages):
            left = ends - time.monotonic()
            limit = left * stage.share / sum(s.share for s in stages[i:])
            beside.change("" if options.tiny else stage.beside, left)
            found.append(_run_one(stage, options, environment, limit))
    finally:
        beside.change("", 0)
    return report.conclude(found, options.folder)


class _Beside:
    """The process that runs in parallel with stages that time nothing; its outcome is only in its log."""

    def __init__(self, options: Options, environment: Mapping[str, str]):
        self.options, self.environment = options, environment
        self.module, self.process = "", None

    def change(self, module: str, seconds: float) -> None:
        """Switch to another module ("" for none), stopping the current one."""
        if module == self.module:
            return
        if self.process is not None:
            _kill_group(self.process.pid)
            self.process.wait()
            self.process = None
        self.module = module
        if module:
            with (self.options.folder / f"{module.rpartition('.')[2]}.txt").open("w") as log:
                self.process = _start(Stage("beside", 0, module), self.options, self.environment, seconds, log)


def _run_one(stage: Stage, options: Options, environment: Mapping[str, str], limit: float) -> report.Found:
    """Run one stage in its process; its rows are read from its file, however it ended."""
    rows, log = options.folder / f"{stage.name}.jsonl", options.folder / f"{stage.name}.txt"
    rows.unlink(missing_ok=True)
    print(f"== {stage.name}, at most {limit:.0f} s", flush=True)
    started = time.monotonic()
    if limit < 1:
        return report.write(options.folder, stage.name, "left out: no time", 0.0, rows)
    child = _start(stage, options, environment, limit, subprocess.PIPE)
    lines = threading.Thread(target=_stream, args=(child.stdout, log), daemon=True)
    lines.start()
    try:
        code = child.wait(limit + GRACE)
        status = "done" if code == 0 else f"failed with exit status {code}"
    except subprocess.TimeoutExpired:
        status = f"stopped at its limit of {limit:.0f} s"
    finally:  # also its children, and also on Ctrl-C
        _kill_group(child.pid)
        child.wait()
    lines.join(2)
    return report.write(options.folder, stage.name, status, time.monotonic() - started, rows)


def _start(stage: Stage, options: Options, environment: Mapping[str, str], limit: float, output) -> subprocess.Popen:
    """Start a stage's process as a group leader, so that its children can be stopped with it."""
    asked = {"module": stage.module or f"gpu_stages.{stage.name}", "name": stage.name, "folder": str(options.folder),
             "tiny": options.tiny, "data_root": str(options.data_root), "seconds": limit}  # fmt: skip
    return subprocess.Popen([sys.executable, str(SCRIPT), "--child", json.dumps(asked)], stdout=output,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True,
                            env=_environment(environment, options.tiny) | _threads(stage, options.tiny))  # fmt: skip


def _environment(environment: Mapping[str, str], tiny: bool) -> dict[str, str]:
    """Environment in which stages find the source tree without installation, and output is unbuffered."""
    paths = [str(SCRIPT.parent), str(SCRIPT.parent.parent / "src"), environment.get("PYTHONPATH", "")]
    made = dict(environment) | {"PYTHONPATH": os.pathsep.join(p for p in paths if p), "PYTHONUNBUFFERED": "1",
                                "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}  # asks for a GPU without waking it # fmt: skip
    return made | ({"CUDA_VISIBLE_DEVICES": ""} if tiny else {})


def _threads(stage: Stage, tiny: bool) -> dict[str, str]:
    """Give a quarter of the cores to each parallel process: more threads than cores are very slow."""
    if tiny or not (stage.beside or stage.module):
        return {}
    quarter = str(max(1, (os.cpu_count() or 1) // 4))
    return {"OMP_NUM_THREADS": quarter, "TORCHINDUCTOR_COMPILE_THREADS": quarter}


def _stream(source, log: Path) -> None:
    with log.open("w") as file:
        for line in source:
            print(line, end="", flush=True)
            file.write(line)
            file.flush()


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def run_here(asked: str) -> int:
    """Run one stage in this process, the child."""
    values = json.loads(asked)
    from gpu_stages.context import Context

    context = Context(values["name"], Path(values["folder"]), values["tiny"], Path(values["data_root"]),
                      time.monotonic() + values["seconds"])  # fmt: skip
    importlib.import_module(values["module"]).run(context)
    return 0
