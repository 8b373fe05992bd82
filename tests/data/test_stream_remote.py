"""Shards that lie elsewhere: fetched once, whole or not at all, over servers that fail, and kept while there is room."""

import gzip
import io
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from small_shards import ENDS, PIXELS, index, parquets, serving, tars

import fromnoise as fn
from fromnoise.data import _remote
from fromnoise.data._cache import ShardCache
from fromnoise.data.config import DataConfig
from fromnoise.data.feed import Feed
from fromnoise.data.loading import load
from fromnoise.system.disk import storage

SIZES = np.diff(ENDS).tolist()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tars(tmp_path_factory.mktemp("remote") / "shards")
    fn.data.write_index(folder)
    return folder


@pytest.fixture(autouse=True)
def impatient(monkeypatch, tmp_path):
    """As in a network whose seconds are short."""
    monkeypatch.setattr(_remote, "WAITS", (0.001,) * 4)
    monkeypatch.setattr(_remote, "PATIENCE", 10.0)
    monkeypatch.setattr(_remote, "_PIECE", 16384)
    monkeypatch.setenv("FROMNOISE_CACHE", str(tmp_path / "cache"))


def fetched(url, length=-1):
    file = io.BytesIO()
    _remote.fetch(url, file, length)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:.*still trying")
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("plan", [["cut"], ["short"], [500, 503, 429], ["cut", 500, "short", None, "cut"]], ids=str)
def test_what_breaks_off_goes_on(shards, plan, ranges):
    with serving(shards, ranges=ranges) as server:
        server.plan["part-003.tar"] = [None, *plan]
        assert fetched(f"{server.url}/part-003.tar") == (shards / "part-003.tar").read_bytes()
        assert not server.plan["part-003.tar"]


def test_what_came_before_is_not_fetched_again(shards):
    with serving(shards) as server:
        server.plan["part-004.tar"] = [None, None, None, "cut", "stall"]
        content = fetched(f"{server.url}/part-004.tar")
        assert content == (shards / "part-004.tar").read_bytes()
        assert server.sent == len(content)


@pytest.mark.parametrize("fault", ["stall", "trickle"])
def test_who_says_nothing_or_too_little_is_asked_again(shards, fault, monkeypatch):
    monkeypatch.setattr(_remote, "PATIENCE", 0.4)
    met, wait = [], _remote._wait
    monkeypatch.setattr(_remote, "_wait", lambda url, error, *rest: (met.append(error), wait(url, error, *rest)))
    with serving(shards, stall=1.0) as server:
        server.plan["part-003.tar"] = [None, fault]
        assert fetched(f"{server.url}/part-003.tar") == (shards / "part-003.tar").read_bytes()
        assert any(isinstance(error, TimeoutError) for error in met)


@pytest.mark.filterwarnings("ignore:.*still trying")
def test_what_does_not_come_is_said_in_a_line(shards):
    with serving(shards) as server:
        url = f"http://me:secret@{server.url.partition('//')[2]}/part-000.tar?signature=secret"
        for plan, words in (([404] * 4, "no such file"), ([403] * 4, "access denied (403 Forbidden)"),
                            ([500] * 99, "cannot be downloaded (500 Internal Server Error; tried 5 times)")):  # fmt: skip
            server.plan["part-000.tar"] = list(plan)
            with pytest.raises(fn.FromNoiseError) as caught:
                fetched(url)
            assert words in str(caught.value)
            assert "secret" not in str(caught.value)
            assert "\n" not in str(caught.value)
        server.plan.clear()
        with pytest.raises(fn.FromNoiseError, match=r"has 40,960 bytes, but had 5 when its examples were counted"):
            fetched(url, 5)
    with socket.socket() as free:  # bound, and nobody listens
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(fn.FromNoiseError, match=r"cannot be downloaded \(.*tried 5 times\): check the network"):
        fetched(f"{address}/part-000.tar")


def test_a_length_that_is_wrong_in_the_end_is_no_shard(shards):
    with serving(shards, ranges=False) as server:
        server.plan["part-000.tar"] = [None, *["short"] * 9]
        with (
            pytest.warns(UserWarning, match="still trying"),
            pytest.raises(fn.FromNoiseError, match="it ended after 20,480 of"),
        ):
            fetched(f"{server.url}/part-000.tar")
        server.plan["part-000.tar"] = [None, *["short"] * 9]
        with pytest.warns(UserWarning, match="trying"), pytest.raises(fn.FromNoiseError, match="it ended after"):
            fn.data.stream(server.url, lanes=2)
    assert not _kept()


