"""Everything about a GPU in twelve minutes: `python benchmarks/gpu.py [--minutes 12] [--out DIR] [--only STAGE ...]`.

What the GPU can do, whether fromnoise is correct on it, how fast it trains and samples beside diffusers, where the time
goes, and what a minute of training achieves. Stages run in order of importance, each in its own process with its own
time limit. Results are written to DIR as they are found, so a stage that fails or hangs loses only itself. At the end
DIR has a table, gpu.md, and a plot, gpu.png. Only fromnoise's own dependencies are needed; if something optional is
missing (diffusers, matplotlib, data), its row is left out with a note. `--tiny` runs every stage on the CPU, in
miniature.
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from gpu_stages import STAGES  # noqa: E402 (the paths come first)
from gpu_stages.runner import Options, run_all, run_here  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, help="for all stages together; default: 12, in miniature 60")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="where everything is written")
    parser.add_argument("--only", nargs="+", choices=[s.name for s in STAGES], metavar="STAGE",
                        help="one or more of " + ", ".join(s.name for s in STAGES))  # fmt: skip
    parser.add_argument("--tiny", action="store_true", help="run in miniature on the CPU, to check that it works")
    parser.add_argument("--data-root", type=Path, default=HERE.parent.parent / "shared" / "data",
                        help="folder with MNIST or CIFAR-10; without them, other images are used")  # fmt: skip
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return run_here(asked.child)
    minutes = asked.minutes or (60 if asked.tiny else 12)
    stages = [s for s in STAGES if not asked.only or s.name in asked.only]
    options = Options(asked.out.resolve(), minutes, asked.tiny, asked.data_root.resolve())
    return run_all(stages, options, os.environ)


if __name__ == "__main__":
    sys.exit(main())
