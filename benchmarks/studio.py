"""What the studio costs: the time from a click to the first and last image, and what viewers cost a training.

python benchmarks/studio.py RUN [--n 16] [--steps 50] [--browser] [--viewers 10 --seconds 40]

The network's own time is measured inside the worker, around every call. The same samples are also drawn without a
studio, in alternation. With --browser (playwright and Chromium) the click is a real one, and the image is on screen.
"""

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fromnoise.app.studio.frames import unpack


@contextmanager
def studio(folder):
    """Run a studio; yields its address and the seconds until it listened."""
    started = time.perf_counter()
    words = [sys.executable, "-m", "fromnoise", "studio", str(folder), "--port", "0", "--no-browser"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process.stdout.readline().strip(), time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(10)


class Client:
    """Requests on one connection, as a browser keeps it."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)

    def ask(self, method, path, body=None):
        try:
            self.connection.request(method, path, json.dumps(body) if body is not None else None)
            return self.connection.getresponse()
        except http.client.RemoteDisconnected:  # the server closed an idle connection
            self.connection.close()
            self.connection.request(method, path, json.dumps(body) if body is not None else None)
            return self.connection.getresponse()

    def json(self, method, path, body=None):
        answer = self.ask(method, path, body)
        content = answer.read()
        assert answer.status == 200, content
        return json.loads(content)


def drawn(client, asked):
    """(seconds to the first image, seconds to the last, network seconds, calls) of one job, from its request on."""
    started = time.perf_counter()
    number = client.json("POST", "/api/jobs/draw", asked)["number"]
    answer, held, first, last = client.ask("GET", f"/api/jobs/{number}/frames"), b"", None, None
    while part := answer.read1(2**16):
        held += part
        while len(held) >= 4 and len(held) >= (length := int.from_bytes(held[:4], "little") + 4):
            (header, _), held = unpack(held[:length]), held[length:]
            if header["kind"] == "step" and first is None:
                first = time.perf_counter() - started
            if header["kind"] == "end":
                last = time.perf_counter() - started, header["network_seconds"], header["calls"]
    return first, *last


def pictures(run, n, steps, times):
    """Draw in the studio and without it, in alternation."""
    from fromnoise.app import runs

    model = runs.open_model(run)
    plan = model.choice(runs.SampleOptions(steps=steps))
    runs.draw(model, n, plan, 0, n)
    with studio(run) as (address, listens):
        client, found = Client(address), []
        name = client.json("GET", "/api/start")["runs"][0]["name"]
        asked = {"run": name, "n": n, "steps": steps}
        drawn(client, asked)  # opens the model
        for seed in range(times):
            started = time.perf_counter()
            runs.draw(model, n, plan, seed, n)
            alone = time.perf_counter() - started
            first, last, network, calls = drawn(client, asked | {"seed": seed})
            found.append({"first": first, "last": last, "network": network, "calls": calls, "alone": alone})
    middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
    overhead = statistics.median(one["last"] / one["network"] - 1 for one in found)
    beside = statistics.median(one["last"] / one["alone"] - 1 for one in found)
    print(f"listens after {listens:.2f} s")
    print(f"{n} images, {steps} steps, {times} times, medians: first picture {1e3 * middle['first']:.0f} ms, last "
          f"{middle['last']:.3f} s, network {middle['network']:.3f} s ({middle['calls']:.0f} calls), without a studio "
          f"{middle['alone']:.3f} s")  # fmt: skip
    print(f"overhead over the network's own time {100 * overhead:.1f} %, over the same samples without a studio "
          f"{100 * beside:.1f} %")  # fmt: skip


def in_a_browser(run):
    """Time from the address to the first content, and from a click to the first and last image on the screen."""
    from playwright.sync_api import sync_playwright

    with studio(run) as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        started = time.perf_counter()
        page.goto(address, wait_until="commit")
        page.wait_for_selector("main .card")
        print(f"first content {time.perf_counter() - started:.2f} s after the address was entered")
        page.get_by_role("button", name="Draw", exact=True).wait_for()
        print(f"the model open and its controls there after {time.perf_counter() - started:.2f} s")
        found = page.evaluate("""async () => {
            const start = performance.now(); let first = 0;
            document.querySelector("form button[type=submit]").click();
            for (;;) {
                await new Promise(requestAnimationFrame);
                const text = document.querySelector(".timeline output").textContent, now = performance.now() - start;
                if (text && !first) first = now;
                if (document.querySelector(".facts").textContent.includes("done in")) return [first, now];
            }
        }""")
        print(f"a click: first picture {found[0]:.0f} ms, last {found[1] / 1e3:.2f} s")
        browser.close()


def viewers(count, seconds):
    """Steps per second of a training, unwatched and watched by `count` pages, in alternation."""
    folder = Path(tempfile.mkdtemp(prefix="fromnoise-studio-"))
    with studio(folder) as (address, _):
        client = Client(address)
        client.json("POST", "/api/train", {"recipe": "digits", "name": "watched", "minutes": 60})
        while client.json("GET", "/api/runs/watched/log?after=0")["last"] < 20:
            time.sleep(0.5)
        rates: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(6):
            watched = bool(turn % 2)
            stop = threading.Event()
            threads = [threading.Thread(target=watch, args=(address, stop)) for _ in range(count * watched)]
            [thread.start() for thread in threads]
            time.sleep(2)
            before = client.json("GET", "/api/runs/watched/log?after=0")["last"]
            started = time.perf_counter()
            time.sleep(seconds / 3)
            after = client.json("GET", "/api/runs/watched/log?after=0")["last"]
            rates[watched].append((after - before) / (time.perf_counter() - started))
            stop.set()
            [thread.join() for thread in threads]
        client.json("POST", "/api/runs/watched/stop", {})
        while client.json("GET", "/api/runs/watched/about")["state"] != "stopped":
            time.sleep(0.3)
    shutil.rmtree(folder)
    alone, seen = (statistics.mean(rates[watched]) for watched in (False, True))
    slower = 100 * (1 - seen / alone)
    print(f"training: {alone:.2f} steps/s alone, {seen:.2f} watched by {count} pages: {slower:.1f} % slower")


def watch(address, stop):
    """Send the requests of an open page."""
    client, last = Client(address), 0
    while not stop.is_set():
        client.json("GET", "/api/state")
        last = client.json("GET", f"/api/runs/watched/log?after={last}")["last"]
        client.json("GET", "/api/runs/watched/about")
        stop.wait(1.2)


def main():
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--viewers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=40)
    words = parser.parse_args()
    pictures(words.run, words.n, words.steps, words.times)
    if words.browser:
        in_a_browser(words.run)
    if words.viewers:
        viewers(words.viewers, words.seconds)


if __name__ == "__main__":
    main()
