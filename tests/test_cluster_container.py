"""The container file, read as a builder reads it; what it installs and starts is run from what it copies.

No image is built: the base image, `pip install` from the network, `useradd` and the GPU are not tried here.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "examples" / "cluster" / "Containerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in FILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined]


def of(kind: str) -> list[str]:
    return [text for name, text in instructions() if name == kind]


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for text in of("ENV") for word in shlex.split(text))


def commands() -> list[list[str]]:
    """What RUN runs, each by its words."""
    return [shlex.split(part) for text in of("RUN") for part in text.split("&&")]


def copied() -> list[tuple[str, str]]:
    found = []
    for text in of("COPY"):
        *sources, target = text.split()
        for source in sources:
            into = f"{target}{source}" if target.endswith("/") else target
            found.append((source, into))
    return found


def test_only_what_a_builder_knows_in_an_order_that_works():
    names = [name for name, _ in instructions()]
    assert set(names) <= {"ARG", "FROM", "COPY", "ENV", "RUN", "VOLUME", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}
    assert names.index("FROM") < names.index("COPY") < names.index("RUN")
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")  # what root has to do


def test_the_base_has_a_torch_that_the_project_takes():
    arguments = dict(text.split("=", 1) for text in of("ARG"))
    image = re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], of("FROM")[0])
    version = re.fullmatch(r"docker\.io/pytorch/pytorch:(\d+\.\d+)\.\d+-cuda[\d.]+-cudnn\d+-runtime", image)[1]
    wanted = next(
        re.fullmatch(r"torch>=([\d.]+)", one)[1] for one in PROJECT["project"]["dependencies"] if "torch" in one
    )
    assert tuple(map(int, version.split("."))) >= tuple(map(int, wanted.split(".")))


def test_what_is_copied_is_there_and_is_all_that_the_wheel_needs():
    sources = {source for source, _ in copied()}
    for source in sources:
        assert (ROOT / source).exists()
        assert ".." not in source
    project = PROJECT["project"]
    needed = {"pyproject.toml", project["readme"], *project["license-files"]}
    needed |= {path.split("/")[0] for path in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert sources == needed


def test_the_extras_are_those_of_the_project():
    install = next(words for words in commands() if "install" in words and "pip" in words)
    folder, extras = re.fullmatch(r"(\S+)\[([a-z,-]+)\]", install[-1]).groups()
    assert all(target.startswith(folder) for _, target in copied())
    assert set(extras.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()
    assert install[:4] == ["python", "-m", "pip", "install"]


def test_the_user_is_no_root_and_may_write_where_it_has_to():
    user = of("USER")[-1]
    assert user not in ("root", "0")
    assert any(words[0] == "useradd" and words[-1] == user for words in commands())
    made = next(words for words in commands() if words[:2] == ["install", "-d"])
    assert made[made.index("-o") + 1] == user
    assert environment()["FROMNOISE_CACHE"] in made
    assert of("WORKDIR")[-1] in made
    assert json.loads(of("VOLUME")[0]) == [environment()["FROMNOISE_CACHE"]]


def test_what_it_starts_runs_from_what_it_copies(tmp_path):
    """The console script of the project, in another folder, with an empty home and cache, and nothing but the copies."""
    for source, target in copied():
        place = tmp_path / target.lstrip("/")
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)
    (entry,) = json.loads(of("ENTRYPOINT")[0])
    module, function = PROJECT["project"]["scripts"][entry].split(":")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / entry  # as pip writes it
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    script.chmod(0o755)
    env = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path / "opt/fromnoise/src"),
        "HOME": str(tmp_path / "home"), "FROMNOISE_CACHE": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    (tmp_path / "work").mkdir()
    own = [words for words in commands() if words[0] == entry]
    assert own
    for words, says in [*((words, "digits") for words in own), ([entry, *json.loads(of("CMD")[0])], "fromnoise train")]:
        done = subprocess.run(words, cwd=tmp_path / "work", env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert says in done.stdout
