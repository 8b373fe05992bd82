"""`make mutants`: break the shipped code in one place at a time; the tests must notice every time.

Each mutant is a copy of src with one change, on which the tests of the mathematics run until one fails. The last line is
"N mutants, N killed"; the exit status is 1 if any survives. Some minutes on two cores.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from mutants import MUTANTS

ROOT = Path(__file__).parents[2]
TESTS = [  # quick ones first: most mutants die in the first seconds
    "tests/test_gaussian.py", "tests/test_variance.py", "tests/contracts/test_parameterizations.py",
    "tests/contracts/test_times.py", "tests/reference/test_tables.py", "tests/contracts/test_schedules.py",
    "tests/test_weights.py", "tests/test_likelihood.py", "tests/contracts/test_objectives.py", "tests/test_verify.py",
    "tests/test_oracle.py", "tests/contracts/test_samplers.py",
]  # fmt: skip


def survives(mutant: tuple[str, ...]) -> tuple[bool, str]:
    """Whether every test passes on the mutant, and what was said."""
    file, right, wrong = mutant[:3]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "src")
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        path = source / "fromnoise" / file
        text = path.read_text(encoding="utf-8")
        if text.count(right) != 1:
            return True, f"the right code stands {text.count(right)} times in {file}"
        path.write_text(text.replace(right, wrong), encoding="utf-8")
        env = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", *TESTS]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900)
        by = next((line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
        if done.returncode not in (0, 1, 2):
            return True, f"pytest could not run: {done.stdout[-200:]}{done.stderr[-200:]}"
        return done.returncode == 0, by.split(" - ")[0].removeprefix("FAILED ")


def main() -> int:
    chosen = [m for m in MUTANTS if not sys.argv[1:] or any(word in " ".join(m) for word in sys.argv[1:])]
    real, equivalent = [m for m in chosen if len(m) == 3], [m for m in chosen if len(m) == 4]
    killed, started = 0, time.monotonic()
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2))) as pool:
        for i, (mutant, (alive, said)) in enumerate(zip(real, pool.map(survives, real), strict=True), 1):
            killed += not alive
            left = (time.monotonic() - started) * (len(real) - i) / i
            mark = "SURVIVES" if alive else "killed  "
            print(f"[{i}/{len(real)}, {left / 60:.1f} min left] {mark} {mutant[0]}: {_line(mutant[1])} -> {_line(mutant[2])}   {said}",
                  flush=True)  # fmt: skip
    for file, right, wrong, why in equivalent:
        print(f"equivalent: {file}: {_line(right)} -> {_line(wrong)}   {why}")
    print(f"{len(real)} mutants, {killed} killed")
    return 0 if killed == len(real) else 1


def _line(code: str) -> str:
    return " ".join(code.split()) or "(nothing)"


if __name__ == "__main__":
    raise SystemExit(main())
