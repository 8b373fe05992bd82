"""Streamed shards are the images in them, in a counted order; what is wrong with one is said in a line."""

import json
import os
import tarfile

import numpy as np
import pytest
import torch
from small_runs import TINY
from small_shards import ENDS, PIXELS, index, parquets, png, samples, tar, tars

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.data import _counting, _opening
from fromnoise.data._reduce import reduced
from fromnoise.data.computed import Computed, edges
from fromnoise.data.config import DataConfig
from fromnoise.data.feed import Feed
from fromnoise.data.loading import load
from fromnoise.data.pairs import Pairs

LABELS = [i % 3 for i in range(64)]
CAPTIONS = [f"picture {i}" for i in range(64)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return tars(tmp_path_factory.mktemp("stream") / "shards")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return parquets(tmp_path_factory.mktemp("stream") / "tables")


def everything(stream):
    pixels, labels = stream.batch(range(len(stream)))
    return pixels.numpy(), labels.tolist()


def refused(name, *words, **options):
    with pytest.raises(fn.FromNoiseError) as caught:
        everything(fn.data.stream(name, **options))
    text = str(caught.value)
    assert "\n" not in text, text
    for word in words:
        assert word in text, text


# ---------------------------------------------------------------------------------------------------------------------
# What it holds


@pytest.mark.parametrize("name", ["", "part-{000..004}.tar", "part-*.tar"])
def test_tar_shards_are_the_images_in_them(shards, name):
    stream = fn.data.stream(shards / name if name else shards, classes=3)
    pixels, labels = everything(stream)
    assert np.array_equal(pixels, PIXELS)
    assert labels == LABELS
    assert list(stream.captions) == CAPTIONS
    assert list(stream.classes) == ["0", "1", "2"]
    assert stream.shape == (3, 8, 8)
    assert stream.notes == [f"1 of 5 shards hold no image, as {shards}/part-002.tar"]


def test_tables_are_too(tables):
    stream = fn.data.stream(tables, lanes=1)
    pixels, labels = everything(stream)
    assert np.array_equal(pixels, PIXELS)
    assert labels == LABELS
    assert list(stream.captions) == CAPTIONS
    assert list(stream.classes) == ["a", "b", "c"]
    backwards = list(range(63, -1, -3))
    assert np.array_equal(stream.batch(backwards)[0], PIXELS[backwards])


def test_images_are_brought_to_size_and_channels(shards, tables):
    for name in (shards, tables):
        own = load(DataConfig(name=str(name), memory=0, size=4, channels=1)).batch(range(64))[0]
        assert torch.equal(fn.data.stream(name, size=4, channels=1, classes=0).batch(range(64))[0], own)
    kept = load(DataConfig(name=str(shards), stream=True, classes=0, keep_depth=True, channels=1))
    assert kept.batch([3])[0].dtype == torch.float32
    halved = load(DataConfig(name=str(shards), stream=True, classes=0, reduce=2))
    assert halved.shape == (3, 4, 4)
    assert halved.order(0, 8) is not None
    assert max(halved.few(4)) < ENDS[1]


def test_labels_are_numbers_words_or_folders(tmp_path):
    names = ["ape", "bee", "cat"]
    words = tars(tmp_path / "words", label=lambda i: names[i % 3])
    assert everything(fn.data.stream(words, classes=names))[1] == LABELS
    assert everything(fn.data.stream(words, classes=["cat", "bee", "ape"]))[1] == [2 - i for i in LABELS]
    numbers = tars(tmp_path / "numbers")
    assert everything(fn.data.stream(numbers, classes=names))[1] == LABELS
    folders = tmp_path / "folders"
    folders.mkdir()
    for k in range(2):
        tar(folders / f"{k}.tar", [(f"zoo/{names[i % 3]}/{i}.png", png(PIXELS[i])) for i in range(32 * k, 32 * k + 32)])
    assert everything(fn.data.stream(folders, classes=names))[1] == LABELS
    assert not fn.data.stream(folders).classes
    fn.data.write_index(folders)
    assert list(fn.data.stream(folders).classes) == names
    assert everything(fn.data.stream(folders))[1] == LABELS


def test_what_labels_mean_must_be_said(shards, tmp_path):
    refused(shards, "part-000.tar: its images have labels", "data.classes=N", "fromnoise index SHARDS")
    refused(shards, "part-000.tar: 000002.png: has the label 2, but the 2 classes are 0 to 1", classes=2)
    assert everything(fn.data.stream(shards, classes=0))[1] == [-1] * 64
    words = tars(tmp_path / "words", label=lambda i: "abc"[i % 3])
    refused(words, "has the label a, but the 3 classes are 0, 1, 2", classes=3)
    refused(words, "two classes have one name", classes=["a", "a"])
    plain = tars(tmp_path / "plain", label=None)
    refused(plain, "none of its images has a label", classes=3)
    assert "label" not in fn.data.stream(plain).examples([0])[1]


# ---------------------------------------------------------------------------------------------------------------------
# The index


@pytest.mark.parametrize("kind", [tars, parquets])
def test_an_index_that_was_written_is_used(tmp_path, kind):
    folder = kind(tmp_path / "shards")
    assert fn.data.write_index(folder) == folder / "index.json"
    written = json.loads((folder / "index.json").read_text())
    rows = written["shardlist"]
    assert [row["nsamples"] for row in rows] == np.diff(ENDS).tolist()
    assert [row["filesize"] for row in rows] == [(folder / row["url"]).stat().st_size for row in rows]
    for name in (folder, folder / "index.json", folder / "part-*"):
        name = f"{name}{'' if str(name)[-1] != '*' else '.tar' if kind is tars else '.parquet'}"
        stream = fn.data.stream(name)
        assert np.array_equal(everything(stream)[0], PIXELS)
        assert everything(stream)[1] == LABELS
    part = fn.data.stream(folder / rows[1]["url"])
    assert np.array_equal(everything(part)[0], PIXELS[10:17])
    elsewhere = fn.data.write_index(folder, tmp_path / "elsewhere" / "list.json")
    assert np.array_equal(everything(fn.data.stream(elsewhere))[0], PIXELS)


def test_the_command_writes_an_index(tmp_path, capsys):
    folder = tars(tmp_path / "shards", ENDS[:3])
    assert main(["index", str(folder), "--out", str(tmp_path / "mine.json")]) == 0
    assert f"wrote {tmp_path}/mine.json" in capsys.readouterr().err
    assert json.loads((tmp_path / "mine.json").read_text())["classes"] == ["0", "1", "2"]
    assert main(["index", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_with_an_index_only_the_first_shard_is_opened(tmp_path):
    """A hundred shards of which one is there: the others are missed when they are read, by name."""
    tar(tmp_path / "part-000.tar", samples(range(10)))
    path = index(tmp_path, {f"part-{k:03d}.tar": 10 for k in range(100)}, classes=["a", "b", "c"])
    stream = fn.data.stream(path)
    assert len(stream) == 1000
    assert list(stream.classes) == ["a", "b", "c"]
    assert np.array_equal(stream.batch(stream.few(10))[0], PIXELS[:10])
    with pytest.raises(fn.FromNoiseError, match=r"part-057\.tar: no such file"):
        stream.batch([570])
    refused(tmp_path, "index.json: lists", "part-001.tar, which does not exist")


def test_a_wrong_index_is_named(shards, tmp_path):
    folder = tars(tmp_path / "shards")
    sizes = {f"part-{k:03d}.tar": int(n) for k, n in enumerate(np.diff(ENDS))}
    for wrong in (22, 24):
        index(folder, sizes | {"part-003.tar": wrong})
        refused(folder, "part-003.tar: holds 23 images", f"index.json says {wrong}", "fromnoise index", classes=3)
    index(folder, {"part-000.tar": 10})
    refused(folder, "does not list", "part-001.tar", "write it again", classes=3)
    for content, word in (("{", "not readable"), ("[]", "not an index"), ('{"shardlist": []}', "not an index"),
                          ('{"shardlist": [{"url": "a.tar"}]}', "is not a shard"),
                          ('{"shardlist": [{"url": "a.tar", "nsamples": -1}]}', "is not a shard"),
                          ('{"shardlist": [3]}', "is not a shard"),
                          ('{"shardlist": [{"url": "a.tar.gz", "nsamples": 1}]}', "shards are .tar or .parquet"),
                          ('{"shardlist": [{"url": "a.tar", "nsamples": 1}], "classes": 3}', "list of different names"),
                          ('{"shardlist": [{"url": "a.tar", "nsamples": 1}], "classes": ["a", "a"]}', "list of different names")):  # fmt: skip
        (folder / "index.json").write_text(content)
        refused(folder / "index.json", str(folder), word)


def test_labels_of_two_kinds_make_no_index(tmp_path):
    folder = tars(tmp_path / "shards", ENDS[:2])
    tar(folder / "part-009.tar", samples(range(3), label=lambda i: "cat"))
    with pytest.raises(fn.FromNoiseError, match="labels are numbers"):
        fn.data.write_index(folder)
    assert not (folder / "index.json").exists()


def test_shards_are_counted_once(tmp_path, monkeypatch):
    folder = tars(tmp_path / "shards")
    counted = []

    count = _counting._count
    monkeypatch.setattr(_counting, "_count", lambda place: (counted.append(os.path.basename(place)), count(place))[1])
    fn.data.stream(folder, classes=3)
    assert len(counted) == 5
    fn.data.stream(folder, classes=3)
    assert len(counted) == 5
    tar(folder / "part-001.tar", samples(range(10, 16)))
    tar(folder / "part-005.tar", samples(range(2)))
    assert len(fn.data.stream(folder, classes=3)) == 65
    assert counted[5:] == ["part-001.tar", "part-005.tar"]


# ---------------------------------------------------------------------------------------------------------------------
# What training sees


def steps(stream, first, last, part, batch=12, workers=0):
    feed = Feed(stream, 7, batch, part, workers=workers).from_step(first)
    found = [next(feed) for _ in range(first, last)]
    feed.close()
    return found


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["shards", "tables"])
def test_batches_are_those_of_the_order(request, kind, workers):
    """For any number of processes and loaders, from any step on."""
    stream = fn.data.stream(request.getfixturevalue(kind), classes=3 if kind == "shards" else None, lanes=6)
    order = stream.order(7, 12)
    whole = steps(stream, 1, 12, range(12), workers=workers)
    for k, (x, conditions) in enumerate(whole, 1):
        numbers = order.numbers(k, range(12))
        assert np.array_equal(x, PIXELS[numbers])
        assert conditions["label"].tolist() == [LABELS[i] for i in numbers]
    resumed = steps(stream, 7, 12, range(12), workers=workers)
    halves = [steps(stream, 1, 12, part, workers=workers) for part in (range(6), range(6, 12))]
    for k, (x, _) in enumerate(whole):
        assert torch.equal(torch.cat([half[k][0] for half in halves]), x)
        assert k < 6 or torch.equal(resumed[k - 6][0], x)


def test_a_stream_goes_to_other_processes(shards, tables):
    """Where loader processes are not forked, and with all that is open left behind."""
    import pickle

    for name in (shards, tables):
        stream = fn.data.stream(name, classes=0)
        before = stream.batch([1, 50])[0]
        there = pickle.loads(pickle.dumps(stream))
        assert torch.equal(there.batch([1, 50])[0], before)


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, time):
        return self.body(x)


def trained(stream, out, runs, **options):
    for last in runs:
        torch.manual_seed(0)
        denoiser = fn.Denoiser(Plain(), fn.schedules.Cosine(T=100), "eps")
        fn.fit(denoiser, stream, steps=last, batch_size=8, out=out, resume=out.exists(), checkpoint_every=3, progress=False,
               flip=True, **options)  # fmt: skip
    return torch.cat([p.detach().flatten() for p in denoiser.network.parameters()])


def test_a_resumed_fit_is_the_same_bit_for_bit(shards, tmp_path):
    stream = fn.data.stream(shards, classes=3, lanes=4)
    whole = trained(stream, tmp_path / "whole", [14])
    assert torch.equal(trained(stream, tmp_path / "resumed", [5, 14]), whole)
    assert torch.equal(trained(stream, tmp_path / "loaders", [5, 14], workers=2), whole)


def test_a_run_trains_on_them(tmp_path, capsys):
    """By the command, with a held-out shard and pictures in passing, and goes on."""
    folder = tars(tmp_path / "shards", (0, 20, 40, 64))
    words = ["train", "images", "--data", str(folder), "--out", str(tmp_path / "run"), "--set", *TINY, "data.stream=true",
             "data.classes=3", "data.hold_out=0.3", "data.size=16", "data.workers=0", "data.lanes=2"]  # fmt: skip
    assert main([*words, "--steps", "2"]) == 0
    said = capsys.readouterr().err
    assert "64 images of 3x16x16" in said
    assert main([*words, "--steps", "4", "--resume"]) == 0
    said = capsys.readouterr().err
    assert "resuming after step 2" in said
    assert "held-out" in said
    assert main(["info", str(tmp_path / "run")]) == 0
    tar(folder / "part-001.tar", samples(range(20, 39)))
    assert main([*words, "--steps", "6", "--resume"]) == 2
    assert "learned from 44 examples, but the data now has 43" in capsys.readouterr().err


def test_whole_shards_are_held_out(shards):
    stream = fn.data.stream(shards, classes=3)
    rest, held = stream.split(0.3, 0)
    numbers = stream.split_numbers(0.3, 0)
    for part, own in zip((rest, held), numbers, strict=True):
        assert np.array_equal(everything(part)[0], PIXELS[own])
        assert everything(part)[1] == [LABELS[i] for i in own]
        assert [part.captions[0]] == [CAPTIONS[own[0]]]
    assert sorted([*numbers[0], *numbers[1]]) == list(range(64))
    assert len(held) in np.diff(ENDS)
    assert not np.array_equal(numbers[1], stream.split_numbers(0.3, 2)[1])
    one = fn.data.stream(shards / "part-000.tar", classes=3)
    with pytest.raises(fn.FromNoiseError, match="a share of 0.5 of 1 leaves one part empty"):
        one.split(0.5, 0)


AROUND = {
    "reduced": lambda stream: reduced(stream, 2),
    "computed": lambda stream: Pairs(Computed(stream, edges), 3),
    "words": lambda stream: fn.data.Worded(stream, fn.text.Learned(vocabulary=300, length=8)),
    "words of reduced": lambda stream: fn.data.Worded(reduced(stream, 2), fn.text.Learned(vocabulary=300, length=8)),
    "embedded": lambda stream: fn.data.Embeddings(stream, torch.randn(len(stream), 4)),
}


@pytest.mark.parametrize("kind", AROUND)
def test_what_is_made_of_a_stream_is_held_out_and_ordered_as_the_stream(shards, kind, monkeypatch):
    """Whole shards, and no other is opened; each step looks into as many as the stream would."""
    stream = fn.data.stream(shards, classes=3, lanes=1)
    around, opened, read = AROUND[kind](stream), [], _opening.Shards.opened
    monkeypatch.setattr(_opening.Shards, "opened", lambda self, n: (opened.append((id(self), n)), read(self, n))[1])
    parts, plain = around.split(0.3, 0), stream.split(0.3, 0)
    assert not opened
    for part, own, numbers in zip(parts, plain, stream.split_numbers(0.3, 0), strict=True):
        assert len(part) == len(own)
        assert torch.equal(part.examples([0, len(own) - 1])[0], around.examples([numbers[0], numbers[-1]])[0])
        for step in (1, 2, 3):
            assert Feed(part, 5, 4, range(4)).indices(step) == Feed(own, 5, 4, range(4)).indices(step)
        assert list(part.few(3)) == list(own.few(3))
        assert not part.captions or list(part.captions) == [CAPTIONS[i] for i in numbers]


def test_what_a_loader_reads_of_headers_is_kept_for_the_others(shards, monkeypatch):
    first = fn.data.stream(shards, classes=3)
    before = first.batch([0, 45])[0]
    monkeypatch.setattr(_opening.Scan, "of", None)
    second = fn.data.stream(shards, classes=3)
    assert torch.equal(second.batch([0, 45])[0], before)
    assert second.captions_of([45]) == ["picture 45"]
    monkeypatch.undo()
    for path in second.shards.cache.folder.glob("*.scan"):
        path.write_bytes(path.read_bytes()[:-30])  # damaged, it is made again
    assert torch.equal(fn.data.stream(shards, classes=3).batch([0, 45])[0], before)


def test_pictures_in_passing_open_one_shard(shards, monkeypatch):
    stream = fn.data.stream(shards, classes=3)
    opened = []
    original = _opening.Shards.opened
    monkeypatch.setattr(
        _opening.Shards, "opened", lambda self, number: (opened.append(number), original(self, number))[1]
    )
    edges = load(DataConfig(name=str(shards), stream=True, classes=3, pairs="edges"))
    stream.examples(stream.few(16))
    stream.content()
    edges.examples(edges.few(16))
    assert set(opened) == {0}
    assert edges.examples([60])[1]["image"].shape == (1, 1, 8, 8)


def test_few_shards_are_open_at_a_time(tmp_path):
    """Whatever their number, and as few files."""
    for k in range(40):
        tar(tmp_path / f"{k:02d}.tar", samples([k]))
    stream = fn.data.stream(tmp_path, classes=3, lanes=2)
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        stream.batch(range(40))
    assert len(stream.shards._open) <= 6
    assert len(os.listdir("/dev/fd")) <= before + 6


def test_captions_are_encoded_when_they_are_read(shards):
    encoder = fn.text.build({"name": "learned", "length": 8, "vocabulary": 270})
    stream = fn.data.stream(shards, classes=0)
    words = fn.data.Worded(stream, encoder)
    known = fn.data.Worded(load(DataConfig(name=str(shards))), words.encoder)
    numbers = stream.order(0, 8).numbers(3, range(8))
    assert words.order(0, 8).numbers(3, range(8)) == numbers
    assert torch.equal(words.examples(numbers)[1]["text"], known.examples(numbers)[1]["text"])
    x, conditions = next(Feed(words, 0, 8, range(8), workers=1).from_step(1))
    assert len(x) == len(conditions["text"]) == 8
    assert words.captions[33] == "picture 33"


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong


def test_mixed_shards_are_named(tmp_path):
    folder = tars(tmp_path / "a", (0, 10, 20))
    tar(folder / "part-001.tar", samples(range(10, 20), label=None))
    refused(folder, "part-001.tar: none of its images has a label", "data.classes=0", classes=3)
    tar(folder / "part-001.tar", samples(range(10, 20), caption=None))
    refused(folder, "part-001.tar: its images have no captions, but those of the first shard have some", classes=3)
    tar(folder / "part-000.tar", samples(range(10), label=None))
    tar(folder / "part-001.tar", samples(range(10, 20)))
    refused(folder, "part-001.tar: its images have labels, but those of the first shard have none")
    (folder / "part-002.zip").write_bytes(b"PK")
    refused(folder, "part-002.zip: the first shard is a .tar", "name the shards with a pattern")
    tar(folder / "part-001.tar", samples(range(10, 20), label=None))
    assert len(fn.data.stream(folder / "part-*.tar")) == 20
    tables = parquets(tmp_path / "b", (0, 10, 20))
    other = parquets(tmp_path / "c", (0, 10), caption="caption")
    (tables / "part-001.parquet").write_bytes((other / "part-000.parquet").read_bytes())
    refused(tables, "part-001.parquet: has the columns image, label, caption, but the first shard has image")
    other = parquets(tmp_path / "d", (0, 10), classes=("a", "b", "z"))
    (tables / "part-001.parquet").write_bytes((other / "part-000.parquet").read_bytes())
    refused(tables, "part-001.parquet: has the label z, but the 3 classes are a, b, c")


def test_what_is_no_shard_is_refused(tmp_path, shards):
    (tmp_path / "photos").mkdir()
    refused(tmp_path / "photos", "no .tar and no .parquet shard found")
    refused("digits", "digits: data.stream reads shards")
    refused(tmp_path / "part-000.tar", "no such file")
    refused(shards / "part-{000..007}.tar", "part-005.tar: no such file (3 of 8 are missing)")
    refused("hf://owner/name", "leave data.stream out")
    refused("ftp://here/part.tar", "addresses of shards begin with https://")
    refused("http://[::1/part.tar", "http://[::1/part.tar: ")
    (tmp_path / "x.tar").write_bytes(b"no archive at all" * 100)
    refused(tmp_path / "x.tar", "x.tar: no image in 1 shards", "x.tar (")
    (tmp_path / "x.parquet").write_bytes(b"no table at all")
    refused(tmp_path / "x.parquet", "x.parquet: no parquet file")
    with pytest.raises(fn.FromNoiseError, match=r"data\.classes is for streamed shards"):
        load(DataConfig(name=str(shards), classes=3))
    for options, word in (
        ({"lanes": 0}, "lanes"),
        ({"classes": -1}, "number of classes"),
        ({"cache_gb": 0}, "cache_gb"),
    ):
        refused(shards, word, **options)


def test_sizes_that_differ_ask_for_one(tmp_path):
    tar(tmp_path / "a.tar", [("0.png", png(PIXELS[0])), ("1.png", png(PIXELS[1, :, :4]))])
    refused(tmp_path, "images have 2 different sizes; give data.size")
    assert fn.data.stream(tmp_path, size=8).batch([1])[0].shape == (1, 3, 8, 8)


def test_a_broken_image_is_named_and_the_next_one_stands_in(tmp_path):
    rows = [
        (name, content if i % 3 or not 5 <= i // 3 < 25 else b"?")
        for i, (name, content) in enumerate(samples(range(30)))
    ]
    tar(tmp_path / "a.tar", rows)
    tar(tmp_path / "b.tar", samples(range(30, 40)))
    stream = fn.data.stream(tmp_path, classes=3)
    assert "20 of 30 images of the first shard cannot be read" in stream.notes[0]
    with pytest.warns(UserWarning, match="replaces it") as said:
        x, labels = stream.batch([4, 5, 24, 39])
    assert np.array_equal(x, PIXELS[[4, 25, 25, 39]])
    assert labels.tolist() == [1, 1, 1, 0]
    assert stream.captions_of([5, 39]) == ["picture 25", "picture 39"]
    texts = [str(one.message) for one in said]
    assert "a.tar: 000005.png" in texts[0]
    assert [text for text in texts if "10 images could not be read so far" in text]
    assert len(texts) == 4  # the first three, and the tenth


def test_a_cut_shard_is_named(tmp_path):
    folder = tars(tmp_path / "shards", (0, 30, 60))
    path = folder / "part-001.tar"
    whole = path.read_bytes()
    fn.data.write_index(folder)
    path.write_bytes(whole[: len(whole) // 2])
    refused(folder, "part-001.tar: has", "bytes, but had", "when its images were counted")
    index(folder, {"part-000.tar": 30, "part-001.tar": 30}, classes=["0", "1", "2"])
    refused(folder, "part-001.tar: holds", "cut off?", "index.json says 30")
    with pytest.raises(fn.FromNoiseError, match="repair or remove the shard"):
        fn.data.write_index(folder)
    (folder / "index.json").unlink()
    stream = fn.data.stream(folder, classes=3)
    assert "skipped 1 files that cannot be read" in stream.notes[0]
    assert 30 < len(stream) < 60


def test_a_shard_that_changes_under_a_run_is_named(tmp_path):
    folder = tars(tmp_path / "shards", (0, 30, 60))
    stream = fn.data.stream(folder, classes=3)
    stream.batch([31])
    with open(folder / "part-001.tar", "r+b") as file:
        file.truncate(10_000)
    with pytest.raises(fn.FromNoiseError, match=r"part-001\.tar: has 10,000 bytes, but had [\d,]+ when it was opened"):
        stream.batch([55])
    stream = fn.data.stream(tars(folder, (0, 30, 60)), classes=3)
    with tarfile.open(folder / "part-001.tar", "a") as archive:
        archive.add(folder / "part-000.tar", "more.bin")
    with pytest.raises(fn.FromNoiseError, match="when its images were counted: shards must not change"):
        stream.batch([55])


def test_fewer_shards_than_processes_is_said(shards):
    stream = fn.data.stream(shards, classes=3)
    feed = Feed(stream, 0, 16, range(2))
    with pytest.warns(UserWarning, match="has 4 shards for 8 processes, so that several read parts of the same one"):
        next(feed.from_step(1))
    stream.lanes = 2
    with pytest.warns(UserWarning, match="2 lanes for 4 processes"):
        next(Feed(stream, 0, 16, range(4)).from_step(1))
