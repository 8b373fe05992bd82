"""What all tests share."""

import os
import random

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; two threads each would fight

import numpy
import pytest
import torch

import fromnoise as fn

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Never the user's own; one for all test processes, which sit side by side."""
    base = tmp_path_factory.getbasetemp()
    os.environ["FROMNOISE_CACHE"] = str((base.parent if "popen" in base.name else base) / "cache")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws does not depend on the tests before it, nor on the process it runs in."""
    torch.manual_seed(0)
    numpy.random.seed(0)  # noqa: NPY002  (the state that others' code draws from)
    random.seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1234)


class Counting(fn.guidance.Wrapper):
    """A denoiser that remembers how many samples each of its calls had."""

    def __init__(self, denoiser: "fn.Denoiser"):
        super().__init__(denoiser)
        self.sizes: list[int] = []

    def forward(self, x_t, t, cond=None):
        self.sizes.append(len(x_t))
        return self.inner(x_t, t, cond)


def line_mixture() -> "fn.oracle.GaussianMixture":
    """Three components on a line, none of them at the origin."""
    return fn.oracle.GaussianMixture(
        torch.tensor([0.3, 0.5, 0.2]), torch.tensor([[-1.2], [0.4], [1.1]]), torch.tensor([[[0.05]], [[0.1]], [[0.02]]])
    )


def pair_on_line() -> "fn.oracle.GaussianMixture":
    """Two unequal components on a line."""
    return fn.oracle.GaussianMixture(
        torch.tensor([0.75, 0.25]), torch.tensor([[-0.5], [1.5]]), torch.tensor([[[0.3]], [[0.08]]])
    )


def plane_mixture() -> "fn.oracle.GaussianMixture":
    """Three components in the plane with full, rotated covariances."""
    return fn.oracle.GaussianMixture(
        torch.tensor([0.2, 0.5, 0.3]),
        torch.tensor([[-1.0, 0.5], [0.6, 0.8], [0.2, -1.1]]),
        torch.tensor([[[0.2, 0.1], [0.1, 0.15]], [[0.1, -0.06], [-0.06, 0.08]], [[0.3, 0.0], [0.0, 0.02]]]),
    )
