"""Exported graphs compute what the model does, for any number of examples, in programs that do not have this library."""

import functools
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import fromnoise as fn
from fromnoise import rng
from fromnoise.app.cli import main
from fromnoise.data.images import to_uint8
from fromnoise.weights.graphs import as_onnx

ort = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("onnxscript", reason="the export extra is not installed")

SMALL = {"in_channels": 1, "channels": 8, "mult": (1, 2), "blocks": 1, "groups": 4, "skips": "levels", "attention": (2,),
         "mid_attention": False}  # fmt: skip


def filled(network):
    """With random weights: a fresh network's output is zero."""
    generator = torch.Generator().manual_seed(0)
    for p in network.parameters():
        p.data = torch.randn(p.shape, generator=generator) / 6
    return network.eval()


class Exact(nn.Module):
    """E[x_0 | x_t] of N(mean, c I), told the mean: alpha and sigma stand in its table, a row for each whole time."""

    c = 0.3

    def __init__(self, schedule):
        super().__init__()
        t = schedule.level(torch.arange(schedule.T + 1))
        self.rows = schedule.T
        self.register_buffer("alpha", t.alpha.float())
        self.register_buffer("gain", (t.alpha * self.c / (t.alpha**2 * self.c + t.sigma**2)).float())

    def forward(self, x, time, mean):
        row = (time * (self.rows / 1000)).round().long() + 1
        return mean + self.gain[row][:, None] * (x - self.alpha[row][:, None] * mean)


class Lengthy(nn.Module):
    """Asks Python for the number of examples, which is then a number and no input."""

    def forward(self, x, time):
        return x * time.reshape(len(x), 1)


class Huge(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1e4))

    def forward(self, x, time):
        return (x * self.weight) * self.weight / 1e8


class Told(nn.Module):
    """x w + what it is told by a name of its own; `drawn` with noise of its own."""

    def __init__(self, drawn=0.0):
        super().__init__()
        self.weight, self.drawn = nn.Parameter(torch.ones(1)), drawn

    def forward(self, x, time, **told):
        (value,) = told.values() or [torch.zeros(1)]
        return x * self.weight + value + (self.drawn * torch.randn_like(x) if self.drawn else 0.0)


def told(**options):
    return fn.Denoiser(Told(**options), fn.schedules.Cosine(T=50), "x0", shape=(2,)).eval()


def unet():
    network = filled(fn.nn.UNet(**SMALL, classes=3, null_label=True))
    return fn.guidance.steer(fn.Denoiser(network, "linear", "eps", shape=(1, 8, 8)).eval(), scale=2.0, clip=True)


def dit():
    network = filled(fn.nn.DiT(in_channels=1, depth=1, width=16, heads=2, patch=4))
    return fn.Denoiser(network, fn.schedules.EDM(), "edm", shape=(1, 8, 8)).eval()


def exact():
    schedule = fn.schedules.Cosine(T=20)
    return fn.Denoiser(Exact(schedule), schedule, "x0", shape=(2,)).eval()


def mlp(**options):
    network = filled(fn.nn.MLP(in_channels=2, width=16, depth=1))
    return fn.Denoiser(network, fn.schedules.Cosine(T=50), "v", shape=(2,), **options).eval()


def latent():
    codec = fn.compose.PCA(torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(1)), 2)
    return mlp(codec=codec)


MODELS = {
    "unet": (unet, "onnx", {"sampler": fn.samplers.DDIM(eta=1.0), "steps": 3}),
    "dit": (dit, "onnx", {"sampler": "heun", "steps": 3}),
    "exact": (exact, "onnx", {"sampler": "ddim", "steps": 5, "cond": {"mean": torch.zeros(1, 2)}}),
    "half": (latent, "onnx", {"steps": 3, "half": True}),
    "torch": (latent, "torch-export", {"sampler": "ancestral", "steps": 3}),
}


