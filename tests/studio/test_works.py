"""What the studio computes is what the library computes, on any device, and what mathematics says."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch
from pretended_gpu import GPU, pretended_gpu
from small_runs import TINY

import fromnoise as fn
from fromnoise.app import runs
from fromnoise.app.cli import main
from fromnoise.app.studio import works
from fromnoise.app.studio.bench import Bench
from fromnoise.app.studio.frames import pack, unpack
from fromnoise.app.studio.works import forward
from fromnoise.data.images import to_uint8
from fromnoise.gaussian import diffuse


def computed(kind, bench=None, places=None, **values):
    """Every frame of a work, as the page gets it."""
    found = []
    work = works.made(kind, values)
    work.compute(bench or Bench(), places or {}, lambda header, arrays=None: found.append(unpack(pack(header, arrays))))
    return found


class On(Bench):
    """Models on another device."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    def model(self, path):
        found = super().model(path)
        found.denoiser.to(self.device)
        return found


@pytest.fixture(scope="module")
def tiny(shelf):
    return {"run": shelf / "tiny"}


def test_a_frame_comes_back_as_it_was():
    arrays = {"a": np.arange(7, dtype=np.uint8), "b": np.random.default_rng(0).normal(size=(3, 0, 2)), "c": np.int32([[1, -2]]),
              "d": np.float32(np.random.default_rng(1).normal(size=(5, 3)))}  # fmt: skip
    header, back = unpack(pack({"kind": "x", "text": "é\n"}, arrays))
    assert header == {"kind": "x", "text": "é\n"}
    for name, array in arrays.items():
        assert back[name].shape == array.shape
        assert (back[name] == array.astype(np.float32 if array.dtype == np.float64 else array.dtype)).all()
    with pytest.raises(ValueError, match="JSON"):
        pack({"x": float("nan")})


