"""A studio on folders that strangers made, asked by strangers, on a system that fails."""

import asyncio
import contextlib
import errno
import http.client
import json
import math
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock, Timeout

from fromnoise.app.studio import works
from fromnoise.app.studio.curves import MOST, Curves
from fromnoise.app.studio.house import House
from fromnoise.app.studio.trainings import Record
from fromnoise.app.studio.uploads import Uploads
from fromnoise.app.studio.web import application
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

TINY = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]", "train.batch_size=8",
        "train.sample_every=0", "train.optimizer=adamw", "data.size=16"]  # fmt: skip


def asgi(app, method, path, body=b"", headers=()):
    """(status, headers, content) of one request, without a server."""
    sent, parts = [], [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    path, _, query = path.partition("?")
    given = [(k.lower().encode(), v.encode()) for k, v in (("host", "localhost"), *headers)]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
             "headers": given, "scheme": "http", "server": ("localhost", 1), "http_version": "1.1", "root_path": ""}  # fmt: skip
    with contextlib.suppress(OSError):  # which the server writes to the terminal, after the answer
        asyncio.run(app(scope, receive, send))
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), content


def test_what_is_no_request_is_refused_in_a_sentence(studio):
    nine = "9" * 5000
    for method, path, body, headers in (
        ("GET", "/api/state", None, [("Host", "[")]),
        ("GET", "/api/state", None, [("Host", "[::1")]),
        ("POST", "/api/jobs/draw", {"run": "tiny"}, [("Origin", "http://[")]),
        ("GET", f"/api/jobs/{nine}/frames", None, ()),
        ("DELETE", f"/api/jobs/{nine}", None, ()),
        ("GET", f"/api/jobs/1/frames?from={nine}", None, ()),
        ("GET", f"/api/runs/tiny/log?after={nine}", None, ()),
        ("POST", "/api/jobs/draw", b'{"run": "tiny", "label": "\\ud800"}', ()),
        ("POST", "/api/train", b'{"recipe": "digits", "name": "a", "settings": ["a=\\u0000"]}', ()),
        ("POST", "/api/train", b'{"recipe": "digits", "name": "a", "settings": ["a=\\n"]}', ()),
        ("POST", "/api/jobs/draw", b'{"run": "tiny", "options": ' + b'{"a":' * 300 + b"1" + b"}" * 301, ()),
    ):
        said = studio.refused(method, path, body, headers=headers)
        assert "bug" not in said, (path[:40], said)
    number = studio.post("/api/jobs/draw", {"run": "tiny", "n": 1})["number"]
    assert studio.frames(number)[-1][0]["state"] == "done"
    assert "must be all" in studio.refused("GET", f"/api/jobs/{number}/result.png?image={nine}")
    assert studio.get("/api/state")["queue"]


