"""What a run asks of the machine, counted."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from fromnoise.hardware import choose
if sys.argv[1] == "chosen":
    choose("fp32")
def step():
    held = [torch.zeros(3_000_000) for _ in range(8)]
step(); step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5): step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 5)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is the C library of Linux that gives memory back")
def test_the_memory_of_one_step_serves_the_next():
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("chosen") < faults("left") / 4
