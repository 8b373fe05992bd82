"""What all tests share."""

import contextlib
import os
import random
from collections.abc import Iterator

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


def _shared() -> dict[str, object]:
    """What of this process all tests share, and the programs that they start inherit."""
    limits = {}
    with contextlib.suppress(ImportError):  # of systems that have none
        import resource

        limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if "RLIMIT_" in name}
    umask = os.umask(0o077)
    os.umask(umask)
    return {"umask": umask, "folder": os.getcwd(), **limits}


@pytest.fixture(autouse=True)
def left_alone() -> Iterator[None]:
    """A memory limit that one test leaves behind would end the browser of another one."""
    before = _shared()
    yield
    after = _shared()
    assert after == before, {name: (before[name], after[name]) for name in after if after[name] != before.get(name)}


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


class Posing(fn.guidance.Wrapper):
    """A denoiser with what a sampler of students asks for; its output stays what it is."""

    def __init__(self, denoiser: "fn.Denoiser", student: str):
        super().__init__(denoiser)
        self.student = fn.students.build(student)

    def forward(self, x_t, t, cond=None):
        return self.inner(x_t, t, {k: v for k, v in (cond or {}).items() if k != "span"} or None)


class Followed(Posing):
    """The exact student of an exact denoiser: the probability-flow ODE, followed by Runge and Kutta's rule in 24 steps."""

    def forward(self, x_t, t, cond=None):
        start = t.alpha + t.sigma
        tau = (t.sigma / start).expand(len(x_t))
        end = tau - cond["span"].double() if cond else torch.zeros_like(tau)
        end = end.clamp_min(1e-5)
        y, h = x_t / fn.gaussian.like(start, x_t), (end - tau) / 24
        for i in range(24):
            a = self._speed(y, tau + i * h)
            b = self._speed(y + fn.gaussian.like(h / 2, y) * a, tau + (i + 0.5) * h)
            c = self._speed(y + fn.gaussian.like(h / 2, y) * b, tau + (i + 0.5) * h)
            d = self._speed(y + fn.gaussian.like(h, y) * c, tau + (i + 1) * h)
            y = y + fn.gaussian.like(h / 6, y) * (a + 2 * b + 2 * c + d)
        x0 = x_t / fn.gaussian.like(start, x_t) + fn.gaussian.like(tau / (tau - end), y) * (
            y - x_t / fn.gaussian.like(start, x_t)
        )
        return self.inner(x_t, t).with_x0(x0)  # where the mean velocity leads in all of tau; the path's own end

    def _speed(self, y, tau):
        level = self.schedule.at(2 * (torch.log1p(-tau) - torch.log(tau)))
        p = self.inner(fn.gaussian.like(level.alpha + level.sigma, y) * y, level)
        return p.eps - p.x0


def student_for(sampler, denoiser: "fn.Denoiser", exact: bool = False) -> "fn.Denoiser":
    """What this sampler takes: the denoiser itself, or a student of it."""
    name = getattr(type(sampler), "registered_name", sampler)
    if name not in fn.students.names():
        return denoiser
    return (Followed if exact else Posing)(denoiser, name)
