"""A run goes on with the data that it learned from, wherever they lie, and with no other."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

import fromnoise as fn
from fromnoise.data.remembered import about, insist_on_the_same
from fromnoise.errors import FromNoiseError


@pytest.fixture
def folder(tmp_path):
    """Two classes of four images."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(4):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


def trained(data, out, steps, **options):
    network = fn.nn.UNet(channels=8, mult=(1,), blocks=1, groups=4, attention=(), classes=2)
    denoiser = fn.Denoiser(network, "linear", "eps", shape=(3, 8, 8))
    return fn.fit(denoiser, data, steps=steps, batch_size=2, out=out, resume=True, progress=False, **options)


def test_a_moved_folder_goes_on(folder, tmp_path):
    trained(str(folder), tmp_path / "run", 1)
    shutil.move(folder, tmp_path / "elsewhere")
    assert trained(str(tmp_path / "elsewhere"), tmp_path / "run", 2).progress.step == 2


def renamed(folder):
    (folder / "cat").rename(folder / "zebra")
    return r"learned from the classes cat, dog, but the data now has dog, zebra, so labels would change their meaning"


def one_more(folder):
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "9.png")
    return "learned from 8 examples, but the data now has 9"


def one_class_more(folder):
    shutil.copytree(folder / "cat", folder / "bear")
    return "the network has 2 classes, but pets has 3 classes"


def one_changed(folder):
    Image.new("RGB", (8, 8)).save(folder / "dog" / "3.png")
    return "learned from other examples, as many and of the same shape"


@pytest.mark.parametrize("change", [renamed, one_more, one_class_more, one_changed])
def test_changed_folders_are_named(folder, tmp_path, change):
    trained(str(folder), tmp_path / "run", 1)
    said = change(folder)
    with pytest.raises(FromNoiseError, match=said) as refused:
        trained(str(folder), tmp_path / "run", 2)
    assert "\n" not in str(refused.value)
    assert "train into another folder" in str(refused.value) or change is one_class_more


def test_tensors_labels_and_held_out_shares_count(tmp_path):
    x, labels = torch.rand(8, 3, 8, 8), torch.arange(8) % 2
    trained((x, labels), tmp_path / "run", 1)
    trained((x.clone(), labels.clone()), tmp_path / "run", 2)
    with pytest.raises(FromNoiseError, match="other examples"):
        trained((x, 1 - labels), tmp_path / "run", 3)
    with pytest.raises(FromNoiseError, match="learned from 8 examples, but the data now has 6"):
        trained((x, labels), tmp_path / "run", 3, validation=0.25)


class Augmented(Dataset):
    """A stranger's, whose items differ every time."""

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return torch.rand(3, 8, 8), i % 2


def test_a_dataset_that_augments_goes_on(tmp_path):
    trained(Augmented(), tmp_path / "run", 1)
    assert trained(Augmented(), tmp_path / "run", 2).progress.step == 2


def test_an_iterable_is_not_known(tmp_path):
    loader = torch.utils.data.DataLoader(Augmented(), 2)
    assert about(fn.data.examples.examples_of(loader)) == {}
    trained(loader, tmp_path / "run", 1)
    assert trained(loader, tmp_path / "run", 2).progress.step == 2


def test_the_name_in_a_checkpoint_is_taken(tmp_path):
    with pytest.raises(FromNoiseError, match="the name examples is reserved"):
        trained(torch.rand(8, 3, 8, 8), tmp_path / "run", 1, notes={"examples": 1})


@pytest.mark.parametrize("strange", [None, [], "x", {"number": "many"}, {"classes": 3, "number": None, "shape": 7}])
def test_what_a_stranger_wrote_there_is_one_line(strange):
    now = about(fn.data.examples.examples_of(torch.rand(2, 3)))
    if not isinstance(strange, dict):
        insist_on_the_same("checkpoint", strange, now)
    else:
        with pytest.raises(FromNoiseError, match="^[^\n]*$"):
            insist_on_the_same("checkpoint", strange, now)


def test_the_command_goes_on_where_the_folder_lies_now(folder, tmp_path, capsys):
    from fromnoise.app.cli import main

    run = ["train", "digits", "--out", str(tmp_path / "run"), "--set", "train.batch_size=2", "train.sample_every=0",
           "network.channels=8", "network.groups=4", "network.attention=[]"]  # fmt: skip
    assert main([*run, "train.steps=1", "--data", str(folder)]) == 0
    moved = str(tmp_path / "elsewhere")
    shutil.move(folder, moved)
    assert main([*run, "train.steps=2", "--data", moved, "--resume"]) == 0
    assert main([*run, "train.steps=3", "--resume"]) == 0  # it is remembered
    (tmp_path / "elsewhere" / "cat" / "0.png").unlink()
    assert main([*run, "train.steps=4", "--resume"]) == 2
    assert "learned from 8 examples, but the data now has 7" in capsys.readouterr().err


def test_of_many_examples_some_from_everywhere_are_looked_at():
    x = torch.rand(1000, 3)
    for part in (slice(0, 100), slice(450, 550), slice(900, 1000)):
        other = x.clone()
        other[part] += 1
        known, new = (about(fn.data.examples.examples_of(values)) for values in (x, other))
        with pytest.raises(FromNoiseError, match="other examples"):
            insist_on_the_same("checkpoint", known, new)
