"""Shards for tests: small images whose pixels say which they are, and a server that fails as real ones do."""

import io
import json
import re
import tarfile
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import numpy as np
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 3, 8, 8), dtype=np.uint8)
ENDS = (0, 10, 17, 17, 40, 64)
"""Where the shards end: of several sizes, and one is empty."""


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def tar(path, entries):
    with tarfile.open(path, "w") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def samples(numbers, label=lambda i: i % 3, caption=lambda i: f"picture {i}"):
    """WebDataset's: an image, its class, its caption."""
    for i in numbers:
        yield f"{i:06d}.png", png(PIXELS[i])
        if label is not None:
            yield f"{i:06d}.cls", str(label(i)).encode()
        if caption is not None:
            yield f"{i:06d}.txt", caption(i).encode()


def tars(folder, ends=ENDS, **options):
    """part-000.tar and so on, with all 64 images."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, (first, last) in enumerate(pairwise(ends)):
        tar(folder / f"part-{k:03d}.tar", samples(range(first, last), **options))
    return folder


def parquets(folder, ends=ENDS, classes=("a", "b", "c"), caption="text", **options):
    """The same as tables, of several row groups."""
    import datasets

    folder.mkdir(parents=True, exist_ok=True)
    label = datasets.ClassLabel(names=list(classes)) if classes else datasets.Value("int64")
    features = datasets.Features({"image": datasets.Image(), "label": label, caption: datasets.Value("string")})
    for k, (first, last) in enumerate(pairwise(ends)):
        rows = {"image": [{"bytes": png(PIXELS[i]), "path": None} for i in range(first, last)],
                "label": [i % 3 for i in range(first, last)], caption: [f"picture {i}" for i in range(first, last)]}  # fmt: skip
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"part-{k:03d}.parquet", batch_size=7)
    return folder


def index(folder, sizes, name="index.json", **more):
    rows = [{"url": url, "nsamples": size} for url, size in sizes.items()]
    (folder / name).write_text(
        json.dumps({"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": rows, **more})
    )
    return folder / name


class Server(ThreadingHTTPServer):
    """Serves a folder; `plan[name]` has what the next requests for a file meet, one after the other.

    500, 404, 403: that answer. None: nothing amiss. "cut": half of the bytes, and the connection breaks. "short": fewer bytes than were asked
    for, as if they were all. "stall": half, and nothing more. "trickle": a byte now and then.
    """

    daemon_threads = True

    def __init__(self, folder, ranges=True, stall=2.0):
        self.folder, self.ranges, self.stall = folder, ranges, stall
        self.plan, self.asked = {}, []
        self.sent = 0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        pass  # clients that give up


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_HEAD(self):
        self._serve(False)

    def do_GET(self):
        self._serve(True)

    def _serve(self, body):
        server, name = self.server, self.path.lstrip("/").partition("?")[0]
        path = server.folder / name
        if body:
            server.asked.append(name)
        plan = server.plan.get(name, [])
        fault = plan.pop(0) if plan and (body or isinstance(plan[0], int)) else None
        if isinstance(fault, int) or not path.is_file():
            self.send_response(fault if isinstance(fault, int) else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        total, found = len(content), re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        partial = body and found and server.ranges
        if partial:
            content = content[int(found[1]) : int(found[2]) + 1]
        if fault == "short":
            content = content[: len(content) // 2]
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(len(content)))
        if partial:
            self.send_header("Content-Range", f"bytes {found[1]}-{int(found[1]) + len(content) - 1}/{total}")
        self.end_headers()
        if not body:
            return
        half = len(content) // 2
        if fault in ("cut", "stall", "trickle"):
            self.wfile.write(content[:half])
            self.wfile.flush()
            for byte in range(20 if fault == "trickle" else 1 if fault == "stall" else 0):
                time.sleep(server.stall / 20 if fault == "trickle" else server.stall)
                if fault == "trickle":
                    self.wfile.write(content[half + byte : half + byte + 1])
                    self.wfile.flush()
            self.close_connection = True
            return
        server.sent += len(content)
        self.wfile.write(content)


@contextmanager
def serving(folder, **options):
    server = Server(folder, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
