"""`fromnoise doctor`."""

import importlib.metadata
import re
import sys

import pytest
import torch

import fromnoise as fn
from fromnoise.app import doctor, tracking
from fromnoise.app.cli import main
from fromnoise.app.studio.theory import mathml
from fromnoise.data import huggingface

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


def film(tmp_path):
    from PIL import Image

    from fromnoise.system.disk import films

    films.write([Image.new("L", (4, 4))], tmp_path / "film.mp4")


def onnx(tmp_path):
    from fromnoise.weights.graphs import as_onnx

    as_onnx.insist()


def remote(tmp_path):
    fn.data.stream("https://localhost/part-000.tar")


def hub(tmp_path):
    fn.load("hf://owner/name")


def perceptual(tmp_path):
    from fromnoise.train import perceptual

    perceptual._network(torch.device("cpu"))


USES = {
    "digits": lambda tmp_path: fn.data.Digits().load(None),
    "vision": lambda tmp_path: fn.data.CIFAR10().load(tmp_path),
    "figures": lambda tmp_path: fn.verify.check_figures(),
    "emoji": lambda tmp_path: fn.data.Emoji().load(None),
    "colour": lambda tmp_path: fn.features.build("efficientnet-lite0"),
    "data": lambda tmp_path: huggingface.library("hf://owner/name"),
    "remote": remote,
    "media": film,
    "features": lambda tmp_path: fn.features.build("clip"),
    "text": lambda tmp_path: fn.text.T5(model=str(tmp_path))(["a"]),
    "text-small": lambda tmp_path: fn.text.MiniLM()(["a"]),
    "fid": lambda tmp_path: fn.features.Inception(),
    "perceptual": perceptual,
    "ode": lambda tmp_path: fn.flow.solver(),
    "transport": lambda tmp_path: fn.couplings.OptimalTransport().check(),
    "interop": hub,
    "export": onnx,
    "track": lambda tmp_path: tracking.get("tensorboard")(tmp_path),
    "studio": lambda tmp_path: mathml.formula.__wrapped__("x"),
}


@pytest.mark.parametrize("extra", sorted(set(doctor.EXTRAS) - {"heif", "notebooks"}))
def test_an_extra_that_is_missing_names_itself_in_a_line(extra, tmp_path, monkeypatch):
    """HEIC files are counted, and a line of the counting names that extra: tests/data has it."""
    for module in (*doctor.EXTRAS[extra][1], *(["tokenizers"] if extra == "text" else [])):  # comes with transformers
        for loaded in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
            monkeypatch.setitem(sys.modules, loaded, None)
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    with pytest.raises(fn.FromNoiseError) as said:
        USES[extra](tmp_path)
    assert f'pip install "fromnoise[{extra}]"' in str(said.value)
    assert "\n" not in str(said.value)
