"""fromnoise beside other libraries: `make bench`, or `python benchmarks/speed.py [--size cifar] [--turns 3]`.

Each contender runs in its own process. Two at a time, fromnoise and a peer, take turns, so other work on the machine
affects both alike. Read the ratios, since images per second drift. A peer is measured as its users run it (float32,
torch's layout, Adam), tuned by hand (the number format that the CPU multiplies natively, channels_last, fused Adam),
and, for network calls, also tuned and compiled with frozen weights; fromnoise then runs with `--compile on`. fromnoise
does all that `fromnoise train` and `sample` do, including averaged weights, counter-based noise and clipping; a peer's
step has none of these.

Writes benchmarks/results.json, the table in docs/performance.md and docs/images/speed.png.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

HERE = Path(__file__).parent
DOC, FIGURE = HERE.parent / "docs" / "performance.md", HERE.parent / "docs" / "images" / "speed.png"
MARKS = ("<!-- speed -->", "<!-- /speed -->")
WORKS = {"cifar": [("train", 32), ("denoise", 32)], "thesis": [("train", 64), ("denoise", 64), ("denoise", 1)]}
HOW = {"train": "training step", "denoise": "network call"}
WAYS = {"default": ("train", "denoise"), "tuned": ("train", "denoise"), "compiled": ("denoise",)}


class Ours:
    """fromnoise: what the trainer and a sampler do in a step."""

    def __init__(self, size, how):
        import fromnoise as fn
        from fromnoise.system.hardware import choose, compile_network, tune
        from fromnoise.train.ema import EMA

        tune()
        self.fn, self.hardware = fn, choose()
        recipe = fn.recipes.load({"cifar": "ddpm-cifar10", "thesis": "thesis-mnist"}[size])
        self.denoiser, self.fast = recipe.build(), recipe.build()
        self.hardware.prepare(self.denoiser.network, inference=False)
        self.hardware.prepare(self.fast.network, inference=True)
        compile_network(self.fast.network, "on" if how == "compiled" else "auto", inference=True)
        self.weights = self.denoiser.weights()
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=1e-4, weight_decay=0.0, fused=True)
        self.ema = EMA(self.weights, 0.999)
        self.objective, self.sampler, self.n = fn.objectives.Simple(), fn.samplers.DDIM(), 0
        self.pairs = itertools.cycle(list(self.fast.schedule.steps(200).pairs())[:-1])

    def train(self, x0):
        rng, places = self.fn.rng, range(len(x0))
        self.denoiser.train()
        self.n += 1
        t = self.denoiser.schedule.draw(rng.uniform(0, places, self.n, rng.Stream.TRAIN_TIME))
        eps = rng.normal(0, places, self.n, tuple(x0.shape[1:]), rng.Stream.TRAIN_NOISE)
        with self.hardware.autocast():
            loss = self.objective(self.denoiser, x0, t, eps)["loss"].mean()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([w.grad for w in self.weights.values()])
        if norm.item() > 1:
            torch.nn.utils.clip_grads_with_norm_(self.weights.values(), 1.0, norm)
        self.optimizer.step()
        self.ema.update(self.n)
        self.optimizer.zero_grad()

    @torch.no_grad()
    def denoise(self, x):
        self.fast.eval()
        self.sampler.step(self.fast, x, *next(self.pairs), None, None, None)


class Peer:
    """A peer: the plain loop of the usual tutorials around its network."""

    def __init__(self, name, size, how):
        from peers import PEERS

        tuned = how != "default"

        self.peer = PEERS[name]
        self.network, self.half = self.peer.build(size), False
        if tuned:
            from fromnoise.system.hardware import cpu_has_bf16

            self.half = cpu_has_bf16()
            self.network.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4, fused=tuned or None)
        self.tuned, self.fast = tuned, None
        if how == "compiled":
            self.network.compile(dynamic=False, options={"freezing": True})
        self.bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)

    def _format(self, x):
        return x.to(memory_format=torch.channels_last) if self.tuned else x

    def train(self, x0):
        self.network.train()
        x0, t, eps = self._format(x0), torch.randint(1000, (len(x0),)), torch.randn_like(x0)
        bar = self.bar[t].view(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            loss = F.mse_loss(self.peer.call(self.network, bar.sqrt() * x0 + (1 - bar).sqrt() * eps, t.float()), eps)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def denoise(self, x):
        self.network.eval()
        if self.half and self.fast is None:  # once, not in every call
            self.fast = self.network.to(torch.bfloat16)
        x = self._format(x).to(torch.bfloat16 if self.half else torch.float32)
        self.peer.call(self.network, x, torch.full((len(x),), 500.0, dtype=x.dtype))


def work(name, size, how):
    """The child process: for every line "WHAT BATCH", do one step and print its seconds."""
    torch.manual_seed(0)
    side = Ours(size, how) if name == "fromnoise" else Peer(name, size, how)
    from peers import SHAPES

    print("ready", flush=True)
    for line in sys.stdin:
        what, batch = line.split()
        x = torch.rand(int(batch), *SHAPES[size]) * 2 - 1
        start = time.perf_counter()
        getattr(side, what)(x)
        print(time.perf_counter() - start, flush=True)


class Contender:
    """A child process that takes one step on request."""

    def __init__(self, name, size, how):
        command = [sys.executable, str(HERE / "speed.py"), "--work", name, size, how]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._line()

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a contender stopped; see its message above")
        return line

    def once(self, what, batch):
        self.process.stdin.write(f"{what} {batch}\n")
        self.process.stdin.flush()
        return float(self._line())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def duel(name, size, how, turns):
    """Measure a peer and fromnoise on every kind of work, taking turns."""
    found = []
    pair = [Contender(name, size, how), Contender("fromnoise", size, how)]
    for what, batch in WORKS[size]:
        if what not in WAYS[how]:
            continue
        seconds = ([], [])
        few = 1 if size == "cifar" else 8 if batch == 1 else 2  # steps in a turn
        for turn in range(turns + 1):
            for side, column in zip(pair, seconds, strict=True):
                took = [side.once(what, batch) for _ in range(few)]
                if turn:
                    column.extend(took)
        theirs, own = (statistics.median(column) for column in seconds)
        found.append({"size": size, "what": what, "batch": batch, "peer": name, "how": how,
                      "peer_images_per_second": batch / theirs, "images_per_second": batch / own,
                      "ratio": theirs / own})  # fmt: skip
        print(f"{size:7}{what:8} batch {batch:3}  {name:28}{how:8}{batch / theirs:9.2f} images/s   "
              f"ours {batch / own:9.2f}   ratio {theirs / own:5.2f}", flush=True)  # fmt: skip
    for side in pair:
        side.stop()
    return found


def convolution_limit():
    """GFLOP/s of a single convolution, 3x3 and 256 channels at 16x16, in the best format: forward, and with its
    gradients."""
    best = [0.0, 0.0]
    for dtype in (torch.float32, torch.bfloat16):
        layer = torch.nn.Conv2d(256, 256, 3, padding=1).to(memory_format=torch.channels_last, dtype=dtype)
        x = torch.randn(32, 256, 16, 16).to(memory_format=torch.channels_last, dtype=dtype).requires_grad_()
        flop = 32 * 256 * 2 * 256 * 256 * 9 / 1e9
        for _ in range(5):
            start = time.perf_counter()
            with torch.no_grad():
                layer(x)
            best[0] = max(best[0], flop / (time.perf_counter() - start))
            start = time.perf_counter()
            layer(x).sum().backward()
            best[1] = max(best[1], 3 * flop / (time.perf_counter() - start))
    return best


def counts(size):
    """{network: (parameters, forward GFLOP per image)}, for convolutions and matrix products; a multiply-add is 2."""
    from peers import PEERS, SHAPES
    from torch.utils.flop_counter import FlopCounterMode

    found = {}
    for name, peer in PEERS.items():
        if name == "plain torch" and size != "thesis":
            continue
        network = peer.build(size).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            peer.call(network, torch.randn(2, *SHAPES[size]), torch.tensor([5.0, 500.0]))
        found[name] = (sum(p.numel() for p in network.parameters()), counter.get_total_flops() / 2e9)
    return found


def table(results):
    """The figures as Markdown tables."""
    lines = [f"{results['machine']}. Of a single convolution's speed: {results['limit'][0]:.0f} GFLOP/s forward, "
             f"{results['limit'][1]:.0f} with its gradients.", ""]  # fmt: skip
    lines += ["| work | peer | parameters | GFLOP an image | as its users run it | tuned by hand | ours | ratio | "
              "ratio to tuned | ours, of the limit |", "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for size, works in WORKS.items():
        for what, batch in works:
            rows = [r for r in results["rows"] if (r["size"], r["what"], r["batch"]) == (size, what, batch)]
            for name in dict.fromkeys(r["peer"] for r in rows):
                by = {r["how"]: r for r in rows if r["peer"] == name}
                plain, tuned = by["default"], by["tuned"]
                own = statistics.median([plain["images_per_second"], tuned["images_per_second"]])
                number, flop = results["counts"][size][name]
                spent = results["counts"][size]["fromnoise"][1] * own * (3 if what == "train" else 1)
                share = spent / results["limit"][what == "train"]
                lines.append(
                    f"| {size}, {HOW[what]}, batch {batch} | {name} | {number / 1e6:.1f} M | {flop:.2f} | "
                    f"{plain['peer_images_per_second']:.3g} | {tuned['peer_images_per_second']:.3g} | {own:.3g} | "
                    f"**{plain['ratio']:.2f}** | **{tuned['ratio']:.2f}** | {share:.0%} |"
                )
    own = {size: every["fromnoise"] for size, every in results["counts"].items()}
    said = (f"{size} {n / 1e6:.1f} M parameters, {flop:.2f} GFLOP an image" for size, (n, flop) in own.items())
    lines += ["", f"Images a second, medians. Ours: {'; '.join(said)}.", ""]
    lines += ["| both compiled, weights frozen | peer | tuned and compiled | ours | ratio |", "|---|---|---|---|---|"]
    lines += [
        f"| {r['size']}, {HOW[r['what']]}, batch {r['batch']} | {r['peer']} | {r['peer_images_per_second']:.3g} | "
        f"{r['images_per_second']:.3g} | **{r['ratio']:.2f}** |"
        for r in sorted(results["rows"], key=lambda r: (r["size"], -r["batch"]))
        if r["how"] == "compiled"
    ]
    return "\n".join(lines)


def draw(results, path):
    """Draw the speed relative to each peer as bars."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    works = [(s, w, b) for s, every in WORKS.items() for w, b in every if any(r["size"] == s for r in results["rows"])]
    figure, axes = plt.subplots(1, len(works), figsize=(3.1 * len(works), 3.4), sharex=True, layout="constrained")
    for place, (size, what, batch) in enumerate(works):
        axis = axes[place] if len(works) > 1 else axes
        rows = [r for r in results["rows"] if (r["size"], r["what"], r["batch"]) == (size, what, batch)]
        names = list(dict.fromkeys(r["peer"] for r in rows))
        for offset, how, colour in (
            (0.27, "default", "#4477aa"),
            (0, "tuned", "#ccbb44"),
            (-0.27, "compiled", "#aa3377"),
        ):
            if what not in WAYS[how]:
                continue
            ratios = [next(r["ratio"] for r in rows if (r["peer"], r["how"]) == (n, how)) for n in names]
            bars = axis.barh([-i + offset for i in range(len(names))], ratios, 0.25, color=colour, label=how)
            axis.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_yticks([-i for i in range(len(names))], names if place == 0 or size != works[place - 1][0] else [])
        axis.set_title(f"{size}: {HOW[what]}, batch {batch}", fontsize=9)
        axis.margins(x=0.15)
    figure.supxlabel("times as fast as the peer: as its users run it, tuned by hand, and both compiled", fontsize=9)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=8)
    figure.savefig(path, dpi=110)


def write(results):
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    text = DOC.read_text()
    head, _, rest = text.partition(MARKS[0])
    DOC.write_text(head + MARKS[0] + "\n" + table(results) + "\n" + MARKS[1] + rest.partition(MARKS[1])[2])
    draw(results, FIGURE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=WORKS, help="measure only this size, and write nothing")
    parser.add_argument("--turns", type=int, default=3, help="turns of each side, after a warm-up turn")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(*asked.work)
        return
    from fromnoise.system.hardware import choose

    sizes = [asked.size] if asked.size else list(WORKS)
    results = {"machine": f"{choose().why}; torch {torch.__version__}", "limit": convolution_limit(),
               "counts": {size: counts(size) for size in sizes}, "rows": []}  # fmt: skip
    for size in sizes:
        for name in results["counts"][size]:
            if name != "fromnoise":
                for how in WAYS:
                    results["rows"] += duel(name, size, how, asked.turns)
    if len(sizes) == len(WORKS):
        write(results)


if __name__ == "__main__":
    main()
