"""Trainings that a studio starts: they go on without it, are found again, and lose nothing."""

import json
import os
import signal

import pytest
from small_runs import TINY

from fromnoise.app.cli import main


@pytest.fixture
def tiny():
    """Settings of a network that trains in no time, and draws nothing meanwhile."""
    return [*TINY, "train.checkpoint_every=50", "train.sample_every=0", "data.size=16"]


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def step(studio, name):
    runs = {run["name"]: run for run in studio.get("/api/state")["runs"]}
    return ((runs.get(name) or {}).get("progress") or {}).get("step", 0)


def test_paused_and_resumed_it_is_the_run_that_never_stopped(root, starting, pictures, tiny, tmp_path):
    """The numbers of every step, bit for bit, and the last weights."""
    words = [
        "train",
        "digits",
        "--data",
        str(pictures),
        "--out",
        str(tmp_path / "whole"),
        "--steps",
        "150",
        "--seed",
        "3",
    ]
    assert main([*words, "--set", *tiny]) == 0
    with starting(root, "--data", pictures) as studio:
        asked = {"recipe": "digits", "name": "own", "folder": pictures.name, "steps": 150, "seed": 3, "settings": tiny}
        assert studio.post("/api/train", asked)["state"] == "going"
        studio.until(lambda: step(studio, "own") > 20)
        studio.post("/api/runs/own/pause", {})
        studio.until(lambda: studio.state("own") == "paused")
        at = lines(root / "own")[-1]["step"]
        assert 20 < at < 150
        assert (root / "own" / "checkpoints" / f"step-{at:08d}").is_dir()
        assert studio.post("/api/resume", {"run": "own"})["state"] == "going"
        studio.until(lambda: studio.state("own") == "ended")
    own, whole = lines(root / "own"), lines(tmp_path / "whole")
    clock = ("seconds", "images_per_second")
    assert [{k: v for k, v in line.items() if k not in clock} for line in own] == [
        {k: v for k, v in line.items() if k not in clock} for line in whole
    ]
    name = "checkpoints/step-00000150/ema.safetensors"
    assert (root / "own" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_it_outlives_its_studio_and_is_found_by_the_next(root, starting, pictures, tiny):
    asked = {"recipe": "digits", "name": "own", "folder": pictures.name, "steps": 10**6, "settings": tiny}
    with starting(root, "--data", pictures) as studio:
        studio.post("/api/train", asked)
        studio.until(lambda: step(studio, "own") > 5)
    with starting(root) as studio:
        assert studio.state("own") == "going"
        before = step(studio, "own")
        studio.until(lambda: step(studio, "own") > before)
        assert "being trained already" in studio.refused("POST", "/api/resume", {"run": "own"})
        assert "already" in studio.refused("POST", "/api/train", {"recipe": "digits", "name": "own", "steps": 5})
        studio.post("/api/runs/own/stop", {})
        studio.until(lambda: studio.state("own") == "stopped")
        assert any((root / "own" / "checkpoints").iterdir())


def test_one_goes_at_a_time_and_another_waits(root, starting, pictures, tiny):
    with starting(root, "--data", pictures) as studio:
        asked = {"recipe": "digits", "folder": pictures.name, "settings": tiny}
        studio.post("/api/train", asked | {"name": "first", "steps": 10**6})
        assert studio.post("/api/train", asked | {"name": "second", "steps": 5})["state"] == "waiting"
        assert studio.post("/api/train", asked | {"name": "third", "steps": 5})["state"] == "waiting"
        assert studio.get("/api/runs/third/about")["state"] == "waiting"
        assert studio.get("/api/runs/third/log?after=0")["columns"] == {}
        studio.post("/api/runs/third/pause", {})
        studio.until(lambda: step(studio, "first") > 5)
        assert not (root / "second").exists()
        studio.post("/api/runs/first/pause", {})
        studio.until(lambda: studio.state("second") == "ended")
        assert studio.state("first") == "paused"
        assert studio.state("third") == "paused"
        assert lines(root / "second")[-1]["step"] == 5


def test_a_job_goes_first(root, starting, pictures, tiny):
    """While the studio draws, the training stands between two steps."""
    with starting(root, "--data", pictures) as studio:
        asked = {"recipe": "digits", "name": "own", "folder": pictures.name, "steps": 10**6, "settings": tiny}
        studio.post("/api/train", asked)
        studio.until(lambda: step(studio, "own") > 5)
        number = studio.post("/api/jobs/draw", {"run": "tiny", "n": 8, "sampler": "ancestral", "steps": 600})["number"]
        studio.until(lambda: any(j["state"] == "running" for j in studio.get("/api/state")["queue"]))
        seen = []
        while studio.get("/api/state")["queue"][0]["state"] == "running":
            seen.append(len(lines(root / "own")))
        studio.frames(number)
        assert len(seen) > 5
        assert seen[-1] - seen[2] <= 1
        studio.until(lambda: step(studio, "own") > seen[-1] + 5)
        studio.post("/api/runs/own/stop", {})
        studio.until(lambda: studio.state("own") == "stopped")


def test_a_studio_that_is_killed_holds_nothing_up(root, starting, pictures, tiny):
    with starting(root, "--data", pictures) as studio:
        studio.post(
            "/api/train", {"recipe": "digits", "name": "own", "folder": pictures.name, "steps": 10**6, "settings": tiny}
        )
        studio.until(lambda: step(studio, "own") > 5)
        studio.post("/api/jobs/draw", {"run": "tiny", "n": 16, "sampler": "ancestral", "steps": 900})
        studio.until(lambda: any(j["state"] == "running" for j in studio.get("/api/state")["queue"]))
        studio.process.kill()
        studio.process.wait()
    with starting(root) as studio:
        before = step(studio, "own")
        studio.until(lambda: step(studio, "own") > before + 5)
        studio.post("/api/runs/own/stop", {})
        studio.until(lambda: studio.state("own") == "stopped")


def test_what_cannot_be_trained_says_why(root, starting, pictures):
    with starting(root, "--data", pictures) as studio:
        asked = {"recipe": "digits", "name": "own", "folder": pictures.name, "settings": ["network.chanels=8"]}
        studio.post("/api/train", asked)
        studio.until(lambda: studio.state("own") == "failed")
        said = studio.get("/api/runs/own/about")["words"][-1]
        assert "network.chanels" in said or "chanels" in said
        assert "Traceback" not in said
        # nothing was begun, and so the name is free
        assert studio.post("/api/train", asked | {"settings": ["train.steps=0"], "steps": 1})["state"] in (
            "going",
            "waiting",
        )


def test_a_run_of_a_terminal_is_shown_and_left_alone(root, starting, pictures, tiny, tmp_path):
    import subprocess
    import sys

    words = [
        "train",
        "digits",
        "--data",
        str(pictures),
        "--out",
        str(root / "own"),
        "--steps",
        "1000000",
        "--set",
        *tiny,
    ]
    process = subprocess.Popen([sys.executable, "-m", "fromnoise", *words], stderr=subprocess.DEVNULL,
                               env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    try:
        with starting(root) as studio:
            studio.until(lambda: step(studio, "own") > 5)
            assert studio.state("own") == "elsewhere"
            assert "Ctrl-C" in studio.refused("POST", "/api/runs/own/pause", {})
            assert "being trained already" in studio.refused("POST", "/api/resume", {"run": "own"})
            process.send_signal(signal.SIGINT)
            process.wait(30)
            studio.until(lambda: studio.state("own") == "")
            at = step(studio, "own")
            assert studio.post("/api/resume", {"run": "own"})["state"] == "going"
            studio.until(lambda: step(studio, "own") > at)
            studio.post("/api/runs/own/stop", {})
            studio.until(lambda: studio.state("own") == "stopped")
    finally:
        process.kill()
        process.wait()
