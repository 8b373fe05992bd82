"""Files and folders of our own: whole or absent, through no link, in nobody's way; and those of strangers."""

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import yaml

import fromnoise as fn
from fromnoise.errors import printable
from fromnoise.system.disk import files, lines, storage
from fromnoise.system.disk.holding import held


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_in_one_step_and_keeps_its_permissions(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, [1])
    path.chmod(0o640)
    with files.replacing(path) as file:
        file.write(b"half")
        assert path.read_text() == "[\n 1\n]\n"  # until the end of the block
    assert path.read_bytes() == b"half"
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, number, where):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"a\.txt") as error:  # noqa: PT012
        if where == "fsync":
            patch.setattr(os, "fsync", full)
        if where == "replace":
            patch.setattr(type(path), "replace", full)
        with files.replacing(path) as file:
            file.write(b"new")
            if where == "write":
                full()
    assert error.value.errno == number
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def odd_things(folder):
    """One of each kind of thing that is no file."""
    (folder / "kept.txt").write_text("kept")
    (folder / "link").symlink_to(folder / "kept.txt")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(folder / "socket"))
    bound.close()
    return ["link", "dangling", "folder", "pipe", "socket"]


def test_nothing_is_written_in_the_place_of_what_is_no_file(tmp_path):
    there = odd_things(tmp_path)
    before = names(tmp_path)
    for name in there:
        with pytest.raises(fn.FromNoiseError, match=rf"{name}: is a (link|folder|pipe|socket)"):
            files.write_text(tmp_path / name, "x")
        with pytest.raises(fn.FromNoiseError, match=name):
            files.insist_on_writable(tmp_path / name, "--out")
        with pytest.raises(fn.FromNoiseError, match=name):
            lines.appending(tmp_path / name)
    assert names(tmp_path) == before
    assert (tmp_path / "kept.txt").read_text() == "kept"


def test_nothing_but_files_is_read_and_nothing_is_waited_for(tmp_path):
    for name in odd_things(tmp_path):
        if name != "link":
            with pytest.raises(files.Unreadable, match=name):
                files.read_bytes(tmp_path / name)
    with pytest.raises(files.Unreadable, match="a device"):
        files.read_bytes("/dev/zero")
    assert files.read_text(tmp_path / "link") == "kept"  # reading through a link harms nobody
    with pytest.raises(files.Unreadable, match="larger than the 3 bytes"):
        files.read_bytes(tmp_path / "kept.txt", limit=3)


def test_a_temporary_name_that_somebody_took_is_not_written_to(tmp_path, monkeypatch):
    """It cannot be guessed; and if it were, neither a link nor a second name of a file would be followed."""
    precious, planted = tmp_path / "precious", tmp_path / ".writing-guessed"
    precious.write_text("mine")
    monkeypatch.setattr(files, "temporary", lambda parent: planted)
    for plant in (lambda: planted.symlink_to(precious), lambda: os.link(precious, planted)):
        plant()
        with pytest.raises(OSError, match=r"a\.txt"):
            files.write_text(tmp_path / "a.txt", "x")
        assert precious.read_text() == "mine"
        assert not (tmp_path / "a.txt").exists()
        planted.unlink()  # which is not ours to remove


def test_lines_are_added_to_a_file_of_our_own(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine\n")
    os.link(precious, tmp_path / "log")
    with lines.appending(tmp_path / "log", [b"first\n"]) as file:
        file.write(b"second\n")
    assert (tmp_path / "log").read_text() == "first\nsecond\n"
    assert precious.read_text() == "mine\n"


def test_a_run_has_no_linked_folders(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "samples").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(fn.FromNoiseError, match="samples: is a link"):
        files.own_folder(tmp_path / "samples")
    assert files.own_folder(tmp_path / "a" / "b").is_dir()
    files.remove(tmp_path / "samples")
    assert names(tmp_path) == ["a", "elsewhere"]


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, "{", '{"a": 1e}', "\ud800", ""])
def test_odd_json_is_one_line(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(files.Unreadable, match=r"a\.json") as error:
        files.read_json(tmp_path / "a.json")
    assert len(str(error.value)) < 400


BOMB = "a: &a [1, 1]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, r"alias \*a"),
        ("a: &a [*a]", "alias"),
        ("a: " + "[" * 2000, "nested too deeply"),
        ("a: " + "9" * 5000, "digits"),
        ("a: [", "not readable"),
        ("a: !!python/object/apply:os.system [true]", "not readable"),
        ("a: 2001-99-99", "not readable"),
        ("? {a: 1}\n: 2", "not readable"),
    ],
)
def test_odd_yaml_is_one_line(text, said):
    with pytest.raises(files.Unreadable, match=said) as error:
        files.parse_yaml(text, "x.yaml")
    assert "x.yaml" in str(error.value)


def test_plain_yaml_is_what_it_is():
    value = {"a": [1, 2.5, None, True], "b": {"c": "text"}}
    assert files.parse_yaml(yaml.safe_dump(value), "x") == value


def test_a_path_of_nobody():
    with pytest.raises(fn.FromNoiseError, match="no such user"):
        files.expanded("~nobodyhasthisname/x")


def test_what_would_steer_a_terminal_is_spelled_out():
    assert printable("\x1b[31mred\x07 \u202eevil") == r"\x1b[31mred\x07 \u202eevil"
    assert printable("plain, größe 寸") == "plain, größe 寸"
    assert len(printable("x" * 10**6)) < 1100


# Folders


