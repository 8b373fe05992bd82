"""Reflow's pairs against the exact flow, and the folder that keeps them."""

import json
import math

import numpy as np
import pytest
import torch
from conftest import line_mixture
from test_paths import Monotone, normal

import fromnoise as fn
from fromnoise import rng
from fromnoise.data import paired
from fromnoise.gaussian import diffuse

STRAIGHT = fn.schedules.Rectified()


def pairs(denoiser, n=200, **more):
    return fn.data.reflow_pairs(denoiser, n, **{"steps": 50, "batch_size": 64} | more)


def every(found):
    x0, told = found.examples(range(len(found)))
    return x0, told["noise"], {k: v for k, v in told.items() if k != "noise"}


def test_pairs_of_a_normal_are_the_monotone_map():
    x0, eps, told = every(pairs(normal(0.5, 0.3, dim=2).denoiser(STRAIGHT), steps=400))
    assert not told
    torch.testing.assert_close(x0, 0.3 + 0.5 * eps, rtol=0, atol=5e-4)
    assert torch.equal(eps, rng.normal(0, range(200), 0, (2,), dtype=torch.float64).float())
    assert x0.dtype == eps.dtype == torch.float32


@pytest.mark.parametrize("sampler", ["heun", "ode"])
def test_pairs_of_a_mixture_on_a_line_keep_quantiles(sampler):
    """x_0 = F_0^-1(Phi(eps)): the pairs are the sorted ones, and F_0(x_0) is Phi(eps) to the solver's tolerance."""
    steps = 1000
    if sampler == "ode":
        pytest.importorskip("torchdiffeq", reason="the ode extra is not installed")
        sampler, steps = fn.samplers.ODE(rtol=1e-7, atol=1e-7), 200
    mixture = line_mixture()
    x0, eps, _ = every(pairs(mixture.denoiser(STRAIGHT), 64, sampler=sampler, steps=steps, spacing="log-snr"))
    assert torch.equal(x0[:, 0].argsort(), eps[:, 0].argsort())
    spread = mixture.covariances[:, 0, 0].sqrt()
    below = (mixture.log_weights.exp() * torch.special.ndtr((x0.double() - mixture.means[:, 0]) / spread)).sum(1)
    torch.testing.assert_close(below, torch.special.ndtr(eps[:, 0].double()), rtol=0, atol=2e-3)


def flow_loss(student, x0, eps, t):
    level = STRAIGHT.level(t).expand(len(x0))
    return fn.objectives.build("simple")(student, x0, level, eps)["loss"].mean().item()


def test_the_flow_loss_of_pairs_has_floor_0_and_that_of_independent_noise_has_not():
    """E |eps - x_0 - v|^2 = s^2 / var_t a dimension at best; of the pairs the student of the exact field has none."""
    m, s = 0.3, 0.5
    truth, student = normal(s, m), fn.Denoiser(Monotone(m, s), STRAIGHT, "flow", shape=(1,))
    teacher = truth.denoiser(STRAIGHT)
    eps = rng.normal(1, range(40_000), 0, (1,), dtype=torch.float64)
    data = m + s * rng.normal(2, range(40_000), 0, (1,), dtype=torch.float64)
    x0, noise, _ = every(pairs(teacher, steps=400))
    for t in (100.0, 500.0, 900.0):
        level = STRAIGHT.level(t)
        var = level.alpha**2 * s * s + level.sigma**2
        p = teacher(diffuse(data, eps, level), level)
        loss = (eps - data - (p.eps - p.x0)).square().mean().item()
        assert loss == pytest.approx((s * s / var).item(), rel=0.03)
        assert flow_loss(student, x0, noise, t) < 1e-6
        assert flow_loss(student, data.float(), eps.float(), t) > loss


def test_one_step_of_the_exact_field_lands_on_the_data():
    student = fn.Denoiser(Monotone(0.3, 0.5), STRAIGHT, "flow", shape=(4,))
    x0, eps, _ = every(pairs(student, 16, sampler="ddim", steps=1))
    torch.testing.assert_close(x0, 0.3 + 0.5 * eps, rtol=0, atol=1e-6)


def test_reflow_straightens_what_a_student_learns():
    """Trained on the pairs of two points far apart, one step goes nearer to the data than the teacher's one step."""
    data = fn.oracle.GaussianMixture(torch.ones(2), torch.tensor([[-1.0], [1.0]]), torch.full((2, 1, 1), 0.01))
    teacher = data.denoiser(STRAIGHT)
    learned = pairs(teacher, 1000, sampler="heun", steps=50, batch_size=1000)
    network = fn.nn.MLP(in_channels=1, width=64)
    student = fn.Denoiser(network, STRAIGHT, "flow", shape=(1,))
    fn.fit(student, learned, coupling="given", steps=250, batch_size=256, lr=4e-3, ema=0.98, progress=False)

    def off(model):
        return (fn.sample(model, 500, "ddim", 1, batch_size=500).abs() - 1).abs().mean().item()

    assert off(teacher) == pytest.approx(1, abs=0.1)  # the mean of the data, which is none of them
    assert off(student) < 0.5
    assert fn.paths.measure(student, 200).straightness < 0.3 * fn.paths.measure(teacher, 200).straightness


@pytest.fixture
def blocks(monkeypatch):
    monkeypatch.setattr(paired, "BLOCK", 8)


class Counted(fn.guidance.Wrapper):
    """A model that counts its calls, and can be stopped."""

    def __init__(self, inner, stop=None):
        super().__init__(inner)
        self.calls, self.stop = 0, stop

    def forward(self, x_t, t, cond=None):
        self.calls += len(x_t)
        if self.calls == self.stop:
            raise KeyboardInterrupt
        return self.inner(x_t, t, cond)


