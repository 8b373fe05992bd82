"""`--data hf://owner/name`: a table of images fetched by `datasets` from a hub on this machine."""

import io
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from PIL import Image

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.data.config import DataConfig
from fromnoise.data.loading import load

datasets = pytest.importorskip("datasets", reason="the data extra is not installed")


def parquet(colours):
    def png(colour):
        box = io.BytesIO()
        Image.new("RGB", (12, 10), (colour, 0, 50)).save(box, "png")
        return {"bytes": box.getvalue(), "path": None}

    columns = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
        "text": datasets.Value("string"),
    }
    rows = {
        "image": [png(c) for c in colours],
        "label": [c % 2 for c in colours],
        "text": [f"red {c}" for c in colours],
    }
    box = io.BytesIO()
    datasets.Dataset.from_dict(rows, features=datasets.Features(columns)).to_parquet(box)
    return box.getvalue()


def ask(monkeypatch, url):
    """In place of HF_ENDPOINT, which both libraries read when they are imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", url)
    monkeypatch.setattr(datasets.config, "HUB_DATASETS_URL", url + "/datasets/{repo_id}/resolve/{revision}/{path}")


@pytest.fixture
def table(hub, tmp_path, monkeypatch):
    """Two shards of training images and one to test with; `datasets` asks the hub on this machine alone."""
    ask(monkeypatch, hub.url)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    quick = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr("datasets.utils.file_utils.time", quick)
    return hub.add("owner/set", {"data/train-00000-of-00002.parquet": parquet([0, 1, 2]), "README.md": b"# images",
                                 "data/train-00001-of-00002.parquet": parquet([3, 4]), "evil.py": b"raise SystemExit",
                                 "data/test-00000-of-00001.parquet": parquet([200, 201])}, "dataset")  # fmt: skip


def test_images_labels_and_captions_arrive(hub, table, capfd):
    for word, colours in (
        ("hf://owner/set", range(5)),
        ("hf://datasets/owner/set", range(5)),
        (f"hf://owner/set@{table}", range(5)),
    ):
        images = load(DataConfig(name=word))
        assert images.shape == (3, 10, 12)
        assert list(images.classes) == ["cat", "dog"]
        pixels, labels = images.batch(range(len(images)))
        assert pixels[:, 0, 0, 0].tolist() == list(colours)
        assert labels.tolist() == [c % 2 for c in colours]
        assert list(images.captions) == [f"red {c}" for c in colours]
    assert load(DataConfig(name="hf://owner/set", split="test")).batch([0, 1])[0][:, 0, 0, 0].tolist() == [200, 201]
    assert not hub.asked("evil.py")
    assert len(hub.asked("GET /cdn/")) == 3  # each file once
    assert capfd.readouterr() == ("", "")


def test_training_takes_them(hub, table, tmp_path, capsys):
    own = ["--set", "network.channels=8", "network.blocks=1", "network.groups=4", "network.attention=[]", "data.size=8",
           "train.batch_size=2"]  # fmt: skip
    assert (
        main(["train", "images", "--data", "hf://owner/set", "--steps", "1", "--out", str(tmp_path / "run"), *own]) == 0
    )
    assert fn.load(tmp_path / "run").class_names == ("cat", "dog")
    assert torch.isfinite(fn.sample(fn.load(tmp_path / "run"), 1, "ddim", steps=2)).all()


FAILURES = {
    "no such": ("hf://owner/none", [], "the hub knows no datasets/owner/none, or it is private: correct the name"),
    "no such revision": ("hf://owner/set@v9", [], "no such branch, tag or commit: see {url}/datasets/owner/set/commits/main"),
    "no such configuration": ("hf://owner/set:other", [], "BuilderConfig 'other' not found"),
    "gated": ("hf://owner/set", [("/api/|resolve", (403, {"X-Error-Code": "GatedRepo"}))], "is gated: ask for access at {url}/datasets/owner/set"),
    "broken": ("hf://owner/set", [("/api/", (500, {}))], "the hub answers 500"),
    "cut": ("hf://owner/set", [("GET /cdn/", "cut")], "the connection broke off"),
    "a wrong size": ("hf://owner/set", [("GET /cdn/", "short")], "the connection broke off"),
    "offline": ("hf://owner/set", "offline", "HF_HUB_OFFLINE is set: unset it"),
    "no network": ("hf://owner/set", "away", "http://127.0.0.1:9 is not reached"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_line(hub, table, monkeypatch, capfd, name):
    word, wrong, wanted = FAILURES[name]
    if wrong == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    if wrong == "away":
        ask(monkeypatch, "http://127.0.0.1:9")
    hub.wrong = wrong if isinstance(wrong, list) else []
    with pytest.raises(fn.FromNoiseError) as caught:
        load(DataConfig(name=word))
    assert str(caught.value).startswith(f"{word}: ")
    assert "\n" not in str(caught.value)
    assert wanted.format(url=hub.url) in str(caught.value)
    assert capfd.readouterr() == ("", "")
