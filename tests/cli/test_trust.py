"""What surrounds a checkpoint: --out, links in a run's folder, config.yaml, caches, two at once, endless numbers."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from test_cli import TINY, call, refused, run  # noqa: F401

import fromnoise as fn
from fromnoise.app.runs.config import read_config
from fromnoise.system.disk import storage
from fromnoise.weights import native
from fromnoise.weights.checkpoint import Checkpoints

NEW = ("train", "digits", "--steps", 2, *TINY)


@pytest.fixture
def copy(run, tmp_path):  # noqa: F811
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def newest(run):  # noqa: F811
    return Checkpoints(run / "checkpoints").newest_whole(pytest.fail)


# What is there already


WRITERS = {
    "sample": ("sample", "RUN", "--n", 1, "--steps", 1),
    "nll": ("nll", "RUN", "--n", 1, "--steps", 2),
    "edit": ("edit", "image-to-image", "RUN", "IMAGE", "--n", 1, "--steps", 2),
    "verify": ("verify", "--topic", "levels"),
    "eval": ("eval", "RUN", "--n", 2, "--steps", 1),
    "table": ("table", "steps", "RUN", "--n", 2),
}


@pytest.mark.parametrize("command", WRITERS)
def test_out_is_a_new_file_or_replaces_one_and_touches_nothing_else(run, tmp_path, refused, command):  # noqa: F811
    (tmp_path / "precious").write_text("mine")
    ending = {"sample": ".png", "edit": ".png", "table": ".csv"}.get(command, ".json")
    link, pipe = tmp_path / f"link{ending}", tmp_path / f"pipe{ending}"
    link.symlink_to(tmp_path / "precious")
    os.mkfifo(pipe)
    image = run / "samples" / "step-00000002.png"
    words = [str(w).replace("RUN", str(run)).replace("IMAGE", str(image)) for w in WRITERS[command]]
    for out, what in ((link, "a link"), (pipe, "a pipe")):
        assert f"{out}: is {what}" in refused(*words, "--out", out)
    assert (tmp_path / "precious").read_text() == "mine"
    assert link.is_symlink()
    assert pipe.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["precious", link.name, pipe.name])


def test_a_device_is_not_deleted(run, tmp_path, refused):  # noqa: F811
    null = Path("/dev/null")  # which nobody but root could delete, and root makes one of its own
    if os.getuid() == 0:
        null = tmp_path / "null"
        os.mknod(null, 0o020666, os.makedev(1, 3))
    assert "null: is a device" in refused("nll", run, "--n", 1, "--out", null)
    assert null.is_char_device()


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.yaml", ".holder.json", ".lock", "checkpoints", "samples"])
def test_links_in_a_run_lead_nowhere(copy, tmp_path, capfd, name):
    """A run of a stranger in which a file is a link to one of ours, or a folder to one of ours."""
    profile, ours = tmp_path / "profile", tmp_path / "ours"
    profile.write_text("export A=1\n")
    if (copy / name).is_dir():
        shutil.move(copy / name, ours)
    elif (copy / name).exists():
        profile.write_bytes((copy / name).read_bytes())
        (copy / name).unlink()
    before = profile.read_bytes(), sorted(ours.rglob("*")) if ours.exists() else []
    (copy / name).unlink(missing_ok=True)
    (copy / name).symlink_to(ours if ours.exists() else profile)
    status = call("train", "digits", "--out", copy, "--resume", "--steps", 6)
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert (status, name == "metrics.jsonl" or f"{name}" in said) == (2, True), said
    assert (profile.read_bytes(), sorted(ours.rglob("*")) if ours.exists() else []) == before


def test_a_planted_temporary_file_is_not_followed(copy, tmp_path):
    (tmp_path / "bashrc").write_text("mine\n")
    for name in (".writing-metrics.jsonl", ".writing-config.yaml"):
        (copy / name).symlink_to(tmp_path / "bashrc")
    assert call("train", "digits", "--out", copy, "--resume", "--steps", 6) == 0
    assert (tmp_path / "bashrc").read_text() == "mine\n"


# Names in a configuration


@pytest.mark.parametrize("name", ["../ESC", "/tmp/ESC", "checkpoints", "samples", "a b", ".hidden", ""])
def test_a_stage_is_a_folder_of_the_run(tmp_path, refused, name):  # noqa: F811
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"base": "digits-cascade", "stages": {name: {}}}))
    assert "a stage cannot be called" in refused("train", tmp_path / "mine.yaml", "--out", tmp_path / "r")
    assert not (tmp_path / "ESC").exists()


def test_a_run_names_no_code(copy, tmp_path, refused):  # noqa: F811
    evil = tmp_path / "evil.py"
    evil.write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    values = yaml.safe_load((copy / "config.yaml").read_text()) | {"latent": {"autoencoder": str(evil)}}
    (copy / "config.yaml").write_text(yaml.safe_dump(values))
    shutil.rmtree(copy / "checkpoints")
    assert "unknown recipe" in refused("train", "digits", "--out", copy, "--resume")
    assert "unknown recipe" in refused("train", copy / "config.yaml", "--out", tmp_path / "r")
    assert not (tmp_path / "ran").exists()


def test_a_name_is_no_way_out_of_runs(tmp_path, refused, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("{base: digits, recipe: ../../x}")
    assert "cannot name the run's folder" in refused("train", "mine.yaml", "--steps", 1)


# config.yaml that was cut or edited


def test_a_cut_config_is_not_another_model(copy, refused):  # noqa: F811
    """A configuration has defaults, so that a cut one is one too: of another model."""
    path = copy / "config.yaml"
    whole, config = path.read_text(), read_config(copy)
    lines = whole.splitlines(keepends=True)
    refusals = 0
    for end in range(1, len(lines)):
        path.write_text("".join(lines[:end]))
        try:
            assert read_config(copy) == config  # what was cut off says what is usual
        except fn.FromNoiseError:
            refusals += 1
    assert refusals > len(lines) / 2
    path.write_text(whole.replace("name: cosine", "name: linear"))
    said = refused("sample", copy, "--n", 1)
    assert "schedule.name is linear, and its checkpoints were trained with cosine" in said
    assert "delete it" in said
    path.unlink()
    kept = read_config(copy)
    path.write_text(whole)
    assert kept == read_config(copy)


def test_without_a_checkpoint_a_changed_config_is_refused(copy, refused):  # noqa: F811
    shutil.rmtree(copy / "checkpoints")
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    assert "was changed after it was written" in refused("train", "digits", "--out", copy, "--resume")


def test_flips_of_a_config_are_found_or_change_nothing(copy):
    path = copy / "config.yaml"
    whole, config = path.read_bytes(), read_config(copy)
    for i in range(0, len(whole), 5):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ (1 << i % 8)]) + whole[i + 1 :])
        try:
            found = read_config(copy)
        except fn.FromNoiseError:
            continue
        assert found == config


def test_what_resume_may_change_is_written_and_holds_before_the_next_checkpoint(copy):
    assert call("train", "digits", "--out", copy, "--resume", "--steps", 6, "--set", "train.keep=3") == 0
    assert read_config(copy).train.keep == 3
    shutil.rmtree(newest(copy))  # as if it had been killed before its first checkpoint
    assert read_config(copy).train.keep == 3
    assert call("train", "digits", "--out", copy, "--resume") == 0


# Numbers


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.lr=.inf"], "train.lr: must be finite"),
        (["train.weight_decay=.inf"], "train.weight_decay: must be finite"),
        (["train.weight_decay=.nan"], "train.weight_decay: must be finite"),
        (["schedule.beta_end=.inf"], "schedule.beta_end: must be finite"),
        (["train.betas=[1,1]"], "train.betas: both must lie in [0, 1)"),
        (["train.lr=1e39"], "train.lr"),
        (["train.steps=" + "9" * 23], "train.steps: must be a whole number of at most 18 digits"),
        (["train.steps=" + "9" * 5000], "digits"),
        (["train.batch_size=100000000000"], "train.batch_size 100,000,000,000 would take"),
        (["network.blocks=1000000000"], "more than 10,000 tensors"),
        (["network.channels=100000000"], "GB of memory"),
        (["network.mult=" + str([1] * 100_000)], "unet"),
        (["schedule.T=1000000000000"], "T must be at most 1,000,000"),
    ],
)
def test_endless_options_are_one_line(tmp_path, refused, words, said):  # noqa: F811
    assert said in refused(*NEW, "--out", tmp_path / "r", "--set", *words)


@pytest.mark.parametrize(
    "words",
    [
        ("table", "steps", "RUN", "--columns", "inf"),
        ("eval", "RUN", "--n", 10**20),
        ("eval", "RUN", "--n", 10**15),
        ("sample", "RUN", "--n", 10**13),
        ("sample", "RUN", "--n", 10**6, "--batch-size", 10**12, "--guidance", "inf"),
        ("sample", "RUN", "--classifier", "~nouserhasthisname/x"),
        ("sample", "~nouserhasthisname/x"),
        ("sample", "RUN", "--n", "nan"),
        ("train", "digits", "--minutes", "inf", "--out", "NEW"),
    ],
)
def test_endless_words_are_one_line(run, tmp_path, refused, words):  # noqa: F811
    said = refused(*(str(w).replace("RUN", str(run)).replace("NEW", str(tmp_path / "r")) for w in words))
    assert len(said) < 1200


def test_memory_has_a_limit_that_can_be_lifted(monkeypatch):
    small = {"name": "unet", "channels": 8, "mult": [1], "groups": 4}
    monkeypatch.setenv("FROMNOISE_MEMORY", "0.000001")
    with pytest.raises(fn.FromNoiseError, match="FROMNOISE_MEMORY"):
        fn.nn.build(small)
    monkeypatch.setenv("FROMNOISE_MEMORY", "1")
    torch.manual_seed(0)
    one, after = fn.nn.build(small), torch.rand(1)
    torch.manual_seed(0)
    other = fn.nn.registry.build(small)  # without the look ahead, which must cost no random number
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    assert torch.equal(after, torch.rand(1))


def test_weights_that_are_no_numbers_are_neither_averaged_nor_saved(tmp_path):
    class Poison(torch.optim.SGD):
        def step(self, closure=None):
            super().step()
            next(iter(self.param_groups[0]["params"])).data.view(-1)[0] = math.inf

    torch.manual_seed(0)
    model = fn.Denoiser(fn.nn.MLP(2), fn.schedules.Cosine(), shape=(2,))
    with pytest.raises(fn.errors.TrainingError, match=r"step 1: the update made \S+ infinite or NaN"):
        fn.fit(model, torch.randn(16, 2), steps=3, batch_size=8, optimizer=Poison, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r" / "checkpoints").exists()


@pytest.mark.parametrize("stem", ["optimizer", "ema", "model"])
def test_a_checkpoint_with_nan_is_not_gone_on_with(copy, refused, stem):  # noqa: F811
    place = newest(copy)
    stems = {path.stem for path in place.glob("*.safetensors")}
    tensors = {name: storage.read_tensors(place, name) for name in stems}
    texts = {path.stem: json.loads(path.read_text()) for path in place.glob("*.json") if path.stem != "manifest"}
    next(v for v in tensors[stem].values() if v.is_floating_point() and v.numel() > 1).view(-1)[0] = math.nan
    storage.write_folder(place, tensors, texts)
    said = refused("train", "digits", "--out", copy, "--resume", "--steps", 6)
    assert f"of {stem} is not finite" in said


def test_averages_of_another_shape_are_refused(copy, refused):  # noqa: F811
    place = newest(copy)
    tensors = {path.stem: storage.read_tensors(place, path.stem) for path in place.glob("*.safetensors")}
    texts = {path.stem: json.loads(path.read_text()) for path in place.glob("*.json") if path.stem != "manifest"}
    name = next(n for n, v in tensors["ema"].items() if v.dim() == 1)
    tensors["ema"][name] = torch.zeros(1)
    storage.write_folder(place, tensors, texts)
    assert f"the averaged {name}" in refused("train", "digits", "--out", copy, "--resume", "--steps", 6)
    assert name in refused("sample", copy, "--n", 1)


# Many at once


def test_the_second_trainer_is_told_who_holds_the_run(tmp_path):
    words = [sys.executable, "-m", "fromnoise", *map(str, NEW), "--steps", "100000", "--out", str(tmp_path / "r")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **quiet) as first:
        while not (tmp_path / "r" / "metrics.jsonl").exists():
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.05)
        second = subprocess.run([*words, "--resume"], capture_output=True, text=True, timeout=120)
        assert first.poll() is None
        first.terminate()
        first.communicate()
    assert second.returncode == 2
    assert f"is being trained by process {first.pid} on " in second.stderr
    assert len(second.stderr.splitlines()) == 1
    lines = [json.loads(line)["step"] for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert lines == list(range(1, len(lines) + 1))


def test_a_reader_looks_again_when_the_trainer_lets_go_of_a_checkpoint(copy, monkeypatch):
    older = Checkpoints(copy / "checkpoints").path(2)
    gone = newest(copy)
    hidden, read = copy / "hidden", storage.read_tensors
    assert older.exists()

    def late(folder, stem):
        if folder == gone and gone.exists():
            gone.rename(hidden)
        return read(folder, stem)

    monkeypatch.setattr(storage, "read_tensors", late)
    model = native.load(copy)
    assert hidden.exists()
    assert isinstance(model, fn.Denoiser)


def test_damage_that_stays_is_named_and_not_looked_for_for_ever(copy, monkeypatch):
    def broken(folder, stem):
        raise storage.Damaged(f"{folder}: {stem} is missing")

    monkeypatch.setattr(storage, "read_tensors", broken)
    with pytest.raises(storage.Damaged, match="is missing"):
        native.load(copy)


# What a terminal is told


def test_names_of_strangers_do_not_steer_the_terminal(tmp_path, refused):  # noqa: F811
    said = refused("sample", tmp_path / "\x1b[31mred\x1b]0;title\x07")
    assert "\x1b" not in said
    assert "\x07" not in said
    assert r"\x1b[31mred" in said


def test_a_bug_of_ours_is_the_only_traceback_and_asks_to_be_reported(run, capfd, monkeypatch):  # noqa: F811
    from fromnoise.app import runs

    def bug(*args, **kwargs):
        raise LookupError("surprise")

    monkeypatch.setattr(runs, "open_model", bug)
    assert call("sample", run, "--n", 1) == 70
    said = capfd.readouterr().err
    assert "Traceback" in said
    assert "please report it" in said.splitlines()[-1]
    monkeypatch.setenv("RANK", "1")  # a later process of many, whose bug the first one does not have
    assert call("sample", run, "--n", 1) == 70
    assert "please report it" in capfd.readouterr().err


def test_too_little_memory_is_one_line(run, refused, capfd, monkeypatch):  # noqa: F811
    from fromnoise.app import runs

    def full(*args, **kwargs):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 9 TB")

    monkeypatch.setattr(runs, "open_model", full)
    assert call("sample", run, "--n", 1) == 1
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert "lower --batch-size" in said[0]