@pytest.fixture(scope="module", autouse=True)
def one_translation():
    """PyTorch's exporter translates its whole library anew for every graph; here once will do, where it can be told."""
    from torch.onnx._internal.exporter import _registration

    before = _registration.ONNXRegistry.from_torchlib
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_registration.ONNXRegistry, "from_torchlib", staticmethod(functools.cache(before)))
        yield


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Each is written when a test first asks for it."""
    made = {}

    def of(name):
        if name not in made:
            make, to, options = MODELS[name]
            folder, denoiser = tmp_path_factory.mktemp("exports") / name, make()
            result = fn.export(denoiser, folder, to=to, **options)
            about = json.loads((folder / "export.json").read_text())
            made[name] = SimpleNamespace(denoiser=denoiser, folder=folder, result=result, about=about, options=options)
        return made[name]

    return of


def run(export, graph, **given):
    """By onnxruntime or torch alone, from the file."""
    path = export.folder / f"{graph}.onnx"
    if not path.exists():
        return list(torch.export.load(export.folder / f"{graph}.pt2").module()(given))
    session = ort.InferenceSession(path)
    return [torch.from_numpy(x) for x in session.run(None, {name: value.numpy() for name, value in given.items()})]


def close(one, other, share=1e-4):
    assert one.shape == other.shape
    assert (one - other).abs().max() <= share * max(1.0, other.abs().max().item())


def conditions(denoiser, n):
    found = {"label": torch.arange(n).flip(0) % denoiser.classes} if denoiser.classes else {}
    return found | ({"mean": torch.randn(n, 2)} if isinstance(denoiser.network, Exact) else {})


@pytest.mark.parametrize("name", ["unet", "dit", "exact"])
def test_the_denoiser_graph_is_the_denoiser(exports, name):
    """At whole and fractional times, for one example and for several, each with a time of its own."""
    export = exports(name)
    T = export.denoiser.schedule.T
    for n in (1, 4):
        x, cond = torch.randn(n, *export.denoiser.shape), conditions(export.denoiser, n)
        t = torch.tensor([1.0, T, T // 2, 0.3 * T])[-n:].double().round(decimals=0 if name == "exact" else 3)
        x0, eps = run(export, "denoiser", x_t=x, t=t, **cond)
        p = export.denoiser(x, t, cond)
        close(x0, p.x0.detach())
        close(eps, p.eps.detach())


@pytest.mark.parametrize("name", ["unet", "dit", "torch"])
def test_the_sampler_graph_is_sample(exports, name):
    """From the same x_T and the same noise, for two numbers of samples."""
    export = exports(name)
    shape, draws = export.denoiser.shape, export.about["sampler"]["inputs"].get("noise", {"shape": [0]})["shape"][0]
    assert draws == (0 if name == "dit" else 2)
    for n in (1, 3):
        cond = conditions(export.denoiser, n)
        normal = [rng.normal(5, range(n), call, shape) for call in range(draws + 1)]
        noise = {"noise": torch.stack(normal[1:])} if draws else {}
        (x,) = run(export, "sampler", x_T=export.about["prior"]["std"] * normal[0], **noise, **cond)
        options = {key: export.options[key] for key in ("sampler", "steps")}
        close(x, fn.sample(export.denoiser, n, **options, seed=5, cond=cond))


def test_the_sampler_graph_is_exact_on_a_gaussian(exports):
    """x_0 - m = prod k (x_T - alpha_T m), k = (alpha_s alpha_t c + sigma_s sigma_t) / (alpha_t^2 c + sigma_t^2)."""
    export = exports("exact")
    levels = export.about["sampler"]["levels"]
    alpha, sigma, mean = np.array(levels["alpha"]), np.array(levels["sigma"]), torch.tensor([[0.5, -2.0], [1.0, 0.0]])
    k = (alpha[1:] * alpha[:-1] * Exact.c + sigma[1:] * sigma[:-1]) / (alpha[:-1] ** 2 * Exact.c + sigma[:-1] ** 2)
    x_T = torch.tensor([[1.0, 2.0], [-0.5, 0.3]])
    (x,) = run(export, "sampler", x_T=x_T, mean=mean)
    close(x.double(), mean + k.prod() * (x_T - alpha[0] * mean), 1e-5)


def program(export, where, n, seed):
    """run.py in a process that can import neither this library nor, for onnx, PyTorch."""
    absent = ["fromnoise"] + ["torch"] * (export.about["format"] == "onnx")
    code = (f"import sys, runpy; sys.modules.update(dict.fromkeys({absent})); sys.argv[1:] = ['{n}', '{seed}']; "
            f"runpy.run_path({str(export.folder / 'run.py')!r}, run_name='__main__')")  # fmt: skip
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["unet", "dit", "exact"])
def test_the_program_beside_the_graphs_draws_without_this_library(exports, name, tmp_path):
    export, n = exports(name), 5
    cond = (
        conditions(export.denoiser, n) if name == "exact" else {"label": torch.arange(n) % 3} if name == "unet" else {}
    )
    if name == "exact":
        np.save(export.folder / "mean.npy", cond["mean"].numpy())
    program(export, tmp_path, n, 7)
    x = torch.from_numpy(np.load(tmp_path / "samples.npy"))
    draw = np.random.default_rng(7).standard_normal
    start = torch.from_numpy(draw((n, *export.denoiser.shape)).astype(np.float32))
    noise = iter(torch.from_numpy(draw((2, n, *export.denoiser.shape)).astype(np.float32)))
    sampler, chain = fn.samplers.plan(export.denoiser, export.options["sampler"], export.options["steps"])
    start = start * torch.exp(export.denoiser.schedule.prior(chain[0]).log_var / 2).float()
    with torch.no_grad():
        truth = fn.samplers.walk(export.denoiser, start, chain, sampler, lambda: next(noise), cond or None)
    close(x, truth)
    if x.dim() == 4:
        from PIL import Image

        picture = np.asarray(Image.open(tmp_path / "samples.png"))
        pixels = to_uint8(truth)[:, 0].numpy().astype(int)
        assert abs(picture.astype(int) - np.concatenate(list(pixels), 1)).max() <= 1


def test_the_program_draws_by_pytorch_alone(exports, tmp_path):
    program(exports("torch"), tmp_path, 2, 0)
    assert torch.load(tmp_path / "samples.pt").shape == (2, 1, 4, 4)
    assert (tmp_path / "samples.png").exists()


def test_half_precision_says_what_it_costs(exports):
    """What it says is what an example here shows, too; the weights are half as large; the codec decodes."""
    export = exports("half")
    assert export.about["weights"] == "float16"
    for name in ("x0", "eps", "samples"):
        error = export.result.errors[name]
        assert 1e-5 < error.largest < 0.1 * max(1, error.scale)
        assert 0 < error.mean < error.largest
        assert export.about["errors"][name] == error._asdict()
    (x,) = run(export, "sampler", x_T=torch.randn(2, 2, generator=torch.Generator().manual_seed(3)))
    assert x.shape == (2, 1, 4, 4)
    import onnx

    kinds = {tensor.data_type for tensor in onnx.load(export.folder / "denoiser.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds


@pytest.mark.parametrize("name", ["unet", "dit", "exact"])
def test_it_says_how_close_it_was(exports, name):
    errors = exports(name).result.errors
    assert set(errors) == {"x0", "eps", "samples"}
    assert all(e.largest <= 1e-4 * max(1, e.scale) for e in errors.values())


def test_a_large_file_keeps_its_weights_beside_it(tmp_path, monkeypatch):
    import onnx
    from onnx import helper, numpy_helper

    weight = numpy_helper.from_array(np.arange(4000, dtype=np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, 1, [4000]) for name in "xy")
    model = helper.make_model(
        helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight]),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    monkeypatch.setattr(as_onnx, "WHOLE", 1000)
    as_onnx.write(model, tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").stat().st_size < 1000
    assert as_onnx.run(tmp_path / "a.onnx", {"x": torch.ones(4000)})[0][-1] == 4000
    assert onnx.load(tmp_path / "a.onnx").graph.initializer[0].name == "w"


def classified():
    network = fn.nn.HalfUNet(in_channels=1, channels=8, mult=(1,), blocks=1, groups=4, attention=(), outputs=2)
    denoiser = dit()
    classifier = fn.guidance.NoisyClassifier(network, denoiser.schedule, (1, 8, 8), ("a", "b"))
    return fn.guidance.steer(denoiser, classifier=classifier)


WRONG = {
    "no denoiser": (lambda out: fn.export(nn.Linear(1, 1), out), r"denoiser must be a Denoiser, got torch\.Linear"),
    "format": (lambda out: fn.export(mlp(), out, to="tflite"), r"unknown format 'tflite'; choose from onnx, torch-export"),
    "sampler": (lambda out: fn.export(mlp(), out, sampler="dimm"), r"unknown sampler 'dimm' \(did you mean ddim\?\)"),
    "steps": (lambda out: fn.export(mlp(), out, steps=51), r"steps must lie between 1 and 50"),
    "adaptive": (lambda out: fn.export(mlp(), out, sampler="ode"), r"sampler ode chooses its number of steps .*: use another, such as unipc"),
    "shape": (lambda out: fn.export(fn.Denoiser(Lengthy(), "linear"), out), r"has no shape, .*shape="),
    "classifier": (lambda out: fn.export(classified(), out), r"classifier guidance takes a gradient .*: leave it out"),
    "condition": (lambda out: fn.export(exact(), out), r"the network needs mean: give cond="),
    "an empty condition": (lambda out: fn.export(exact(), out, cond={"mean": 1.0}), r"cond\['mean'\] must be an example"),
    "notes": (lambda out: fn.export(mlp(), out, notes={"x": torch}), r"notes must be JSON values"),
    "no finite notes": (lambda out: fn.export(mlp(), out, notes={"x": float("nan")}), r"notes must be JSON values"),
    "no conditions by name": (lambda out: fn.export(mlp(), out, cond=[1]), r"cond must be a Mapping"),
    "no condition": (lambda out: fn.export(exact(), out, cond={"mean": "x"}), r"cond\['mean'\] is no tensor"),
    "chance": (lambda out: fn.export(told(drawn=1.0), out, to="torch-export", steps=1), r"varies from call to call, .*: remove its randomness"),
    "len": (lambda out: fn.export(fn.Denoiser(Lengthy(), "linear", shape=(2,)), out, to="torch-export", steps=1), r"in a network of yours write x\.shape\[0\] instead of len\(x\)"),
    "half": (lambda out: fn.export(fn.Denoiser(Huge(), "linear", shape=(2,)), out, to="torch-export", steps=1, half=True), r"x0 is not finite: .*leave half out"),
}  # fmt: skip


@pytest.mark.parametrize("name", ["x_t", "t", "x_T", "noise", "x0", "eps", "output", "samples"])
def test_a_condition_has_no_name_of_the_graphs(name, tmp_path):
    with pytest.raises(fn.FromNoiseError, match=f"a condition cannot be called {name}, .*: rename it"):
        fn.export(told(), tmp_path / "out", to="torch-export", sampler="ddim", steps=1, cond={name: torch.zeros(1, 2)})


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line(name, tmp_path):
    if name == "adaptive":
        pytest.importorskip("torchdiffeq")
    act, message = WRONG[name]
    with pytest.raises(fn.FromNoiseError, match=message) as caught:
        act(tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(fn.FromNoiseError, match=r'pip install "fromnoise\[export\]"'):
        fn.export(mlp(), tmp_path / "out")


def test_the_command(tmp_path, capsys):
    """A saved model; what lies in the way stays, an older export is replaced, and the error is said."""
    fn.save(mlp(), tmp_path / "saved")
    out = tmp_path / "out"
    words = ["export", str(tmp_path / "saved"), "--to", "torch-export", str(out), "--steps", "1", "--sampler", "ddim"]
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert main(words) == 2
    assert "holds mine.txt, which would be lost: name a new folder" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").rename(out / "export.json")
    assert main(words) == 2  # which another program may have written
    (out / "export.json").unlink()
    assert main(words) == 0
    said = capsys.readouterr()
    assert f"{out}\n" == said.out
    assert "largest difference from this model in float32: x0 " in said.err
    assert {p.name for p in out.iterdir()} == {"denoiser.pt2", "sampler.pt2", "run.py", "export.json", "manifest.json"}
    about = json.loads((out / "export.json").read_text())
    assert about["sampler"]["is"] == {"name": "ddim", "eta": 0.0}
    assert about["sampler"]["steps"] == 1
    assert about["denoiser"]["guidance_and_clipping"] == [{"name": "Clip"}]


def test_an_older_export_is_replaced_and_nothing_else(tmp_path, monkeypatch):
    """What a condition's file says stays beside run.py; all else that a person put there ends it, hidden or not."""
    out = tmp_path / "out"

    def put(place=out):
        return fn.export(exact(), place, to="torch-export", sampler="ddim", steps=1, cond={"mean": torch.zeros(1, 2)})

    put()
    (out / "mean.pt").write_bytes(b"mine")
    for _ in range(2):
        put()
        assert (out / "mean.pt").read_bytes() == b"mine"
        assert "mean.pt" not in json.loads((out / "manifest.json").read_text())
    for name in ("samples.pt", ".git", "x_T.pt", "label.pt"):
        (out / name).write_text("mine")
        with pytest.raises(fn.FromNoiseError, match=f"holds {name}, which would be lost"):
            put()
        (out / name).unlink()
    (tmp_path / "other" / "export.json").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for place, words in ((tmp_path / "other", r"holds export\.json/, which"), (".", "the folder that you are in"),
                         ("a\0b", "cannot be written")):  # fmt: skip
        with pytest.raises(fn.FromNoiseError, match=words):
            put(place)