def test_strange_files_are_shown_as_far_as_they_can_be(root, tmp_path):
    run, house = root / "tiny", House(root)
    app = application(house, "127.0.0.1", None)
    os.mkdir(os.fsencode(root) + b"/\xff\xfe")
    with contextlib.suppress(OSError):
        (Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe")) / "config.yaml").write_text("x")
    for pid in ("1e999", str(10**30), "-1", "0", '"x"', "null", "[]"):
        (run / ".holder.json").write_text(f'{{"pid": {pid}, "host": "{socket.gethostname()}"}}')
        house._next_look = 0
        status, _, content = asgi(app, "GET", "/api/state")
        assert (status, [r["name"] for r in json.loads(content)["runs"]]) == (200, ["tiny"]), pid
        assert json.loads(content)["runs"][0]["state"] == ""
    with (run / "metrics.jsonl").open("a") as log:
        log.write(f'{{"step": {10**301}, "loss": 1}}\n{{"step": -1}}\n[]\n' + "[" * 9000 + "\n")
        log.write('{"step": 5, "loss": NaN, "x\\ud800": 2, "big": 1e299}\n')
    log = json.loads(asgi(app, "GET", "/api/runs/tiny/log")[2])
    assert log["columns"]["step"] == [1, 2, 3, 4, 5]
    assert log["columns"]["loss"][4] is None
    for text in (
        '{"fid": NaN, "a": Infinity}',
        "[" * 900 + "]" * 900,
        '{"a":' * 5000 + "1" + "}" * 5000,
        '{"x": "\\ud800"}',
    ):
        (run / "eval.json").write_text(text)
        assert asgi(app, "GET", "/api/runs/tiny/about")[0] == 200
    (tmp_path / "secret").write_text("root:x: SECRET: [")
    (run / "config.yaml").unlink()
    (run / "config.yaml").symlink_to(tmp_path / "secret")
    content = asgi(app, "GET", "/api/runs/tiny/about")[2]
    assert b"SECRET" not in content
    assert b"leads out of the run" in content


def test_a_planted_list_of_trainings_is_not_obeyed(root, tmp_path):
    """A stranger's folder: no command of theirs runs, and no process of ours is signalled."""
    state = root / ".studio"
    state.mkdir(exist_ok=True)
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    words = ["-c", "import time; time.sleep(60)", "fromnoise", "train", "--track", "studio", "--out", str(tmp_path)]
    victim = subprocess.Popen([sys.executable, *words])
    record = asdict(Record("tiny", state="going", process=victim.pid))
    planted = [
        record,
        {"name": "old", "arguments": [str(evil)], "state": "paused", "process": 0, "asked": 1.0},
        *(record | {"name": name} for name in ("../up", "/etc", "a/../../b", "", ".hidden", "x\0y", "a/b/c/d")),
        *(record | {"name": f"p{i}", "process": p} for i, p in enumerate((-1, 0, 1, 10**30, True, os.getpid()))),
        record | {"name": "evil", "state": "paused", "process": 0, "asked": {"recipe": str(evil)}},
        record | {"name": "out", "state": "paused", "process": 0, "asked": {"recipe": "digits", "folder": "/etc"}},
        record | {"name": "more", "state": "paused", "more": {"steps": "x"}}, 3, "x", None, [],
    ]  # fmt: skip
    try:
        for text in (json.dumps(planted), *(json.dumps([one]) for one in planted), "3", "{", "{}", "[[[]]]"):
            (state / "trainings.json").write_text(text)
            house = House(root)
            names = house.trainings.names()
            assert not {"../up", "/etc", "a/../../b", "", ".hidden", "x\0y"} & set(names)
            house.tick()
            house.state()
            for name in names:
                with pytest.raises(FromNoiseError, match="not being trained"):
                    house.trainings.pause(name)
            for name in {"evil", "out"} & set(names):
                house.trainings.resume(name)
                assert house.trainings.state(name) == "failed"
                assert house.trainings.words(name)[-1].startswith("fromnoise: ")
        assert victim.poll() is None
        assert not (tmp_path / "ran").exists()
    finally:
        victim.kill()
        victim.wait()


def test_links_in_what_the_studio_keeps_lead_nowhere(root, tmp_path, png):
    state, outside = root / ".studio", tmp_path / "outside"
    (outside / "photos").mkdir(parents=True)
    (outside / "secret").write_text("SECRET\n")
    state.mkdir(exist_ok=True)
    (state / "tiny.log").symlink_to(outside / "secret")
    (state / "trainings.json").write_text(json.dumps([asdict(Record("tiny", state="paused"))]))
    (state / "data").symlink_to(outside)
    (state / "images").symlink_to(outside)
    house = House(root)
    assert house.trainings.words("tiny") == []
    assert house.uploads.set_names() == []
    with pytest.raises(FromNoiseError, match="upload it again"):
        house.uploads.set_folder("photos")
    for refused in (lambda: house.uploads.begin_set("mine"), lambda: house.uploads.add(png())):
        with pytest.raises(FromNoiseError, match="is a link"):
            refused()
    house.trainings.resume("tiny")  # its log is a link, and so it cannot start; the next one can
    assert house.trainings.state("tiny") == "failed"
    assert sorted(p.name for p in outside.iterdir()) == ["photos", "secret"]
    assert (outside / "secret").read_text() == "SECRET\n"


def test_what_never_began_can_still_begin(root, pictures):
    """It waited when its studio ended."""
    house = House(root, (pictures,))
    asked = {"recipe": "digits", "name": "later", "folder": pictures.name, "steps": 2, "settings": TINY}
    house.trainings._write(Record("later", asked))
    house = House(root, (pictures,))
    assert house.trainings.state("later") == "paused"
    house.trainings.resume("later")
    end = time.monotonic() + 30
    while house.trainings.state("later") != "ended" and time.monotonic() < end:
        time.sleep(0.1)
        house.tick()
    assert house.trainings.state("later") == "ended"
    assert "trained 2 steps" in " ".join(house.trainings.words("later"))
    shutil.rmtree(root / "later")
    house._next_look = 0
    assert "later" not in {run["name"] for run in house.state()["runs"]}


def test_a_training_that_the_system_ended_has_failed(root, pictures):
    house = House(root, (pictures,))
    asked = {"recipe": "digits", "name": "own", "folder": pictures.name, "steps": 10**6, "settings": TINY}
    house.train(asked)
    os.kill(house.trainings._records["own"].process, signal.SIGKILL)
    house.trainings._children["own"].wait()
    assert house.trainings.state("own") == "failed"
    house.tick()
    assert "signal 9" in house.trainings.words("own")[-1]
    assert House(root).trainings.state("own") == "failed"


def test_one_run_is_resumed_where_it_is(shelf, tmp_path):
    shutil.copytree(shelf / "tiny", tmp_path / "tiny")
    house = House(tmp_path / "tiny")
    words = house.trainings._arguments(Record("tiny", more={"steps": 9.0}))
    assert words == ["digits", "--out", str(tmp_path / "tiny"), "--steps", "9", "--resume"]


def test_a_job_that_waits_for_a_training_can_be_cancelled_and_outlives_the_worker(root, starting):
    with starting(root) as studio:
        lock = FileLock(root / ".studio" / "turn.lock")
        with lock:
            first = studio.post("/api/jobs/draw", {"run": "tiny", "n": 1})["number"]
            studio.ask("DELETE", f"/api/jobs/{first}")
            assert studio.frames(first)[-1][0]["state"] == "cancelled"
            second = studio.post("/api/jobs/draw", {"run": "tiny", "n": 1})["number"]
            studio.until(lambda: studio.get("/api/state")["hardware"])
            for child in children(studio.process.pid):
                os.kill(child, signal.SIGKILL)
            studio.until(lambda: not studio.get("/api/state")["hardware"])
        assert studio.frames(second)[-1][0]["state"] == "done"
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=3)
        assert lock.is_locked, "trainings would wait for ever"
        lock.release()


