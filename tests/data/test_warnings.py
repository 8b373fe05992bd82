"""What is warned of while training, by whatever process: a line for a person, a warning for a program, once each."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from fromnoise.app.cli import main
from fromnoise.data.config import DataConfig
from fromnoise.data.examples import examples_of
from fromnoise.data.feed import Feed
from fromnoise.data.images import Images
from fromnoise.data.loading import load

TINY = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]", "network.mid_attention=false",
        "network.mult=[1]", "train.batch_size=6", "train.warmup=0", "train.sample_every=0", "data.size=8",
        "data.channels=3", "data.memory=0"]  # fmt: skip
CORRUPT = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"
"""An EXIF block that promises 65,535 entries."""


@pytest.fixture
def photos(tmp_path):
    """Six, of which one breaks after its header; another has an EXIF block over which Pillow grumbles."""
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[:80])
    Image.new("RGB", (8, 8), "red").save(folder / "5.jpg", exif=CORRUPT)
    with pytest.warns(UserWarning, match="Corrupt EXIF data"), Image.open(folder / "5.jpg") as image:
        image.getexif()
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_breaks_is_one_line_of_the_command(photos, tmp_path, workers):
    words = [*TINY, f"data.workers={workers}"]
    done = subprocess.run(
        [sys.executable, "-m", "fromnoise", "train", "images", "--data", str(photos), "--steps", "4", "--precision",
         "fp32", "--out", str(tmp_path / "run"), "--set", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "warning" in line.lower()]
    about = [line for line in said if "3.png" in line]
    assert len(about) == 1, done.stderr
    assert about[0].startswith(f"fromnoise: warning: {photos / '3.png'} (")
    assert about[0].endswith("; the next image replaces it")
    assert all(line.startswith("fromnoise: warning: ") for line in said), done.stderr
    for word in ("UserWarning", "EXIF", "encoded.py", "warnings.warn"):
        assert word not in done.stderr


@pytest.mark.parametrize("workers", [0, 2])
def test_a_program_hears_of_it_in_its_own_process(photos, capfd, workers):
    images = load(DataConfig(name=str(photos), size=8, channels=3, memory=0))
    batches = Feed(images, 0, 6, range(6), workers=workers).from_step(1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(6):
            next(batches)
    batches.close()
    ours = [str(one.message) for one in said if "replaces it" in str(one.message)]
    assert len(ours) == 1
    assert "3.png" in ours[0]
    if workers:  # those of decoders stay in the loaders
        assert len(said) == 1
    assert capfd.readouterr().err == ""


class OutOfFashion(UserWarning):
    pass


class Complaining(Images):
    name, shape, classes = "complaining", (1, 2, 2), ()

    def __len__(self):
        return 8

    def batch(self, indices):
        import torch

        warnings.warn("old", FutureWarning, stacklevel=1)
        warnings.warn("odd", OutOfFashion, stacklevel=1)
        warnings.warn("nobody wants to know", DeprecationWarning, stacklevel=1)
        return torch.zeros(len(indices), 1, 2, 2, dtype=torch.uint8), torch.full((len(indices),), -1)


def test_warnings_of_a_data_set_keep_their_kind_where_it_is_everybodys():
    with warnings.catch_warnings(record=True) as said:
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)  # as Python itself does, and loaders do as they were told
        batches = Feed(Complaining(), 0, 2, range(2), workers=2).from_step(1)
        for _ in range(5):
            next(batches)
        batches.close()
    assert sorted((str(one.message), one.category) for one in said) == [("odd", UserWarning), ("old", FutureWarning)]


def test_any_warning_of_a_command_is_a_line(monkeypatch, capfd):
    from fromnoise.app.cli.list import List

    def call(self):
        for _ in range(2):
            warnings.warn("a\n  thing", UserWarning, stacklevel=1)
            warnings.warn_explicit("image", UserWarning, "/lib/PIL/Image.py", 1)
        return 0

    shown = warnings.showwarning
    monkeypatch.setattr(List, "__call__", call)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["list"]) == 0
        assert capfd.readouterr().err == "fromnoise: warning: a thing\n"
        monkeypatch.setenv("RANK", "1")
        assert main(["list"]) == 0
        assert capfd.readouterr().err == ""
    assert warnings.showwarning is shown


class OwnWarning(UserWarning):
    pass


class Warns(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        warnings.warn("own words", OwnWarning, stacklevel=1)
        return torch.zeros(2)


def test_a_warning_of_ones_own_kind_keeps_it_in_ones_own_process():
    with pytest.warns(OwnWarning, match="own words"):
        next(Feed(examples_of(Warns()), 0, 2, range(2)).from_step(1))