@pytest.mark.parametrize("to", ["onnx", "torch-export"])
def test_the_program_says_what_it_needs(tmp_path, to):
    """A label of one's own, of a network without classes, is read and not made up; every mistake is one line."""
    out, suffix = tmp_path / "out", ".npy" if to == "onnx" else ".pt"
    fn.export(told(), out, to=to, sampler="ddim", steps=1, cond={"label": torch.zeros(1, 2)})

    def tried(*words):
        done = subprocess.run([sys.executable, out / "run.py", *words], cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stderr.strip()

    def put(value):
        np.save(out / "label.npy", value) if to == "onnx" else torch.save(torch.from_numpy(value), out / "label.pt")

    for words in (["0"], ["-1"], ["x"], ["1.5"], ["3", "-1"], ["3", "x"]):
        assert tried(*words) == (1, "python run.py [HOW MANY, from 1] [SEED, from 0]")
    wanted = f"{out}/label{suffix}: no such file: put the condition label there, float32 of the shape [2, 2]"
    assert tried("2") == (1, wanted)
    put(np.ones((3, 2)))
    assert tried("2") == (1, f"{out}/label{suffix}: has the shape [3, 2], and 2 samples need [2, 2]")
    put(np.full((2, 2), 7.0))
    assert tried("2")[0] == 0
    x = np.load(tmp_path / "samples.npy") if to == "onnx" else torch.load(tmp_path / "samples.pt").numpy()
    assert (abs(x) > 3).all()
