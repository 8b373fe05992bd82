"""Ctrl-C while libraries are imported."""

import os
import subprocess
import sys

import pytest

INTERRUPTED_AT = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs behind a shell's & inherits that it is ignored
sys.meta_path.insert(0, Interrupts())
from fromnoise.app.cli import main
sys.exit(main(["train", "digits", "--steps", "1", "--out", sys.argv[2]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself Ctrl-C")
@pytest.mark.parametrize("module", ["numpy", "numpy.linalg", "torch.nn", "fromnoise.train.fit"])
def test_ctrl_c_during_imports_ends_the_command_in_a_line(module, tmp_path):
    """torch imports numpy from C++ and ignores its errors, KeyboardInterrupt among them."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_AT, module, str(tmp_path / "run")], text=True,
                          capture_output=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "fromnoise: interrupted\n")
    assert not (tmp_path / "run" / "checkpoints").exists()