def test_arrays_lie_where_a_browser_can_look_at_them():
    """A typed array must begin at a multiple of its element's size."""
    frame = pack(
        {"kind": "odd"}, {name: np.zeros(k, np.uint8) for name, k in (("a", 3), ("b", 5), ("c", 1))} | {"d": np.ones(2)}
    )
    total, length = np.frombuffer(frame[:8], np.uint32)
    assert total == len(frame) - 4
    start = -(-(8 + int(length)) // 8) * 8
    places = json.loads(frame[8 : 8 + length])["arrays"]
    assert [place["at"] % 8 for place in places] == [0] * 4
    assert np.frombuffer(frame, np.float32, 2, start + places[3]["at"]).tolist() == [1, 1]


@pytest.mark.parametrize(("sampler", "scale"), [("ddim", 2.0), ("heun", 1.0), ("ancestral", 3.0)])
def test_a_walk_is_shown_as_it_went(tiny, sampler, scale):
    """x_t is the state before each step, x0hat and eps the guided prediction there, and the change what guidance did."""
    model = runs.open_model(tiny["run"], "fp32")
    bench = Bench()
    bench.model = lambda path: model
    (start, _), *steps, (end, last) = computed(
        "draw", bench, tiny, run="tiny", n=2, seed=9, sampler=sampler, steps=5, guidance=scale
    )
    states, guided = [], fn.guidance.steer(model.denoiser, scale)
    label = {"label": torch.tensor([0, 1])}
    x = fn.sample(guided, 2, fn.samplers.build(sampler), steps=5, seed=9, cond=label, callback=lambda m: states.append((m.t, m.x)),
                  spacing=start["plan"]["spacing"])  # fmt: skip
    assert (last["x"] == to_uint8(x).numpy()).all()
    chain = model.denoiser.schedule.steps(5, start["plan"]["spacing"])
    assert len(steps) == start["total"] == chain.steps == end["index"]
    for i, (header, arrays) in enumerate(steps):
        assert header["index"] == i
        assert header["log_snr"] == pytest.approx(chain[i].log_snr.item())
        if i:
            assert (arrays["x"] == to_uint8(states[i - 1][1]).numpy()).all()
            with torch.no_grad():
                p, plain = guided(states[i - 1][1], chain[i], label), model.denoiser(states[i - 1][1], chain[i], label)
            assert np.abs(arrays["x0"].astype(int) - to_uint8(p.x0).numpy()).max() <= 1
            assert np.abs(arrays["eps"].astype(int) - to_uint8(p.eps / 3).numpy()).max() <= 1
            assert np.allclose(arrays["score"], p.score.square().mean((1, 2, 3)).sqrt(), rtol=1e-4)
            change = p.x0 - plain.x0
            if scale == 1:
                assert "change" not in arrays
            else:
                assert np.abs(arrays["change"].astype(int) - to_uint8(change).numpy()).max() <= 1
                assert np.allclose(arrays["change_size"], change.square().mean((1, 2, 3)).sqrt(), rtol=1e-3, atol=1e-6)


WORKS = {
    "draw": {"n": 2, "steps": 4, "guidance": 2.0},
    "forward": {"n": 2},
    "levels": {"n": 2, "steps": 5},
    "bound": {"n": 2, "steps": 6},
    "walks": {"n": 1, "steps": 4},
}


@pytest.mark.parametrize("kind", WORKS)
def test_on_another_device(kind, tiny):
    """The frames are the CPU's but for a shade of gray: kernels differ."""
    here = computed(kind, places=tiny, run="tiny", **WORKS[kind])
    with pretended_gpu():
        there = computed(kind, On(GPU), tiny, run="tiny", **WORKS[kind])
    assert len(here) == len(there)
    for (header, arrays), (other, others) in zip(here, there, strict=True):
        assert arrays.keys() == others.keys()
        for name, array in arrays.items():
            close = np.abs(array.astype(float) - others[name]) <= (
                6 if array.dtype == np.uint8 else 2e-2 * (1 + np.abs(array))
            )
            assert close.mean() > 0.98, (kind, name)
        for name, value in header.items():
            if isinstance(value, float) and "seconds" not in name:
                assert other[name] == pytest.approx(value, rel=2e-2, abs=1e-2), name


def test_the_forward_process_is_the_librarys(tiny):
    (_, start), *steps = computed("forward", places=tiny, run="tiny", n=3, seed=4)
    model = runs.open_model(tiny["run"])
    x0, cond = forward.some_data(Bench(), model, 3, 4, {})
    assert (start["x"] == to_uint8(x0).numpy()).all()
    eps = fn.rng.normal(4, range(3), 0, tuple(x0.shape[1:]))
    chain = model.denoiser.schedule.steps(forward.LEVELS - 1, "log-snr")
    assert len(steps) == len(list(chain))
    for (header, arrays), t in zip(steps, reversed(list(chain)), strict=True):
        assert header["alpha"] == pytest.approx(t.alpha.item())
        assert (arrays["x"] == to_uint8(diffuse(x0, eps, t)).numpy()).all()
        if "x0" in arrays:
            with torch.no_grad():
                away = model.denoiser(diffuse(x0, eps, t), t, cond).x0 - x0
            assert np.allclose(arrays["error"], away.square().mean((1, 2, 3)).sqrt(), rtol=1e-3)


class Gaussian(fn.guidance.Wrapper):
    """The exact denoiser of N(0, s^2), around a network that is not asked."""

    guides = False

    def __init__(self, denoiser, deviation):
        super().__init__(denoiser)
        self.deviation = deviation

    def forward(self, x_t, t, cond=None):
        a, s = (fn.gaussian.like(part, x_t) for part in (t.alpha, t.sigma))
        square = self.deviation**2
        return self.inner(x_t, t, cond).with_x0(a * square * x_t / (a**2 * square + s**2))


def test_errors_by_level_are_the_exact_ones(tiny, monkeypatch):
    """E |x_0 - x0hat|^2 / D = s^2 sigma^2 / (alpha^2 s^2 + sigma^2), of eps alpha^2/sigma^2 times that; and the best variance of
    a step then lies where theory says, for data N(0, 1) at beta."""
    for deviation in (0.3, 1.0):
        model = runs.open_model(tiny["run"], "fp32")
        model = replace(model, denoiser=Gaussian(model.denoiser, deviation))
        bench = Bench()
        monkeypatch.setattr(bench, "model", lambda path, model=model: model)
        x0 = deviation * torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        monkeypatch.setattr(forward, "some_data", lambda *a, x0=x0: (x0, None))
        (_, _), *levels = computed("levels", bench, tiny, run="tiny", n=64, steps=20)
        assert len(levels) == 20
        for header, _ in levels:
            a, s, square = header["alpha"], header["sigma"], deviation**2
            wanted = square * s**2 / (a**2 * square + s**2)
            assert header["x0_error"] == pytest.approx(wanted, rel=0.03)
            assert header["eps_error"] == pytest.approx(wanted * a**2 / s**2, rel=0.03)
            if deviation == 1.0 and "optimal" in header:
                assert header["optimal"] == pytest.approx(1, abs=0.06)
            elif "optimal" in header:
                assert -0.05 < header["optimal"] < 1.05


def test_the_bounds_terms_make_the_bound(tiny):
    *_, (end, _) = computed("bound", places=tiny, run="tiny", n=4, steps=12, seed=1)
    assert end["prior"] + sum(end["steps"]) + end["decoder"] == pytest.approx(end["bits_per_dim"], rel=1e-6)
    model = runs.open_model(tiny["run"])
    x0, cond = forward.some_data(Bench(), model, 4, 1, {})
    chain = model.denoiser.schedule.steps(12, "uniform")
    bound = fn.likelihood.vlb(model.denoiser, x0, chain=chain, cond=cond, seed=1)
    assert end["bits_per_dim"] == pytest.approx(bound.total.mean().item(), rel=1e-6)
    assert end["times"] == chain.levels.time[:-2].tolist()


def test_every_number_of_a_sampler_can_be_set_on_the_page(tiny):
    """Also one without a default, such as an upper limit."""
    ((header, _),) = computed("describe", None, tiny, run="tiny")
    options = {one["name"]: {o["name"]: o["default"] for o in one["options"]} for one in header["samplers"]}
    assert options["heun"] == {"churn": 0.0, "churn_min": 0.0, "churn_max": None, "churn_noise": 1.0}


def test_walks_end_where_their_samplers_do(tiny):
    (start, _), *frames = computed("walks", places=tiny, run="tiny", n=2, steps=6, seed=3)
    walks = [frame for frame in frames if frame[0]["kind"] == "walk"]
    assert len(frames) > len(walks)  # it can be stopped within one
    assert [header["name"] for header, _ in walks] == start["walks"]
    denoiser = fn.guidance.steer(fn.load(tiny["run"], precision=runs.open_model(tiny["run"]).precision), 2.0)
    for header, arrays in walks:
        if header["sampler"] == "annealed-langevin":
            assert header["calls"] == 26  # five at each level, and the last step's one
            continue
        x = fn.sample(denoiser, 2, fn.samplers.build(header["sampler"]), steps=6, seed=3)
        assert (arrays["end"] == to_uint8(x).numpy()).all(), header["sampler"]


@pytest.mark.parametrize("schedule", ["rectified", "cosine"])
def test_every_walk_ends_in_the_data(tiny, monkeypatch, schedule):
    """Of the exact denoiser of N(0, 0.3^2), from noise in which no signal is left, too."""
    model = runs.open_model(tiny["run"], "fp32")
    exact = Gaussian(fn.Denoiser(model.denoiser.network, schedule, "v", shape=(3, 16, 16)), 0.3)
    bench = Bench()
    monkeypatch.setattr(bench, "model", lambda path: replace(model, denoiser=exact))
    frames = computed("walks", bench, tiny, run="tiny", n=2, steps=200)
    walks = [arrays for header, arrays in frames if header["kind"] == "walk"]
    assert len(walks) == 4
    for arrays in walks:
        assert (arrays["end"] / 127.5 - 1).std() == pytest.approx(0.3, rel=0.1)


def test_schedules_are_the_librarys():
    ((header, arrays),) = computed("schedules", names=["linear", "edm"], steps=10, spacing="karras")
    assert header["names"] == ["linear", "edm"]
    for i, name in enumerate(header["names"]):
        schedule = fn.schedules.build(name)
        chain = schedule.steps(10, "karras")
        sizes = chain.levels.log_snr[:-1].numpy()
        assert np.allclose(arrays[f"{i}.steps"], sizes, rtol=1e-5)
        assert np.allclose(arrays[f"{i}.alpha"][[0, -1]], schedule.chain.levels.alpha[[-1, 0]], atol=1e-6)
        assert arrays[f"{i}.time"][0] == 0
        assert arrays[f"{i}.time"][-1] == 1


def apart(x, data):
    """Of each particle to the nearest point."""
    return np.sqrt(((x[:, None] - data[None]) ** 2).sum(2)).min(1)


def test_particles_of_the_exact_denoiser_end_on_the_data():
    (_, first), *steps, (_, last) = computed("plane", shape="ring", exact=True, steps=30, sampler="heun")
    for _, arrays in steps:
        assert np.allclose(arrays["score"], arrays["exact"], rtol=1e-5, atol=1e-5)
    assert np.quantile(apart(last["x"], first["data"]), 0.9) < 0.25
    assert np.median(apart(steps[0][1]["x"], first["data"])) > 0.3


def test_a_model_learns_a_sketch_in_seconds():
    points = [[-1.5 + 0.02 * (i % 10), -1.0 + 0.02 * (i // 10)] for i in range(60)]
    points += [[1.5 + 0.02 * (i % 10), 1.0 + 0.02 * (i // 10)] for i in range(60)]
    (_, first), *steps, (_, last) = computed("plane", shape="sketch", points=points, seconds=4.0, steps=30)
    assert np.allclose(first["data"], np.float32(points))
    training = [header for header, _ in steps if header["kind"] == "training"]
    assert training[-1]["step"] > training[0]["step"]
    walk = [arrays for header, arrays in steps if header["kind"] == "step"]
    assert len(walk) == 30
    assert np.median(apart(last["x"], first["data"])) < 0.5 * np.median(apart(walk[0]["x"], first["data"]))
    right = (last["x"][:, 0] > 0).mean()
    assert 0.3 < right < 0.7


def test_latents_are_decoded_on_demand():
    """Of a latent model's walk the page gets latents; a step that somebody looks at is decoded."""
    bench = Bench()
    codec = type("Codec", (fn.denoise.Codec,), {"encode": lambda self, x: x / 2, "decode": lambda self, z: 2 * z,
                                                "image_shape": lambda self, shape: shape})()  # fmt: skip
    z = torch.linspace(-0.4, 0.4, 2 * 16).view(2, 1, 4, 4)
    bench.keep("latents", 7, value={3: (codec, z, z / 2)})
    ((header, arrays),) = computed("decode", bench, latents=7, index=3)
    assert header["index"] == 3
    assert (arrays["x"] == to_uint8(2 * z).numpy()).all()
    assert (arrays["x0"] == to_uint8(z).numpy()).all()
    with pytest.raises(fn.FromNoiseError, match="no longer kept"):
        computed("decode", bench, latents=7, index=4)


@pytest.fixture(scope="module")
def others(tmp_path_factory, pictures):
    """A latent model, a cascade and a student, as their commands make them."""
    root = tmp_path_factory.mktemp("others")
    given = ["--data", str(pictures), "--steps", "2"]
    small = ["--set", "data.size=16", *TINY]
    codec = ["--set", "data.size=16", "network.channels=8", "network.groups=4", "train.batch_size=4"]
    for words in (
        ["train-autoencoder", "digits-kl", *given, "--out", str(root / "kl"), *codec],
        ["train", "digits-latent", *given, "--out", str(root / "latent"), "--autoencoder", str(root / "kl"), *small],
        ["train", "digits-cascade", *given, "--out", str(root / "cascade"), *small],
        ["train", "digits", *given, "--out", str(root / "teacher"), *small],
        ["train", "easy-consistency", "--teacher", str(root / "teacher"), "--out", str(root / "student"), "--steps", "2",
         "--set", "train.batch_size=8"],
    ):  # fmt: skip
        assert main(words) == 0
    return root


@pytest.mark.parametrize("name", ["latent", "cascade", "student"])
def test_what_is_more_than_one_network_is_drawn_as_its_command_draws(others, tmp_path, monkeypatch, name):
    bench, places = Bench(), {"run": others / name}
    ((about, _),) = computed("describe", bench, places, run=name)
    assert about[name]
    own = {} if name == "student" else {"sampler": "ddim", "steps": 3}
    (start, _), *steps, (end, last) = computed("draw", bench, places, run=name, n=2, seed=3, **own)
    assert len(steps) == start["total"] == end["index"]
    monkeypatch.chdir(tmp_path)
    assert main([*shlex.split(start["command"])[1:-1], "drawn.npz"]) == 0
    with np.load("drawn.npz") as drawn:
        assert (drawn["arr_0"].transpose(0, 3, 1, 2) == last["x"]).all()
    scope = {}
    exec(start["python"], scope)
    x = scope["x"]
    assert ((x if x.dtype == torch.uint8 else to_uint8(x)).numpy() == last["x"]).all()
    if name == "latent":
        ((_, decoded),) = computed("decode", bench, latents=start["latents"], index=2)
        assert decoded["x0"].shape == last["x"].shape
        assert steps[2][1]["x0"].shape[2:] != last["x"].shape[2:]