def children(process):
    """Workers of a studio."""
    found = [c for t in Path(f"/proc/{process}/task").iterdir() for c in (t / "children").read_text().split()]
    return [int(c) for c in found if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def test_an_end_with_open_streams_is_quiet_and_leaves_no_process(root, starting):
    with starting(root) as studio:
        number = studio.post("/api/jobs/draw", {"run": "tiny", "n": 16, "sampler": "ancestral", "steps": 900})["number"]
        streams = [http.client.HTTPConnection(studio.host, studio.port) for _ in range(3)]
        for stream in streams:
            stream.request("GET", f"/api/jobs/{number}/frames")
        studio.until(lambda: studio.get("/api/state")["queue"][0]["state"] == "running")
        other = subprocess.run([sys.executable, "-m", "fromnoise", "studio", str(root), "--port", "0"],
                               capture_output=True, text=True, timeout=60)  # fmt: skip
        assert "is being used by process" in other.stderr
        assert other.returncode == 2
        workers = children(studio.process.pid)
        studio.process.send_signal(signal.SIGINT)
        studio.process.send_signal(signal.SIGINT)
        assert studio.process.wait(10) == 0
        assert "Traceback" not in studio.process.stderr.read()
        studio.until(lambda: not any(os.path.exists(f"/proc/{w}") for w in workers), 5)


def test_images_of_one_name_that_come_at_once_are_all_kept(tmp_path, png):
    uploads = Uploads(tmp_path, {"photos"})
    assert uploads.begin_set("photos").name == "photos-2"  # the other is one that the studio was started with
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: uploads.begin_set("one").name, range(16)))
        list(pool.map(lambda _: uploads.add_to_set("one", "cats/a.png", png()), range(40)))
        keys = list(pool.map(lambda _: uploads.add(png())["key"], range(40)))
    assert len(set(names)) == 16
    assert len(list((tmp_path / ".studio" / "data" / "one" / "cats").iterdir())) == 40
    assert all(uploads.path(key).is_file() for key in keys)
    Uploads(tmp_path)
    assert not any(uploads.path(key).is_file() for key in keys)  # nobody knows the keys of a studio that ended


def test_a_full_disk_is_said_and_is_no_bug(root, png, monkeypatch):
    app = application(House(root), "127.0.0.1", None)

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(files, "write_bytes", full)
    status, _, content = asgi(app, "POST", "/api/images", png())
    assert status == 507
    assert b"no space left" in content
    assert b"bug" not in content


def test_the_token_among_the_cookies_of_others(root):
    app = application(House(root), "0.0.0.0", "open-sesame-4711")
    for cookie in ('a={"x": [1, 2]}; {0}', "odd name=1; {0}", "=; {0}; b", "\xe9=\xe9; {0}"):
        given = cookie.replace("{0}", "fromnoise-studio=open-sesame-4711")
        assert asgi(app, "GET", "/api/state", headers=[("cookie", given)])[0] == 200, cookie
    assert asgi(app, "GET", "/api/state", headers=[("cookie", "fromnoise-studio=\xe9")])[0] == 401
    _, headers, _ = asgi(app, "GET", "//evil.example/x?token=open-sesame-4711")
    assert headers[b"location"] == b"/evil.example/x"
    named = application(House(root), "My-Host", None)
    assert asgi(named, "GET", "/api/state")[0] == 200
    _, _, content = asgi(named, "GET", "/api/state", headers=[("host", "evil")])
    assert b"runs" in content  # the first of two, as the server refuses requests with both


