"""torch-fidelity's figures of the same features, as `python benchmarks/fidelity.py` prints them."""

import importlib.util
from pathlib import Path

import pytest
import torch

from fromnoise.metrics.features import Features

pytest.importorskip("torch_fidelity", reason="the fid extra is not installed")


def features(n, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    pool = torch.randn(n, 32, generator=generator).relu() + shift
    return Features(pool, torch.randn(n, 10, generator=generator).double().softmax(1))


@pytest.fixture(scope="module")
def compared():
    path = Path(__file__).parents[2] / "benchmarks" / "fidelity.py"
    spec = importlib.util.spec_from_file_location("fidelity", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.figures(features(500, 0), features(400, 1, 0.05))


@pytest.mark.parametrize("name", ["FD", "IS", "IS deviation", "KID", "precision", "recall"])
def test_figures_are_torch_fidelitys(name, compared):
    theirs, ours = compared[name]
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9)
    assert abs(theirs) > 1e-4
