"""A folder of small runs, and a studio that shows it: a process of its own, as a person starts it."""

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from small_runs import TINY, folder

from fromnoise.app.cli import main


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def shelf(tmp_path_factory, pictures):
    """A folder with one run, "tiny", of two classes."""
    root = tmp_path_factory.mktemp("runs")
    words = ["train", "digits", "--data", str(pictures), "--out", str(root / "tiny"), "--steps", "4"]
    assert main([*words, "--set", "data.size=16", *TINY]) == 0
    return root


class Studio:
    """A running studio, and what a browser would send it."""

    def __init__(self, process, address):
        self.process, self.address = process, address
        parts = urlsplit(address)
        self.host, self.port = parts.hostname, parts.port

    def ask(self, method, path, body=None, headers=()):
        """(status, headers, content) of one request; the path goes out as it is."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        content = json.dumps(body).encode() if isinstance(body, dict | list) else body
        connection.putrequest(method, path, skip_host=any(k.lower() == "host" for k, _ in headers))
        for key, value in headers:
            connection.putheader(key, value)
        if content is not None:
            connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def get(self, path, **options):
        status, _, content = self.ask("GET", path, **options)
        assert status == 200, content
        return json.loads(content)

    def post(self, path, body):
        status, _, content = self.ask("POST", path, body)
        assert status == 200, content
        return json.loads(content)

    def refused(self, method, path, body=None, **options):
        """The sentence that a bad request is answered with."""
        status, _, content = self.ask(method, path, body, **options)
        assert 400 <= status < 500, (status, content)
        return json.loads(content)["error"]

    def frames(self, number):
        """Every frame of a job, once it is over."""
        from fromnoise.app.studio.frames import unpack

        content = self.ask("GET", f"/api/jobs/{number}/frames")[2]
        found, at = [], 0
        while at < len(content):
            length = int.from_bytes(content[at : at + 4], "little") + 4
            found.append(unpack(content[at : at + length]))
            at += length
        return found

    def state(self, name):
        """Of a training."""
        runs = {run["name"]: run for run in self.get("/api/state")["runs"]}
        return runs.get(name, {}).get("state")

    def until(self, true, seconds=40):
        """Wait for something to be so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := true():
                return found
            time.sleep(0.1)
        raise AssertionError("it never was")


@contextlib.contextmanager
def started(folder, *options):
    """A studio of a folder, as the command starts it, until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fromnoise", "studio", str(folder), "--port", "0", "--no-browser", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), process.stderr.read()
        yield Studio(process, address)
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def end_trainings(folder):
    """Whatever a test that failed left going there."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in place.read_bytes() and b"\0train\0" in place.read_bytes():
                os.kill(int(place.parent.name), signal.SIGKILL)


@pytest.fixture
def root(shelf, tmp_path):
    """A copy of the runs, in which a test may train."""
    place = tmp_path / "runs"
    shutil.copytree(shelf, place)
    yield place
    end_trainings(place)


@pytest.fixture(scope="session")
def starting():
    """`with starting(folder, *options) as studio:`."""
    return started


@pytest.fixture(scope="module")
def studio(shelf, tmp_path_factory):
    """Of a copy of the runs, so that a test may train beside them."""
    root = tmp_path_factory.mktemp("studio") / "runs"
    shutil.copytree(shelf, root)
    with started(root) as found:
        found.root = root
        yield found
    end_trainings(root)


@pytest.fixture
def png():
    """An image as a browser sends it."""

    def made(size=(20, 16), colour=(200, 30, 40), kind="PNG"):
        box = io.BytesIO()
        Image.new("RGB", size, colour).save(box, kind)
        return box.getvalue()

    return made
