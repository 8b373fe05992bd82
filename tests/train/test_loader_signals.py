"""What a cluster sends to every process of a job reaches loader processes too."""

import os
import signal
import time

import pytest
import torch
from forked import Checkpoints, together

import fromnoise as fn


class Sends(torch.utils.data.Dataset):
    """At its 20th example, the signal goes to the training and to this loader, and the batch comes later."""

    def __init__(self, number):
        self.number, self.training, self.seen = number, os.getpid(), 0

    def __len__(self):
        return 8

    def __getitem__(self, i):
        self.seen += 1
        if self.seen == 20:
            os.kill(self.training, self.number)
            os.kill(os.getpid(), self.number)
            time.sleep(0.5)
        if self.seen > 20:
            time.sleep(0.2)  # the step of the signal waits for this one
        return torch.full((2,), float(i))


def trains(number, out):
    denoiser = fn.Denoiser(fn.nn.MLP(2, width=8, depth=1), "cosine", "eps", shape=(2,))
    fitted = fn.fit(denoiser, Sends(number), steps=1000, batch_size=4, workers=1, out=out, progress=False,
                    precision="fp32")  # fmt: skip
    assert fitted.stopped == number
    assert 0 < fitted.progress.step < 20


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="of systems with signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_step_that_waits_for_its_data_gets_it(tmp_path, number):
    together(1, trains, tmp_path, int(number), tmp_path / "run")
    assert len(Checkpoints(tmp_path / "run" / "checkpoints").steps()) == 1