def told():
    """Of a model of three classes."""
    truth = fn.oracle.GaussianMixture(torch.ones(3), torch.tensor([[-1.0], [0.0], [1.0]]), torch.full((3, 1, 1), 0.04))
    denoiser = truth.conditional_denoiser(STRAIGHT, [[0], [1], [2]])
    return denoiser


def test_a_folder_is_read_again_and_gone_on_with(tmp_path, blocks, capsys):
    labels = {"label": torch.arange(20) % 3}
    whole = every(pairs(told(), 20, cond=labels, steps=5, batch_size=8))
    probe = 3  # what is asked of the model before the first pair
    assert ((whole[0][:, 0] - (labels["label"] - 1)).abs() < 0.8).all()  # each near the middle of its own class
    with pytest.raises(KeyboardInterrupt):
        pairs(Counted(told(), stop=probe + 9 * 8 + 8), 20, cond=labels, steps=5, batch_size=8, folder=tmp_path / "p")
    assert (tmp_path / "p" / "block-000000" / "x0.npy").exists()
    assert not (tmp_path / "p" / "block-000001").exists()
    again = Counted(told())
    found = pairs(again, 20, cond=labels, steps=5, batch_size=8, folder=tmp_path / "p")
    assert again.calls == probe + 9 * 12  # the second and third block alone
    third = Counted(told())
    read = pairs(third, 20, cond=labels, steps=5, batch_size=8, folder=tmp_path / "p")
    assert third.calls == probe
    for one in (every(found), every(read)):
        assert torch.equal(one[0], whole[0])
        assert torch.equal(one[1], whole[1])
        assert torch.equal(one[2]["label"], labels["label"])
    assert np.load(tmp_path / "p" / "block-000002" / "told-label.npy").tolist() == [1, 2, 0, 1]
    about = json.loads((tmp_path / "p" / "pairs.json").read_text())
    assert about["sampler"] == {"name": "heun", "churn": 0.0}
    assert (about["seed"], about["steps"], about["number"]) == (0, 5, 20)
    assert found.content() == read.content()
    assert "made again" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [({"seed": 1}, "seed"), ({"sampler": "ddim"}, "sampler"), ({"steps": 6}, "steps"), ({"n": 12}, "number"),
     ({"cond": {"label": 1}}, "conditions"), ({"model": 0.5}, "answers"), ({"model": "weights 1"}, "model")],
)  # fmt: skip
def test_pairs_of_something_else_are_made_again(change, said, tmp_path, blocks, capsys):
    def model(kind):
        if isinstance(kind, str):
            torch.manual_seed(int(kind[-1]))
            return fn.Denoiser(fn.nn.MLP(in_channels=1, width=8), "rectified", "flow", shape=(1,))
        return normal(kind).denoiser(STRAIGHT)

    usual = {"n": 10, "sampler": "heun", "steps": 5, "seed": 0, "model": 1.0, "cond": None}
    if said == "model":
        usual |= {"model": "weights 0"}
    if said == "conditions":
        usual |= {"cond": {"label": 0}}

    def call(options, folder=tmp_path / "p"):
        denoiser = told() if options["cond"] else model(options["model"])
        rest = {k: v for k, v in options.items() if k not in ("n", "model")}
        return every(pairs(denoiser, options["n"], **rest, folder=folder))

    call(usual)
    capsys.readouterr()
    found = call(usual | change)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(f"its pairs are of another {said}; they are made again")
    assert torch.equal(call(usual | change, None)[0], found[0])
    assert torch.equal(call(usual | change)[0], found[0])
    assert capsys.readouterr().err == ""


def test_a_damaged_block_is_made_again(tmp_path, blocks, capsys):
    whole = every(pairs(told(), 20, folder=tmp_path / "p"))[0].clone()
    (tmp_path / "p" / "block-000001" / "x0.npy").write_bytes(b"cut")
    assert torch.equal(every(pairs(told(), 20, folder=tmp_path / "p"))[0], whole)
    assert "block-000001: x0.npy has 3 bytes" in capsys.readouterr().err


def test_what_cannot_be_paired_is_one_line(tmp_path):
    truth = normal(0.5).denoiser(STRAIGHT)
    with pytest.raises(fn.FromNoiseError, match="sampler ancestral draws noise on its way"):
        pairs(truth, 4, sampler="ancestral")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        fn.FromNoiseError, match=r"holds notes.txt, so it is not a folder of pairs: name another folder"
    ):
        pairs(truth, 4, folder=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(fn.FromNoiseError, match=r"folder: .*notes.txt cannot be written \(File exists\)"):
        pairs(truth, 4, folder=tmp_path / "notes.txt")
    with pytest.raises(fn.FromNoiseError, match="n must be a whole number of at least 1"):
        pairs(truth, 0)
    open_ended = fn.Denoiser(torch.nn.Identity(), "rectified", "flow", shape=(1,))
    with pytest.raises(fn.FromNoiseError, match="a condition cannot be called noise"):
        pairs(open_ended, 4, cond={"noise": torch.zeros(4, 1)})


def test_a_latent_model_is_paired_in_its_latents():
    codec = fn.compose.PCA(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), 1)
    truth = normal(0.5).denoiser(STRAIGHT)
    truth.codec = codec
    assert every(pairs(truth, 4, steps=2))[0].shape == (4, 1)
    assert math.isfinite(fn.paths.measure(truth, 4, steps=4).straightness)
