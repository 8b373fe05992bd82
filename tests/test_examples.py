"""The examples: each learns its data, in fewer steps than it takes by default."""

import importlib.util
from pathlib import Path

import torch

import fromnoise as fn

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_moons(tmp_path, capsys):
    module = example("two_moons")
    denoiser = module.main(steps=500, out=str(tmp_path / "moons.png"))
    assert (tmp_path / "moons.png").stat().st_size > 1000
    assert "log-density of new points" in capsys.readouterr().out
    x, data = fn.sample(denoiser, 400), module.moons(2000)[0]
    nearest = torch.cdist(x, data).min(1).values
    assert nearest.median() < 0.08  # on the moons, whose points lie some 0.03 apart
    upper = fn.sample(denoiser, 100, cond={"label": torch.zeros(100, dtype=torch.long)})
    assert (upper[:, 1] > -0.4).float().mean() > 0.95  # the upper moon has no point below


def test_signals(tmp_path):
    module = example("oscillations")
    denoiser = module.main(steps=150, out=str(tmp_path / "oscillations.png"))
    assert (tmp_path / "oscillations.png").exists()
    assert denoiser.shape == (2, 64)
    x = fn.sample(denoiser, 32)
    inside = (module.frequencies(x) > module.SLOW - 0.5) & (module.frequencies(x) < module.FAST + 0.5)
    assert inside.float().mean() > 0.8
    data = torch.stack([module.Oscillations()[i] for i in range(50)])
    assert bool(((module.frequencies(data) > 1.99) & (module.frequencies(data) < 4.01)).all())


def test_volumes(tmp_path):
    module = example("volume")
    assert module.likeness(module.balls(100, 1) / 127.5 - 1).min() > 0.8
    assert module.likeness(torch.randn(100, 1, 8, 8, 8)).mean() < 0.5
    denoiser = module.main(steps=100, out=str(tmp_path / "volume.png"))
    assert (tmp_path / "volume.png").exists()
    assert denoiser.shape == (1, 8, 8, 8)
    assert module.likeness(fn.sample(denoiser, 16)).mean() > 0.6