def test_names_that_make_trouble(root):
    house = House(root)
    for name in ("-x", "--resume", "con", "NUL.txt", "a.", "a b", "a/b", "a\\b", "..", "_x", "\u202eabc"):
        with pytest.raises(FromNoiseError, match="^name: "):
            house.shelf.new(name)
    assert house.shelf.new("Gro\u00dfe-\u6a21\u578b.2").name == "Gro\u00dfe-\u6a21\u578b.2"
    for name in ("teacher", "samples", "studio"):  # parts of a run only where they lie in one
        shutil.copytree(root / "tiny", root / name)
    shutil.copytree(root / "tiny", root / "tiny" / "teacher")
    assert [one.name for one in house.shelf.all()] == ["samples", "studio", "teacher", "tiny"]
    twins = House(root, (root / "tiny" / "samples", root / "samples"))
    assert list(twins.data) == ["samples", "samples-2"]


def test_a_long_log_is_thinned_and_read_on(tmp_path):
    n = 50_000
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {i}, "loss": {i / n}, "rare": {i}}}\n' if i % 2 else f'{{"step": {i}}}\n'
                            for i in range(1, n + 1)))  # fmt: skip
    curves = Curves(tmp_path)
    assert curves.newest() == {"step": n}
    found = curves.after(0)
    assert (found["lines"], found["last"]) == (n, n)
    assert all(len(column) == MOST for column in found["columns"].values())
    assert found["columns"]["step"][:2] == [13, 38]
    assert math.isclose(np.mean(found["columns"]["loss"]), 0.5, rel_tol=1e-3)
    with path.open("a") as log:
        log.write(f'{{"step": {n + 1}, "new": 1.5}}\n{{"step": {n + 2}, "lo')
    assert curves.after(n)["columns"] == {"step": [n + 1], "new": [1.5]}
    path.write_text('{"step": 1, "loss": 2}\n')
    assert curves.after(n) == {"from": 0, "last": 1, "lines": 1, "columns": {"loss": [2], "step": [1]}}


def test_a_run_that_was_trained_again_is_opened_again(root):
    from fromnoise.app.studio.bench import Bench

    bench = Bench()
    before = bench.model(root / "tiny")
    assert bench.model(root / "tiny") is before
    shutil.copytree(root / "tiny", root / "copy")
    shutil.rmtree(root / "tiny")
    shutil.copytree(root / "copy", root / "tiny", copy_function=shutil.copyfile)
    for entry in (root / "tiny" / "checkpoints").iterdir():
        os.utime(entry)
    assert bench.model(root / "tiny") is not before


def test_a_long_walk_is_shown_in_parts(root, monkeypatch):
    from fromnoise.app.studio.bench import Bench
    from fromnoise.app.studio.works import watching

    monkeypatch.setattr(watching, "BUDGET", 4 * 3 * 16 * 16 * 4 * 3)
    found = []
    work = works.made("draw", {"run": "tiny", "n": 4, "sampler": "ancestral", "steps": 10})
    work.compute(Bench(), {"run": root / "tiny"}, lambda header, arrays=None: found.append((header, arrays or {})))
    steps = [header["index"] for header, _ in found if header["kind"] == "step"]
    assert (found[0][0]["every"], found[0][0]["total"], steps) == (4, 3, [0, 4, 8])
    assert len(found) == 12  # at the others it can be stopped, too
    assert sum(array.nbytes for _, arrays in found[1:-1] for array in arrays.values()) <= watching.BUDGET + 1000


def test_commands_of_texts_that_look_like_options():
    from fromnoise.app.studio import again

    asked = works.made("draw", {"run": "x", "n": 1, "text": "--n 5\n a 'cat'", "negative": "--sad", "label": "-1",
                                "guidance": -1.5, "interval": [0.1234567891, 2]})  # fmt: skip
    words = shlex.split(again.command(asked, Path.cwd() / "-run"))
    assert words[2] == "./-run"
    assert {"--negative=--sad", "--class=-1", " --n 5", "a 'cat'", "0.1234567891"} <= set(words)
    assert asked.asked().texts == (" --n 5", "a 'cat'")
