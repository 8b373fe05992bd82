"""What an editor and a type checker see is what there is: static exports, and the types of public calls."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import exports
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = exports.packages()


def name_of(path):
    return ".".join(path.parent.relative_to(exports.SRC).parts)


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_static_exports_are_the_lazy_ones(path):
    text, meant = path.read_text(), exports.written(path)
    missing = sorted(set(meant.splitlines()) - set(text.splitlines()))
    assert text == meant, f"{path.relative_to(ROOT)} wants {missing}: run `python tests/exports.py --write`"


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_every_static_export_is_there_when_the_code_runs(path):
    """`dir` knows the lazy places and asks the registry itself, and so does not depend on how the script reads files."""
    package, seen = import_module(name_of(path)), set()
    for line in exports.lines(path):
        module, name, attribute = re.fullmatch(r"from (\S+) import (\S+) as (\S+)", line).groups()
        seen.add(attribute)
        parent = import_module(module)
        if not hasattr(parent, name):
            import_module(f"{module}.{name}")
        assert getattr(package, attribute) is getattr(parent, name)
    assert seen == set(dir(package))


def test_a_new_file_asks_for_one_command(tmp_path):
    folder = tmp_path / "fromnoise" / "samplers"
    folder.mkdir(parents=True)
    (folder / "midpoint.py").write_text('@register("midpoint")\nclass Midpoint: ...\n')
    head = '"""Some."""\n\nfrom fromnoise.registry.lazy import lazy_registry\n\nregistry = 1\n'
    (folder / "__init__.py").write_text(f'{head}__getattr__, __dir__ = lazy_registry(registry, Base="base")\n')
    once = exports.written(folder / "__init__.py", tmp_path)
    assert "if TYPE_CHECKING:\n    from fromnoise.samplers.base import Base as Base\n" in once
    assert (
        "    from fromnoise.samplers.midpoint import Midpoint as Midpoint\nelse:\n    __getattr__, __dir__ = " in once
    )
    assert once.count("from typing import TYPE_CHECKING") == 1
    (folder / "__init__.py").write_text(once)
    assert exports.written(folder / "__init__.py", tmp_path) == once


def pyrefly(script, tmp_path):
    """Its messages on a script, which sees the package as an installed one's user would."""
    (tmp_path / "pyrefly.toml").write_text("")  # without one only the surest mistakes are shown
    path = tmp_path / "script.py"
    path.write_text(f"from typing import assert_type\n\nimport torch\n\nimport fromnoise as fn\n\n{script}\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "pyrefly", "check", "--python-interpreter-path", sys.executable,
         "--search-path", ROOT / "src", "--output-format", "min-text", path],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    return done.returncode, done.stdout


WRONG = {
    "fn.sampel(1)": "No attribute `sampel` in module `fromnoise`",
    "fn.samplers.DDMI()": "No attribute `DDMI` in module `fromnoise.samplers`",
    'fn.samplers.DDIM(eta="x")': "parameter `eta` with type `float`",
    "fn.samplers.DDIM(etta=0.5)": "Unexpected keyword argument `etta`",
    "fn.Denoiser(fn.nn.UNet(), fn.schedules.Linear)": "parameter `schedule`",
    'fn.sample(fn.load("x"), 4, fn.samplers.DDIM)': "parameter `sampler`",
    'fn.load("x").sampel(4)': "Expected a callable, got `None`",
    'fn.load("x")(torch.zeros(1, 2), "noisy")': "parameter `t`",
    "fn.gaussian.diffuse(torch.zeros(1), torch.zeros(1), 500)": "parameter `t` with type `Level`",
}


def test_a_type_checker_finds_the_mistakes(tmp_path):
    code, said = pyrefly("\n".join(WRONG), tmp_path)
    assert code == 1
    for line, (statement, message) in enumerate(WRONG.items(), 7):
        assert re.search(rf"script\.py:{line}:.*{re.escape(message)}", said), (statement, said)


RIGHT = """
denoiser = fn.load("runs/digits")
schedule = denoiser.schedule
assert_type(denoiser, fn.Denoiser)
assert_type(schedule, fn.schedules.Schedule)
x = fn.sample(denoiser, 16, fn.samplers.DDIM(eta=0.0), steps=50, seed=0, cond={"label": 3})
assert_type(x, torch.Tensor)
assert_type(fn.sample(denoiser, (2, 3, 8, 8), "unipc"), torch.Tensor)
p = denoiser(x, 500, {"label": torch.zeros(16)})
assert_type(p, fn.Prediction)
assert_type(p.x0, torch.Tensor)
assert_type(denoiser(x, schedule.level(500)), fn.Prediction)
assert_type(fn.gaussian.posterior(x, x, schedule.level(500), schedule.level(499)), fn.Gaussian)
assert_type(fn.guidance.steer(denoiser, scale=2.0), fn.Denoiser)
assert_type(fn.schedules.Linear(T=1000), fn.schedules.Linear)
assert_type(fn.Denoiser(fn.nn.UNet(channels=32), fn.schedules.Cosine(T=100), "v", shape=(3, 8, 8)), fn.Denoiser)
assert_type(fn.samplers.names(), list[str])
assert_type(fn.likelihood.vlb(denoiser, x), fn.likelihood.Bound)
"""


def test_a_type_checker_passes_what_is_right(tmp_path):
    code, said = pyrefly(RIGHT, tmp_path)
    assert code == 0, said


def test_the_package_says_that_it_is_typed():
    """The marker is an ordinary file of the package, and the wheel takes every file of it that git knows."""
    assert (ROOT / "src" / "fromnoise" / "py.typed").read_bytes() == b""