@pytest.mark.parametrize(
    "manifest",
    [
        "{}",
        "[]",
        '{"w.safetensors": {}}',
        '{"w.safetensors": {"bytes": Infinity, "sha256": ""}}',
        '{"w.safetensors": {"bytes": 1e400, "sha256": ""}}',
        '{"../w.safetensors": {"bytes": 1, "sha256": ""}}',
        '{"w.safetensors": {"bytes": NaN, "sha256": ""}}',
        "[" * 100_000,
    ],
)
def test_a_manifest_that_says_nothing_is_damage(tmp_path, manifest):
    storage.write_folder(tmp_path / "x", {"w": {"w": torch.ones(2)}}, {})
    storage.verify_folder(tmp_path / "x")
    (tmp_path / "x" / storage.MANIFEST).write_text(manifest)
    with pytest.raises(storage.Damaged, match="no readable manifest"):
        storage.verify_folder(tmp_path / "x")
    with pytest.raises(storage.Damaged):
        storage.read_tensors(tmp_path / "x", "w")


def test_a_file_that_was_put_there_later_is_not_read(tmp_path):
    storage.write_folder(tmp_path / "x", {"model": {"w": torch.ones(2)}}, {"state": {"step": 1}})
    storage.write_folder(tmp_path / "y", {"ema": {"w": torch.zeros(2)}}, {})
    os.link(tmp_path / "y" / "ema.safetensors", tmp_path / "x" / "ema.safetensors")
    assert not storage.holds(tmp_path / "x", "ema")
    with pytest.raises(storage.Damaged, match="is missing"):
        storage.read_tensors(tmp_path / "x", "ema")


def test_many_may_write_one_folder_at_once(tmp_path):
    failed = []

    def write():
        try:
            for _ in range(30):
                storage.write_folder(tmp_path / "x", {"w": {"w": torch.ones(2)}}, {"a": 1})
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    storage.verify_folder(tmp_path / "x")
    assert names(tmp_path) == ["x"]


def test_what_is_damaged_is_made_again_and_said(tmp_path, capsys):
    made = []

    def make():
        made.append(1)
        storage.write_folder(tmp_path / "cache" / "x", {}, {"a": [1, 2]})

    for _ in range(2):
        storage.once(tmp_path / "cache" / "x", make)
    assert (len(made), capsys.readouterr().err) == (1, "")
    (tmp_path / "cache" / "x" / "a.json").write_text("[1, 3]")
    storage.once(tmp_path / "cache" / "x", make)
    assert len(made) == 2
    said = capsys.readouterr().err
    assert "a.json" in said
    assert "made again" in said
    assert storage.read_text(tmp_path / "cache" / "x", "a") == [1, 2]


# One process at a time

OTHER = """
import sys, time, fromnoise as fn
from pathlib import Path
from fromnoise.system.disk.holding import held
with held(Path(sys.argv[1]), "trained"):
    print("in", flush=True)
    time.sleep(60)
"""


def test_the_second_is_told_who_holds_a_folder_and_the_dead_hold_nothing(tmp_path):
    with subprocess.Popen([sys.executable, "-c", OTHER, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        who = rf"is being trained by process {other.pid} on {socket.gethostname()} since 20"
        with pytest.raises(fn.FromNoiseError, match=who), held(tmp_path, "trained"):
            pytest.fail("held twice")
        other.kill()
    with held(tmp_path, "trained"), held(tmp_path, "trained"):  # again in the same thread
        assert files.read_json(tmp_path / ".holder.json")["pid"] == os.getpid()
        seen = []

        def elsewhere():
            try:
                with held(tmp_path, "trained"):
                    seen.append("in")
            except fn.FromNoiseError as error:
                seen.append(str(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert f"process {os.getpid()}" in seen[0]
    assert not (tmp_path / ".holder.json").exists()
    with pytest.raises(KeyError), held(tmp_path, "trained"):
        raise KeyError
    assert not (tmp_path / ".holder.json").exists()


def test_no_folder_takes_the_place_of_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "part")
    with pytest.raises(fn.FromNoiseError, match="part: is a pipe, and a folder is to be written there: remove it"):
        storage.write_folder(tmp_path / "part", {}, {"value": 1})
    assert stat.S_ISFIFO((tmp_path / "part").lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["part"]
    (tmp_path / "file").write_text("of ours")  # a file or a link is replaced, the link alone
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("link", "file"):
        storage.write_folder(tmp_path / name, {}, {"value": 1})
        assert storage.read_text(tmp_path / name, "value") == 1


def test_every_byte_of_a_folder_of_ours_counts(tmp_path):
    storage.write_folder(tmp_path / "x", {"model": {"w": torch.arange(4.0)}}, {"value": {"a": 1}})
    for name in ("model.safetensors", "value.json"):
        path = tmp_path / "x" / name
        whole = path.read_bytes()
        for at in range(0, len(whole), 7):  # as many bytes, one of them another
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(storage.Damaged, match=f"{name} was changed after it was written"):
                storage.verify_folder(tmp_path / "x")
        path.write_bytes(whole[:-1])
        with pytest.raises(storage.Damaged, match="bytes, not"):
            storage.verify_folder(tmp_path / "x")
        path.write_bytes(whole)
        storage.verify_folder(tmp_path / "x")


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    storage.write_folder(tmp_path / "x", {}, {"value": 1})
    rename = Path.rename

    def refuse(path, target):
        if path.name.startswith(".writing"):
            raise OSError(errno.EIO, "input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="input/output error"):
        storage.write_folder(tmp_path / "x", {}, {"value": 2})
    assert storage.read_text(tmp_path / "x", "value") == 1
    assert names(tmp_path) == ["x"]
