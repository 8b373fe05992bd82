"""`fromnoise eval` and `fromnoise table` as people type them."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image
from test_cli import TINY, call, refused, run  # noqa: F401

import fromnoise as fn

FAST = ("--n", 70, "--steps", 2, "--guidance", 1)


def test_eval_writes_what_it_did(run, tmp_path, capfd):  # noqa: F811
    out = tmp_path / "e.json"
    assert call("eval", run, *FAST, "--seeds", 2, "--out", out) == 0
    said = capfd.readouterr()
    found = json.loads(out.read_text())
    assert found["figure"] == "FD-digits-70"
    assert found["figures"].keys() == {"FD-digits", "KID-digits", "KID-digits deviation", "IS-digits", "IS-digits deviation", "precision", "recall", "density", "coverage", "class accuracy"}  # fmt: skip
    assert "FID" not in said.out
    assert "over 2 seeds" in said.out
    assert found["model"]["step"] == 4
    assert found["model"]["ema"] is True
    assert found["sampling"]["nfe"] == 2
    assert found["reference"]["n"] == 5000
    assert found["features"]["accuracy"] > 0.97
    assert call("eval", run, *FAST, "--metrics", "frechet") == 0
    assert json.loads((run / "eval.json").read_text())["value"] == found["figures"]["FD-digits"]["seeds"][0]


def test_few_samples_are_a_warning(run, tmp_path, capfd):  # noqa: F811
    assert call("eval", run, "--n", 10, "--steps", 2, "--guidance", 1, "--metrics", "frechet") == 0
    assert "warning: 10 samples for 64 features" in capfd.readouterr().err


def test_images_of_others(run, tmp_path, capfd):  # noqa: F811
    digits = fn.data.load(fn.data.DataConfig(name="digits")).pixels[::50]
    np.savez(tmp_path / "real.npz", digits.permute(0, 2, 3, 1).numpy())
    (tmp_path / "folder").mkdir()
    for i, image in enumerate(digits):
        Image.fromarray(image[0].numpy()).save(tmp_path / "folder" / f"{i:03}.png")
    found = []
    for samples in ("real.npz", "folder"):
        assert (
            call(
                "eval",
                "--samples",
                tmp_path / samples,
                "--data",
                "digits",
                "--features",
                "digits",
                "--out",
                tmp_path / "o.json",
            )
            == 0
        )
        found.append(json.loads((tmp_path / "o.json").read_text()))
    assert found[0]["figures"] == found[1]["figures"]
    assert found[0]["figures"]["precision"]["value"] > 0.7
    assert call("eval", run, "--samples", tmp_path / "real.npz", "--out", tmp_path / "o.json") == 0
    assert json.loads((tmp_path / "o.json").read_text())["figures"] == found[0]["figures"]


def test_bad_input_is_one_line(run, tmp_path, refused):  # noqa: F811
    fn.features.build("digits")  # is made once, and says so
    np.savez(tmp_path / "large.npz", np.zeros((3, 32, 32, 1), np.uint8))
    np.savez(tmp_path / "floats.npz", np.zeros((3, 28, 28, 1), np.float32))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    for side in (28, 30):
        Image.new("L", (side, 28)).save(tmp_path / "mixed" / f"{side}.png")
    for words, says in [
        ((), "name a run to sample, or give images with --samples"),
        (("--samples", tmp_path / "large.npz"), "--samples without a run also needs --data"),
        ((run, "--samples", tmp_path / "large.npz"), "the samples are 32x32 and the images of digits 28x28"),
        ((run, "--samples", tmp_path / "floats.npz"), "images are uint8 [N, H, W, C]"),
        ((run, "--samples", tmp_path / "text.npz"), "not a .npz of plain arrays"),
        ((run, "--samples", tmp_path / "none.npz"), "no such file"),
        ((run, "--samples", tmp_path / "empty"), "no image"),
        ((run, "--samples", tmp_path / "mixed"), "bring all to the size of the data, 28x28, first"),
        ((run, "--features", "digit"), "unknown feature extractor 'digit' (did you mean digits?)"),
        ((run, "--metrics", "fid"), "unknown metric 'fid'"),
        ((run, "--n", 1), "--n must be from 2 to"),
        ((run, "--seeds", 0), "--seeds must be at least 1"),
        ((run, "--steps", 2000), "between 1 and 1000"),
        ((run, "--split", "validation"), "--split validation: choose from train, test"),
        ((run, "--features", "inception", "--weights", tmp_path / "large.npz"), "not the expected weights"),
        ((run, "--class", "eleven"), "no such class"),
        ((tmp_path / "nothing",), "no such run"),
    ]:
        assert says in refused("eval", *words), words
    assert "must be .csv" in refused("table", "steps", run, "--out", tmp_path / "t.txt")
    assert "unknown spacing" in refused("table", "steps", run, "--spacings", "unifrom")
    assert "fewer than any of --columns" in refused("table", "steps", run, "--columns", 2000)


def test_a_table_is_three_files(run, tmp_path, capfd):  # noqa: F811
    out = tmp_path / "t.csv"
    assert call("table", "steps", run, "--out", out, "--n", 4, "--columns", 1, 2, "--spacings", "ddim") == 0
    assert len(out.read_text().splitlines()) == 11
    assert "| sigma-hat |" in out.with_suffix(".md").read_text()
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.width > 300
    assert "FD-digits-4 against the number of steps" in capfd.readouterr().out


def test_the_table_of_paths(run, tmp_path, capfd):  # noqa: F811
    out = tmp_path / "p.csv"
    assert call("table", "paths", run, "--out", out, "--n", 6, "--columns", 3, 2, "--batch-size", 4) == 0
    rows = out.read_text().splitlines()
    assert rows[0] == "steps,tau,deviation"
    assert [row.split(",")[0] for row in rows[1:]] == ["2", "2", "3", "3", "3"]
    assert "| 3 | 8 |" in out.with_suffix(".md").read_text()
    assert "| steps | network calls | straightness | curvature |" in capfd.readouterr().out
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.width > 300


def test_what_the_table_of_paths_does_not_take(run, refused):  # noqa: F811
    assert "--features has no effect on the table paths" in refused("table", "paths", run, "--features", "digits")
    assert "--spacings has no effect on the table paths" in refused("table", "paths", run, "--spacings", "ddim")
    assert "whole numbers, at least 1" in refused("table", "paths", run, "--columns", 0.5)


def test_two_processes_find_what_one_does(run, tmp_path):  # noqa: F811
    words = ["--n", "130", "--steps", "2", "--guidance", "1", "--precision", "fp32"]
    found = []
    for start in (
        [sys.executable, "-m"],
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--"],
    ):
        shutil.rmtree(run / "eval", ignore_errors=True)
        out = tmp_path / f"{len(found)}.json"
        done = subprocess.run([*start, "fromnoise", "eval", str(run), *words, "--out", str(out)], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300)  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append({k: v["value"] for k, v in json.loads(out.read_text())["figures"].items()})
    assert found[0] == found[1]  # to the last bit
