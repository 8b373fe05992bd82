"""The bounded fuzzer on each reader of third-party files."""

import functools
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from faults import damage
from faults.fuzz import Fuzzer, of_words
from faults.workshop import RUN, SAVED, Workshop

from attack_stages.reading import _valid_images
from attack_stages.stage import Stage, Trial

EXECUTIONS, SECONDS = 250, 30.0
_YAML = (b"&a ", b"*a", b"!!python/object:os.system ", b"<<: ", b": ", b"- ", b"[", b"{", b"? ", b"|\n", b"\t",
         b"1e999", b".nan", b"-.inf", b"0o7", b"2001-01-01", b"null", b"base: digits\n", b"stages: {a: {}}\n",
         b"kind: autoencoder\n",
         b"9" * 30, b"\xff", b"\x00", b"latent: {autoencoder: digits}\n", b"low: {}\n", b"true")  # fmt: skip
_JSON = (b"1e999", b"NaN", b"-1", b"null", b"[]", b"{}", b'"', b"[" * 50, b"9" * 30, b'"own":', b'"name":', b",", b":",
         b"0", b"true", b'"unet"', b'"\\ud800"')  # fmt: skip


def _config(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any], Any]:
    from fromnoise.recipes.reading import from_file

    def read(content: bytes) -> None:
        path = folder / "fuzzed.yaml"
        path.write_bytes(content)
        from_file(path)

    corpus = [(folder / RUN / "config.yaml").read_bytes(), b"base: digits\ntrain: {steps: 3}\n"]
    return corpus, read, functools.partial(of_words, words=_YAML)


def _denoiser(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any], Any]:
    import fromnoise as fn

    def read(content: bytes) -> None:
        (folder / SAVED / "denoiser.json").write_bytes(content)
        damage.fit_manifest(folder / SAVED)
        fn.load(folder / SAVED)

    def mutate(content: bytes, rng: random.Random) -> bytes:
        try:
            return json.dumps(damage.other_json(json.loads(content), rng)).encode()
        except (ValueError, RecursionError):
            return of_words(content, rng, _JSON)

    return [(folder / SAVED / "denoiser.json").read_bytes()], read, mutate


def _tensors(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any], Any]:
    import fromnoise as fn

    path = folder / SAVED / "model.safetensors"

    def read(content: bytes) -> None:
        path.unlink()  # the old file may be memory-mapped
        path.write_bytes(content)
        damage.fit_manifest(folder / SAVED)
        fn.load(folder / SAVED)

    return [path.read_bytes()], read, damage.mutated


def _npz(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any], Any]:
    from fromnoise.data.npz import load_npz

    def read(content: bytes) -> None:
        (folder / "fuzzed.npz").write_bytes(content)
        load_npz(folder / "fuzzed.npz")

    packed = io.BytesIO()
    np.savez_compressed(packed, arr_0=np.zeros((2, 4, 4, 3), np.uint8))
    return [(folder / "toy-out.npz").read_bytes(), packed.getvalue()], read, damage.mutated


def _images(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any], Any]:
    from fromnoise.data.config import DataConfig
    from fromnoise.data.folder import load_folder

    (folder / "fuzzed").mkdir(exist_ok=True)

    def read(content: bytes) -> None:
        (folder / "fuzzed" / "x.png").write_bytes(content)  # Pillow detects the format from the first bytes
        load_folder(DataConfig(name=str(folder / "fuzzed"), size=8))

    return list(_valid_images().values()), read, damage.mutated


def _captions(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any], Any]:
    from fromnoise.data.captions import captions_of

    images = [folder / "fuzzed.png", folder / "other.png"]
    beside = [folder / "fuzzed.txt", folder / "metadata.jsonl"]

    def read(content: bytes) -> None:
        for path in beside:
            path.write_bytes(content)
        said, notes = captions_of(images, beside)
        if not all(note.isprintable() for note in notes) or any("\n" in caption for caption in said):
            raise AssertionError("more than a line")

    rows = b'{"file_name": "fuzzed.png", "text": "a cat"}\n{"file_name": "other.png", "caption": "\\u00e9"}\n'
    return [b"a cat\non a mat\n", rows], read, functools.partial(of_words, words=_JSON)


_TARGETS = {
    "captions": _captions,
    "config": _config,
    "denoiser": _denoiser,
    "tensors": _tensors,
    "npz": _npz,
    "images": _images,
}


def fuzzing(name: str) -> Callable[[Workshop, int], Trial]:
    """A trial is a bounded run of the fuzzer; the first one is short, for --quick."""

    def prepare(shop: Workshop, seed: int) -> Trial:
        def one(number: int, rng: random.Random) -> str | None:
            import warnings

            from fromnoise import FromNoiseError

            folder = Path.cwd()
            corpus, read, mutate = _TARGETS[name](folder)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wrong = Fuzzer(read, corpus, (FromNoiseError,), mutate).run(EXECUTIONS if number else 30, rng, SECONDS)
            return f"{len(wrong)} kinds: {'; '.join(wrong)[:1500]}" if wrong else None

        return one

    return prepare


FUZZ = tuple(Stage(f"fuzz-{name}", 9, fuzzing(name), 1, quick=1) for name in _TARGETS)
