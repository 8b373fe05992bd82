"""Build the sdist and the wheel, install the wheel into an empty environment, and use it from an empty folder.

    python benchmarks/release.py [--tag v0.1.0] [--python PYTHON ...]

dist/ has the files afterwards. With --tag the version must be the tag's. Each --python gets an environment of its own;
the default is the Python that runs this. A line says what works; the exit status is 1 if anything fails.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
EXTRAS = "digits,figures"
USE = """
import torch
import fromnoise as fn

denoiser = fn.Denoiser(fn.nn.MLP(2, width=16, depth=1), "cosine", "v", shape=(2,))
fn.fit(denoiser, torch.randn(64, 2), steps=3, batch_size=16, progress=False)
fn.save(denoiser, "model")
assert fn.sample(fn.load("model"), 4, steps=3).shape == (4, 2)
"""


def run(*command: str | Path, where: Path = ROOT) -> str:
    """The output of a command; raises where it fails."""
    done = subprocess.run([str(word) for word in command], cwd=where, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def made(folder: Path, python: str) -> Path:
    """The Python of a new, empty environment."""
    if python == sys.executable:
        venv.create(folder, with_pip=True)
    else:
        run(python, "-m", "venv", folder)
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def build(python: Path, version: str | None) -> tuple[Path, Path]:
    """(sdist, wheel), built anew; raises where the version or the content is not what it should be."""
    for old in DIST.glob("fromnoise-*"):
        old.unlink()
    run(python, "-m", "pip", "install", "--quiet", "build")
    run(python, "-m", "build", "--outdir", DIST)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    if version is not None and not wheel.name.startswith(f"fromnoise-{version}-"):
        raise SystemExit(f"{wheel.name} is not version {version}: set __version__ in src/fromnoise/__init__.py")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("fromnoise/")}
    tracked = run("git", "ls-files", "src/fromnoise").split()
    missing = sorted({name.removeprefix("src/") for name in tracked} - packed)
    if missing:
        raise SystemExit(f"{wheel.name} lacks {', '.join(missing[:5])}")
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    if missing := {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"} - names:
        raise SystemExit(f"{sdist.name} lacks {', '.join(sorted(missing))}")
    return sdist, wheel


def tried(wheel: Path, folder: Path, python: str, constraints: bool) -> str:
    """The start of the README with nothing but the wheel; returns the Python's version."""
    own = made(folder / "env", python)
    where = folder / "elsewhere"
    where.mkdir()
    pinned = ["-c", ROOT / "constraints.txt"] if constraints else []
    run(own, "-m", "pip", "install", "--quiet", *pinned, f"{wheel}[{EXTRAS}]", where=where)
    command = own.with_name("fromnoise")
    run(command, "train", "digits", "--steps", "3", where=where)
    run(command, "show", "runs/digits", where=where)
    run(command, "doctor", where=where)
    run(own, "-c", USE, where=where)
    if not list((where / "runs" / "digits" / "pictures").iterdir()):
        raise SystemExit("fromnoise show has written nothing")
    return run(own, "-c", "import platform; print(platform.python_version())").strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tag")
    parser.add_argument("--python", nargs="+", default=[sys.executable])
    parser.add_argument("--unpinned", action="store_true", help="the newest versions instead of constraints.txt")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, wheel = build(made(folder / "builder", sys.executable), asked.tag and asked.tag.removeprefix("v"))
        versions = []
        for i, python in enumerate(asked.python):
            (folder / str(i)).mkdir()
            versions.append(tried(wheel, folder / str(i), python, not asked.unpinned))
            print(f"{wheel.name} installs and works alone on Python {versions[-1]}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
