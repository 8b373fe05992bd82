"""The small runs that are attacked: 8x8 images, networks of some thousand numbers, trained for six steps."""

import functools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from faults import worker
from faults.worker import Body, command

RUN, LATENT, CODEC, SAVED, ENCODED = "toy-run", "toy-latent", "toy-codec", "toy-saved", "toy-encoded"
STEPS = 6

_SHARED = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.mult=[1]", "network.attention=[]",
           "train.batch_size=4", "train.warmup=0", "train.sample_every=3", "train.checkpoint_every=2", "train.keep=2",
           "data.size=8", "data.channels=1"]  # fmt: skip
TINY = [*_SHARED, "network.mid_attention=false", "network.patch=2", "network.classes=2", "schedule.T=8", "sample.steps=3",
        "evaluate.n=8"]  # fmt: skip
_CODEC = ["network.channels=8", "network.groups=4", "network.mult=[1,2]", "network.mid_attention=false",
          *_SHARED[5:]]  # fmt: skip
_LATENT = [*_SHARED, "network.classes=2", "schedule.T=8", "sample.steps=3"]


@dataclass
class Workshop:
    """A folder with `pics`, and `pristine`, of which every trial gets a copy to work in.

    Attributes:
        root: where all of it is; in memory where that can be.
    """

    root: Path
    count: int = 0
    made: list[str] = field(default_factory=list)

    @property
    def pristine(self) -> Path:
        return self.root / "pristine"

    @property
    def pics(self) -> Path:
        return self.root / "pics"

    @classmethod
    def build(cls, root: Path) -> "Workshop":
        """Everything trained, and everything imported."""
        shop = cls(root.resolve())
        shop.pristine.mkdir(parents=True)
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        _pictures(shop.pics)
        _quick_extractor()
        bodies = {
            RUN: train(shop.pics, RUN), CODEC: codec(shop.pics), LATENT: latent(shop.pics), SAVED: convert(RUN, SAVED),
            ENCODED: encode(shop.pics),
            "toy-out.png": sample("toy-out.png", 1), "toy-out.npz": sample("toy-out.npz", 1),
            "toy-out.gif": sample("toy-out.gif", 1), "toy-nll.json": nll(1), "toy-edit.png": edit(shop.pics, 1),
            "toy-eval.json": evaluate(1),
        }  # fmt: skip
        worker.warm(bodies.values(), shop.pristine)
        shop.made = list(bodies)
        return shop

    def copy(self, *without: str) -> Path:
        """A fresh copy of `pristine`, but for these names."""
        self.count += 1
        place = self.root / f"trial-{self.count:06d}"
        shutil.copytree(self.pristine, place, ignore=lambda folder, names: set(without) & set(names), symlinks=True)
        return place

    def drop(self, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)


def train(pics: Path, out: str, steps: int = STEPS, *more: str) -> Body:
    """A run, or the same one gone on with."""
    return command("train", "digits", "--data", pics, "--out", out, "--steps", steps, "--precision", "fp32", "--resume",
                   *more, "--set", *TINY)  # fmt: skip


def codec(pics: Path) -> Body:
    return command("train", "digits-kl", "--data", pics, "--out", CODEC, "--steps", 2, "--precision", "fp32", "--resume",
                   "--set", *_CODEC)  # fmt: skip


def latent(pics: Path, steps: int = 4) -> Body:
    """A model of latents: its cache of encoded images, and a copy of the autoencoder."""
    return command("train", "digits-latent", "--data", pics, "--autoencoder", CODEC, "--out", LATENT, "--steps", steps,
                   "--precision", "fp32", "--resume", "--set", *_LATENT)  # fmt: skip


def encode(pics: Path) -> Body:
    """Latents ahead of training, in two parts."""
    return command("encode", pics, "--autoencoder", CODEC, "--out", ENCODED, "--part", 16, "--batch-size", 8)


def sample(out: str, seed: int = 0) -> Body:
    return command("sample", RUN, "--n", 4, "--seed", seed, "--out", out)


def evaluate(seed: int = 0, n: int = 8, out: str = "toy-eval.json") -> Body:
    return command("eval", RUN, "--n", n, "--seed", seed, "--out", out)


def nll(seed: int = 0) -> Body:
    return command("nll", RUN, "--n", 4, "--seed", seed, "--out", "toy-nll.json")


def edit(pics: Path, seed: int = 0) -> Body:
    return command(
        "edit", "image-to-image", RUN, pics / "0" / "0.png", "--n", 2, "--seed", seed, "--out", "toy-edit.png"
    )


def convert(source: str, target: str, ema: bool = True) -> Body:
    """`fn.load` and `fn.save`, as a program calls them that prints what the library says."""

    def body() -> int:
        import sys

        import fromnoise as fn

        try:
            fn.save(fn.load(source, ema=ema), target)
        except fn.FromNoiseError as error:
            print(f"fromnoise: {error}", file=sys.stderr)
            return 2
        return 0

    return body


def last_state(run: Path) -> dict[str, Any]:
    """The newest whole checkpoint: every tensor as bytes, and the steps that the log has.

    Raises:
        FromNoiseError: there is none.
    """
    from fromnoise.weights.checkpoint import Checkpoints

    found = Checkpoints(run / "checkpoints").newest_whole(_refuse)
    if found is None:
        raise AssertionError(f"{run}: no whole checkpoint")
    state: dict[str, Any] = {path.name: path.read_bytes() for path in sorted(found.glob("*.safetensors"))}
    said = json.loads((found / "state.json").read_text())
    state["state"] = {key: value for key, value in said.items() if "second" not in key}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    state["log"] = [(line["step"], line["loss"]) for line in lines]
    return state


def without_times(value: Any) -> Any:
    """A report without what a clock said in it."""
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if "second" not in key}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def _refuse(text: str) -> None:
    raise AssertionError(f"a damaged checkpoint stands under its final name: {text}")


def _pictures(pics: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(24):
        (pics / str(number % 2)).mkdir(parents=True, exist_ok=True)
        shade = np.linspace(0, 200, 8)[:, None] * (number % 2) + rng.integers(0, 50, (8, 8))
        Image.fromarray(shade.astype(np.uint8)).save(pics / str(number % 2) / f"{number}.png")


def _quick_extractor() -> None:
    """One epoch in place of sixteen, and its digits read once: it is the files that are attacked, not the figures."""
    from fromnoise.data import digits as bundled
    from fromnoise.metrics.features import digits

    digits._RECIPE["epochs"] = 1
    load: Callable[..., Any] = bundled.Digits.load
    bundled.Digits.load = functools.cache(load)  # of an object a call; so by one object for all
    one = bundled.Digits()
    bundled.Digits.__new__ = lambda cls: one
    one.load(None)
