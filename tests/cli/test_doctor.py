"""`fromnoise doctor`."""

import importlib.metadata
import re
import subprocess
import sys

import pytest

from fromnoise.app import doctor
from fromnoise.app.cli import main

OTHERS = {"dev", "docs", "bench", "release"}  # of the project, not of its users


def test_every_extra_is_known():
    assert set(doctor.EXTRAS) == set(importlib.metadata.metadata("fromnoise").get_all("Provides-Extra")) - OTHERS


@pytest.mark.parametrize("extra", doctor.EXTRAS)
def test_the_modules_of_an_extra_are_those_of_its_packages(extra):
    """Whatever is installed of it."""
    wanted = {re.split(r"[<>=!~;\[ ]", text)[0].lower().replace("_", "-") for text in importlib.metadata.requires("fromnoise")
              if f'extra == "{extra}"' in text.replace("'", '"')}  # fmt: skip
    owner = importlib.metadata.packages_distributions()
    for module in doctor.EXTRAS[extra][1]:
        found = owner.get(module.partition(".")[0])
        assert found is None or {name.lower().replace("_", "-") for name in found} & wanted, module


def test_what_is_missing_or_broken_is_said(tmp_path, monkeypatch):
    (tmp_path / "breaks_on_import.py").write_text("raise ImportError('no libthing.so')")
    (tmp_path / "fine.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "EXTRAS", {"one": ("first", ("breaks_on_import",)), "two": ("second", ("not_there",)),
                                           "three": ("third", ("fine",))})  # fmt: skip
    one, two, three = doctor.extras()
    assert (one.state, two.state, three.state) == ("broken", "missing", "ok")
    assert one.value == "first: does not import (ImportError: no libthing.so)"
    assert two.value == 'second: pip install "fromnoise[two]"'


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FROMNOISE_CACHE", str(tmp_path))
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "file").write_bytes(b"0" * 3000)
    monkeypatch.setattr(doctor, "EXTRAS", {"two": ("second", ("not_there",))})
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for word in ("fromnoise", "PyTorch", "runs on", "-  two", "features    3 kB", str(tmp_path)):
        assert word in said
    monkeypatch.setattr(doctor, "_import_error", lambda modules: "no")
    monkeypatch.setattr(doctor, "EXTRAS", {"torch": ("torch", ("torch",))})
    assert main(["doctor"]) == 1


def test_advice_is_of_this_machine(monkeypatch):
    monkeypatch.setattr(doctor, "_free", lambda place: 1e9)
    assert any("less than 5 GB" in tip for tip in doctor.advice())
    monkeypatch.setattr(doctor, "_free", lambda place: 1e12)
    assert not any("less than 5 GB" in tip for tip in doctor.advice())


def test_an_extra_that_is_missing_names_itself_in_a_line():
    """As where it is not installed: without the modules of each extra, what needs it says how to get it."""
    code = (
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "from fromnoise.app.cli import main\n"
        "sys.exit(main(['verify', '--topic', 'levels', '--out', sys.argv[1]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "report.html"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "fromnoise[figures]"' in done.stderr