def _kept():
    """The files of shards that were fetched or unpacked."""
    folder = storage.cache("shards")
    found = os.listdir(folder) if os.path.isdir(folder) else []
    return [name for name in found if not name.startswith(".") and not name.endswith(".scan")]


@pytest.mark.parametrize("name", ["", "/", "/index.json", "/part-{000..004}.tar"])
def test_shards_at_an_address_are_streamed(shards, name):
    with serving(shards) as server:
        stream = load(DataConfig(name=server.url + name))
        assert np.array_equal(stream.batch(range(64))[0], PIXELS)
        assert stream.batch(range(64))[1].tolist() == [i % 3 for i in range(64)]
        assert stream.content() == fn.data.stream(shards).content()


def test_tables_at_an_address_need_no_index(tmp_path):
    folder = parquets(tmp_path / "tables")
    with serving(folder) as server:
        stream = fn.data.stream(f"{server.url}/part-{{000..004}}.parquet")
        assert stream.sizes.tolist() == SIZES
        assert np.array_equal(stream.batch(range(64))[0], PIXELS)
        assert sorted(name.rpartition(".")[2] for name in _kept()) == ["arrow"] * 4


def test_an_index_is_needed_for_tar_and_can_be_written_from_here(shards, tmp_path):
    bare = tars(tmp_path / "bare")
    with serving(bare) as server:
        url = f"{server.url}/part-{{000..004}}.tar"
        with pytest.raises(
            fn.FromNoiseError, match=r"index\.json beside them, but there is none: write it with fromnoise index"
        ):
            fn.data.stream(url)
        with pytest.raises(fn.FromNoiseError, match="out: name the file to write"):
            fn.data.write_index(url)
        path = fn.data.write_index(url, tmp_path / "mine.json")
        rows = json.loads(path.read_text())["shardlist"]
        assert [row["nsamples"] for row in rows] == SIZES
        assert rows[0]["url"] == f"{server.url}/part-000.tar"
        assert np.array_equal(fn.data.stream(path).batch(range(64))[0], PIXELS)


def test_what_is_wrong_with_a_shard_names_its_address(tmp_path):
    """And not the file of the cache that it was fetched into."""
    folder = tars(tmp_path / "shards", ENDS[:2])
    index(folder, {"part-000.tar": 10, "part-001.tar": 10}, classes=["0", "1", "2"])
    with serving(folder) as server:
        stream = fn.data.stream(server.url)
        for content, word in (
            (gzip.compress(b"x" * 9999), "compressed as a whole"),
            (b"<html>" * 999, "holds 0 images"),
        ):
            (folder / "part-001.tar").write_bytes(content)
            with pytest.raises(fn.FromNoiseError, match=word) as caught:
                stream.batch([11])
            assert str(caught.value).startswith(f"{server.url}/part-001.tar: ")
            assert str(tmp_path) not in str(caught.value)
            for path in stream.shards.cache.folder.iterdir():
                path.unlink()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:.*still trying")
def test_training_reads_each_shard_once_whatever_fails(shards, workers):
    with serving(shards) as server:
        stream = fn.data.stream(server.url, lanes=2)
        for k in (1, 3, 4):
            server.plan[f"part-00{k}.tar"] = ["cut", None, "short"]
        feed = Feed(stream, 0, 8, range(8), workers=workers).from_step(1)
        order = stream.order(0, 8)
        for step in range(1, 20):
            assert np.array_equal(next(feed)[0], PIXELS[order.numbers(step, range(8))])
        feed.close()
        total = sum((shards / f"part-00{k}.tar").stat().st_size for k in (0, 1, 3, 4))
        whole = total + (shards / "index.json").stat().st_size
        assert server.sent == whole  # but for what was cut off, which it does not count
        assert sorted(set(server.asked)) == ["index.json", *(f"part-00{k}.tar" for k in (0, 1, 3, 4))]


def test_what_comes_next_is_fetched_meanwhile(shards):
    with serving(shards) as server:
        stream = fn.data.stream(server.url, lanes=1)
        for seed in range(100):
            order = stream.order(seed, 1)
            now, then = (set(order.lanes.shards(1, range(1), ahead)) for ahead in (0, 1))
            if then - now - {0}:
                break
        wanted = now | then
        order.ahead(1, range(1))
        until = time.monotonic() + 20
        while time.monotonic() < until and len(_kept()) < len(wanted | {0}):
            time.sleep(0.01)
        assert len(_kept()) == len(wanted | {0})
        asked = len(server.asked)
        order.ahead(2, range(1))
        for shard in wanted:
            stream.shards.ready(shard)
        assert len(server.asked) == asked


