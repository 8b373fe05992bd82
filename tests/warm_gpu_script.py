"""`benchmarks/gpu.py` in one process, from which its stages are forked: what they import is imported once for all."""

import gc
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu
from gpu_stages import runner


class Forked:
    """What the runner asks of a `subprocess.Popen` of gpu.py."""

    def __init__(self, command, stdout, stderr, text, start_new_session, env):
        assert command[:2] == [sys.executable, str(runner.SCRIPT)]
        reading, writing = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            for number in (1, 2):
                os.dup2(writing, number)
            os.environ |= env
            sys.argv = command[1:]
            status = 1
            try:
                status = gpu.main()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        os.close(writing)
        self.stdout, self.status = os.fdopen(reading), None

    def wait(self, timeout=None):
        """The stages end by themselves here, so that there is no limit to keep."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status


def import_everything():
    import torch._dynamo
    import torch.profiler
    import torch.utils.flop_counter  # noqa: F401
    from gpu_stages import ceilings, profile, quality, resume, right, sampling, training  # noqa: F401

    with suppress(ImportError):
        from diffusers import DDIMPipeline, DiTTransformer2DModel, UNet2DModel  # noqa: F401


if __name__ == "__main__":
    import_everything()
    gc.freeze()  # what every stage has in common is not gone through again at each of their collections
    runner.subprocess.Popen = Forked
    sys.exit(gpu.main())
