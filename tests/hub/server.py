"""A hub on this machine: repositories of files, by the protocol that huggingface_hub speaks over HTTP.

Large files (safetensors, parquet, pickles) are LFS's: a redirect leads to them, and their ETag is their SHA-256.
"""

import base64
import hashlib
import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".parquet", ".pt")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def git_oid(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """Repositories and what to do wrong.

    Attributes:
        log: every request, "METHOD /path".
        wrong: (pattern of the request, what to do), the first that fits: a status with headers, "cut", "hang", "short".
        tokens: those that may write; reading needs one only where a repository is private.
        batched: whether safetensors are sent by LFS, as the real hub asks for, or inside of the commit.
    """

    def __init__(self):
        self.repos, self.private, self.log, self.wrong, self.commits = {}, set(), [], [], []
        self.tokens, self.batched, self.blobs, self.seen_tokens = {"hf_write"}, True, {}, set()

    def add(self, repo, folder, kind="model", revision="main"):
        """A commit of a folder's files, or of {path: bytes}; returns its hash."""
        files = folder if isinstance(folder, dict) else {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()
        }  # fmt: skip
        commit = hashlib.sha1(repr([(p, git_oid(c)) for p, c in files.items()]).encode()).hexdigest()
        revisions = self.repos.setdefault((kind, repo), {})
        revisions[commit] = revisions[revision] = (commit, files)
        self.blobs |= {sha256(content): content for content in files.values()}
        return commit

    @contextmanager
    def served(self):
        """The hub in a thread; gives its address."""
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.store = self.url.replace("127.0.0.1", "localhost")  # another host, as that of large files is
        try:
            yield self.url
        finally:
            server.shutdown()
            server.server_close()

    def asked(self, word):
        return [line for line in self.log if word in line]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args):
        pass

    def do_GET(self):
        self._do()

    do_HEAD = do_POST = do_PUT = do_GET

    def _do(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.place, query = unquote(urlsplit(self.path).path), urlsplit(self.path).query
        self.hub.log.append(f"{self.command} {self.place}")
        assert "/cdn/" not in self.path or "Authorization" not in self.headers  # no token for others
        said = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.hub.seen_tokens.add(said)
        self.may_write = said in self.hub.tokens
        self.cut = False
        for pattern, what in self.hub.wrong:
            if re.search(pattern, f"{self.command} {self.place}"):
                if isinstance(what, tuple):
                    return self._send(what[0], b"as asked for", dict(what[1]))
                if what == "hang":
                    time.sleep(3)
                    self.close_connection = True
                    return None
                if what == "cut" and self.command == "HEAD":
                    break
                self.cut = what
                break
        for method, pattern, action in _ROUTES:
            found = re.fullmatch(pattern, self.place)
            if found and self.command in method.split("|"):
                return action(self, *found.groups())
        return self._send(404, f"no route for {self.command} {self.place}?{query}".encode(), {})

    def _send(self, status, content=b"", headers=None):
        if isinstance(content, (dict, list)):
            content, headers = json.dumps(content).encode(), {"Content-Type": "application/json"} | (headers or {})
        start, whole = 0, len(content)
        if status == 200 and (wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")):
            start, end = int(wanted[1]), int(wanted[2] or whole - 1)
            content, status = content[start : end + 1], 206
            headers = (headers or {}) | {"Content-Range": f"bytes {start}-{start + len(content) - 1}/{whole}"}
        self.send_response(status)
        sent = content[: len(content) // 2] if self.cut == "short" else content
        for name, value in ({"Content-Length": len(sent)} | (headers or {})).items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            if self.cut == "cut":
                self.wfile.write(sent[: len(sent) // 2])
                self.wfile.flush()
                self.close_connection = True
            else:
                self.wfile.write(sent)

    def _found(self, kind, repo, revision=None):
        """(commit, files); None once the error is sent."""
        revisions = self.hub.repos.get((kind, repo))
        if revisions is None or (repo in self.hub.private and not self.may_write):
            self._send(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        if (revision or "main") not in revisions:
            self._send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
            return None
        return revisions[revision or "main"]

    def info(self, kinds, repo, revision=None):
        if found := self._found(kinds[:-1], repo, revision):
            siblings = [{"rfilename": name} for name in found[1]]
            self._send(200, {"_id": "1", "id": repo, "sha": found[0], "siblings": siblings, "private": repo in self.hub.private, "gated": False,
                             "disabled": False, "downloads": 0, "likes": 0, "tags": [], "author": repo.split("/")[0],
                             "lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z"})  # fmt: skip

    def _entry(self, name, content):
        entry = {"type": "file", "path": name, "size": len(content), "oid": git_oid(content)}
        if name.endswith(LARGE):
            entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
        return entry

    def tree(self, kinds, repo, revision, under=None):
        if found := self._found(kinds[:-1], repo, revision):
            deep = "recursive=true" in self.path.lower()
            before = f"{under}/" if under else ""
            entries, folders = [], set()
            for name, content in found[1].items():
                if not name.startswith(before):
                    continue
                parts = name.removeprefix(before).split("/")
                if deep or len(parts) == 1:
                    entries.append(self._entry(name, content))
                for depth in range(1, len(parts) if deep else min(2, len(parts))):
                    folders.add(before + "/".join(parts[:depth]))
            entries += [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in sorted(folders)]
            if under and not entries:
                return self._send(404, {"error": "no such entry"}, {"X-Error-Code": "EntryNotFound"})
            self._send(200, entries)
        return None

    def paths(self, kinds, repo, revision):
        if found := self._found(kinds[:-1], repo, revision):
            wanted = json.loads(self.body)["paths"]
            entries = [self._entry(name, found[1][name]) for name in wanted if name in found[1]]
            entries += [{"type": "directory", "path": one, "size": 0, "oid": "0" * 40} for one in wanted
                        if any(name.startswith(f"{one}/") for name in found[1])]  # fmt: skip
            self._send(200, entries)

    def resolve(self, kinds, repo, revision, name):
        found = self._found((kinds or "models/")[:-2], repo, revision)
        if not found:
            return None
        commit, files = found
        headers = {"X-Repo-Commit": commit}
        if name not in files:
            return self._send(404, {"error": "Entry not found"}, headers | {"X-Error-Code": "EntryNotFound"})
        content = files[name]
        if not name.endswith(LARGE):
            return self._send(200, content, headers | {"ETag": f'"{git_oid(content)}"'})
        digest = sha256(content)
        headers |= {
            "X-Linked-Size": len(content),
            "X-Linked-Etag": f'"{digest}"',
            "Location": f"{self.hub.store}/cdn/{digest}",
        }
        return self._send(302, b"", headers)

    def cdn(self, digest):
        self._send(200, self.hub.blobs[digest], {"ETag": f'"{digest}"'})

    def whoami(self):
        self._send(200, {"name": "owner", "type": "user"}) if self.may_write else self._send(401, {"error": "who?"})

    def create(self):
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        if not self.may_write:
            return self._send(401, {"error": "Invalid username or password."})
        if asked["organization"] != "owner":
            return self._send(403, {"error": "You don't have the rights to create a model under this namespace"})
        if ("model", repo) in self.hub.repos:
            return self._send(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{repo}"})
        self.hub.add(repo, {".gitattributes": b""})
        if asked.get("visibility") == "private" or asked.get("private"):
            self.hub.private.add(repo)
        return self._send(200, {"url": f"{self.hub.url}/{repo}"})

    def preupload(self, kinds, repo, revision):
        mode = {True: "lfs", False: "regular"}
        files = [{"path": one["path"], "uploadMode": mode[self.hub.batched and one["path"].endswith(LARGE)],
                  "shouldIgnore": False, "oid": None} for one in json.loads(self.body)["files"]]  # fmt: skip
        self._send(200, {"files": files}) if self.may_write else self._send(403, {"error": "no"})

    def batch(self, repo):
        objects = [{**one, "authenticated": True, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
                   for one in json.loads(self.body)["objects"]]  # fmt: skip
        self._send(200, {"transfer": "basic", "objects": objects})

    def upload(self, digest):
        assert sha256(self.body) == digest
        self.hub.blobs[digest] = self.body
        self._send(200)

    def commit(self, kinds, repo, revision):
        lines = [json.loads(line) for line in self.body.splitlines()]
        files = dict(self.hub.repos[kinds[:-1], repo]["main"][1])
        for line in lines[1:]:
            value = line["value"]
            files[value["path"]] = (
                self.hub.blobs[value["oid"]] if line["key"] == "lfsFile" else base64.b64decode(value["content"])
            )
        self.hub.commits.append(lines[0]["value"]["summary"])
        commit = self.hub.add(repo, files)
        self._send(200, {"commitUrl": f"{self.hub.url}/{repo}/commit/{commit}", "commitOid": commit, "hookOutput": "",
                         "success": True})  # fmt: skip


_KIND, _REPO = r"/api/(models|datasets)", r"([\w.-]+/[\w.-]+)"
_ROUTES = [
    ("GET", rf"{_KIND}/{_REPO}", _Handler.info),
    ("GET", rf"{_KIND}/{_REPO}/revision/(.+)", _Handler.info),
    ("GET", rf"{_KIND}/{_REPO}/tree/([^/]+)(?:/(.+))?", _Handler.tree),
    ("POST", rf"{_KIND}/{_REPO}/paths-info/([^/]+)", _Handler.paths),
    ("POST", rf"{_KIND}/{_REPO}/preupload/(.+)", _Handler.preupload),
    ("POST", rf"{_KIND}/{_REPO}/commit/(.+)", _Handler.commit),
    ("GET|HEAD", rf"/(datasets/)?{_REPO}/resolve/([^/]+)/(.+)", _Handler.resolve),
    ("GET|HEAD", r"/cdn/(\w+)", _Handler.cdn),
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", lambda handler: handler._send(200, {"errors": [], "warnings": []})),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/lfs/(\w+)", _Handler.upload),
]
