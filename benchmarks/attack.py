"""Attacks on everything fromnoise reads: `python benchmarks/attack.py [--seed 0] [--share 1.0]`.

Kills and errors at every write, damaged and crafted files, hostile command lines, two commands at once, links and
devices where files are to be written, and a fuzzer. The table has one row per kind of attack: the number of trials, and
how many were survived. The exit status is 0 only if all were. Each failure is a line of OUT/failures.txt, with the
command that repeats it. `--only` selects stages by the beginning of their names: kills, points-train, flips, ...
Linux only.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

import torch  # noqa: E402  (after the number of threads)
from attack_stages import STAGES  # noqa: E402
from attack_stages.stage import as_json, kinds, run, table  # noqa: E402
from faults.workshop import Workshop  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="share of the full number of trials")
    parser.add_argument("--only", nargs="*", default=[], help="run only stages whose names begin with these")
    parser.add_argument("--quick", action="store_true", help="a few trials of each stage, under a minute")
    parser.add_argument("--trial", type=int, help="run only this trial of each stage")
    parser.add_argument("--out", type=Path, default=Path("attack"), help="folder for the failures and the table")
    parser.add_argument("--list", action="store_true", help="list the stages and their full numbers of trials")
    asked = parser.parse_args()
    chosen = [stage for stage in STAGES if not asked.only or stage.name.startswith(tuple(asked.only))]
    if asked.list:
        print(*(f"{stage.name:<28}{stage.full:>8}" for stage in chosen), sep="\n")
        return 0
    if not chosen:
        parser.error(f"no such stage; there is {', '.join(stage.name for stage in STAGES)}")
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    failures = (asked.out / "failures.txt").resolve()
    failures.write_text("")
    memory = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="attack-", dir=memory if memory.is_dir() else None))
    rows = []
    try:
        shop = Workshop.build(root / "shop")
        for stage in chosen:
            numbers = stage.numbers(asked.share, asked.quick) if asked.trial is None else [asked.trial]
            rows.append(run(stage, shop, asked.seed, numbers, failures))
            print(rows[-1], *kinds(rows[-1]), sep="\n", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    text = table(rows)
    (asked.out / "attack.md").write_text(text + "\n")
    (asked.out / "attack.json").write_text(as_json(rows))
    print(f"\n{text}")
    if failures.stat().st_size:
        print(f"\n{failures}")
    return int(any(row.survived < row.tried for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