def test_processes_of_a_machine_share_what_is_fetched(shards):
    """Four that begin at once."""

    def read():
        sys.exit(not np.array_equal(fn.data.stream(server.url, lanes=2).batch(range(64))[0], PIXELS))

    with serving(shards) as server:
        running = [multiprocessing.get_context("fork").Process(target=read) for _ in range(4)]
        for one in running:
            one.start()
        for one in running:
            one.join()
        assert [one.exitcode for one in running] == [0] * 4
        total = sum((shards / f"part-00{k}.tar").stat().st_size for k in (0, 1, 3, 4))
        assert server.sent == total + 4 * (shards / "index.json").stat().st_size
    assert len(_kept()) == 4


def test_the_least_recently_used_are_let_go_of(tmp_path):
    cache = ShardCache(tmp_path / "kept", 1000)
    made = []

    def get(name, size=300):
        def make(out):
            made.append(name)
            out.write(b"x" * size)

        return cache.file(name, make, size)

    for name in "abc":
        get(name)
        os.utime(tmp_path / "kept" / name, ns=(len(made) * 10**9,) * 2)
    get("a")
    get("d")
    assert sorted(name for name in os.listdir(tmp_path / "kept") if not name.startswith(".")) == ["a", "c", "d"]
    assert made == ["a", "b", "c", "d"]
    get("b")
    assert made[-1] == "b"
    get("huge", 5000)  # alone it may be larger
    assert made[-1] == "huge"
    assert [name for name in os.listdir(tmp_path / "kept") if not name.startswith(".")] == ["huge"]
    left = tmp_path / "kept" / ".writing-0123"
    left.write_bytes(b"of a process that was killed")
    os.utime(left, (0, 0))
    get("a")
    assert not left.exists()


def test_a_cache_that_is_too_small_is_said_and_works(shards):
    with serving(shards) as server:
        stream = fn.data.stream(server.url, lanes=2, cache_gb=150e-6)
        assert "data.cache_gb=0.00015" in stream.notes[-1]
        for step in range(1, 12):
            numbers = stream.order(0, 4).numbers(step, range(4))
            assert np.array_equal(stream.batch(numbers)[0], PIXELS[numbers])
            folder = stream.shards.cache.folder
            sizes = [(folder / name).stat().st_size for name in _kept()]
            assert sum(sizes) <= 150e3 or len(sizes) == 1


def test_a_full_disk_is_a_line(shards, monkeypatch):
    def full(url, file, length=-1):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_remote, "fetch", full)
    with serving(shards) as server, pytest.raises(fn.FromNoiseError, match=r"no space left on device: .*data\.cache"):
        fn.data.stream(server.url)


def test_any_file_system_of_fsspec_is_read(shards):
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.put(f"{shards}/", "/bucket/shards/", recursive=True)
    try:
        for name in (
            "memory://bucket/shards",
            "memory://bucket/shards/part-*.tar",
            "memory://bucket/shards/index.json",
        ):
            assert np.array_equal(fn.data.stream(name).batch(range(64))[0], PIXELS)
        fs.rm("/bucket/shards/index.json")
        with pytest.raises(fn.FromNoiseError, match="there is none"):
            fn.data.stream("memory://bucket/shards")
    finally:
        fs.rm("/bucket", recursive=True)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(fn.FromNoiseError, match=r"s3://bucket/part-000.tar: s3:// needs pip install s3fs"):
        fn.data.stream("s3://bucket/part-000.tar")
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(fn.FromNoiseError, match=r'https:// needs pip install "fromnoise\[remote\]"'):
        fn.data.stream("https://here.invalid/part-000.tar")


def test_a_program_ends_while_shards_are_fetched(shards):
    """At once and with its own status: what is fetched ahead is let go of."""
    code = """
import sys
import fromnoise as fn
stream = fn.data.stream(sys.argv[1], lanes=2)
order = stream.order(0, 8)
order.ahead(1, range(8))
sys.exit(7)
"""
    with serving(shards, stall=30.0) as server:
        server.plan.update({f"part-00{k}.tar": ["stall"] * 9 for k in (1, 3, 4)})
        done = subprocess.run([sys.executable, "-c", code, server.url], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (7, "")
