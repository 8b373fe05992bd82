"""Damaged and malicious files of every kind: each must be read correctly, or refused with a one-line message."""

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from faults import damage, judge
from faults.readers import READERS, Reader
from faults.workshop import LATENT, SAVED, Workshop
from PIL import Image

from attack_stages.stage import Stage, Trial

_SAVED_AS = {"JPEG2000": "jp2", "JPEG": "jpg", "TIFF": "tif", "PPM": "ppm"}
_HERE: dict[str, Any] = {}
"""What a process computes once for its own folder."""


def flips(reader: Reader) -> Callable[[Workshop, int], Trial]:
    """A trial changes one byte of one file."""

    def prepare(shop: Workshop, seed: int) -> Trial:
        def one(number: int, rng: random.Random) -> str | None:
            folder = Path.cwd()
            if reader.name not in _HERE:
                right = reader.read(folder)
                if reader.noticed(folder, right):
                    raise RuntimeError(f"{reader.name}: without damage {reader.noticed(folder, right)}")
                _HERE[reader.name] = right, {path: path.read_bytes() for path in reader.paths(folder)}
            right, contents = _HERE[reader.name]
            path = rng.choice(sorted(contents))
            damaged = damage.flipped(contents[path], rng)
            _put(path, damaged)
            try:
                wrong = reader.noticed(folder, right)
            finally:
                _put(path, contents[path])
            if wrong is None or damaged == contents[path]:
                return None
            cut = len(damaged) < len(contents[path])
            pairs = enumerate(zip(damaged, contents[path], strict=False))
            at = next((i for i, (a, b) in pairs if a != b), len(damaged))
            name = path.name if "-" not in path.name else path.suffix
            return f"{name} {'cut' if cut else 'another byte'}: {wrong} (at byte {at})"

        return one

    return prepare


def _put(path: Path, content: bytes) -> None:
    """Write a new file instead of overwriting: the old one may be memory-mapped."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def images(shop: Workshop, seed: int) -> Trial:
    """A trial is a mutated file of an allowed format, read in a data folder and as a single image."""
    valid = _valid_images()

    def one(number: int, rng: random.Random) -> str | None:
        from fromnoise import FromNoiseError
        from fromnoise.data.config import DataConfig
        from fromnoise.data.folder import load_folder, read_image

        kind = rng.choice(sorted(valid))
        folder = Path.cwd() / "mutated"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = folder / f"x.{kind}"
        path.write_bytes(damage.mutated(valid[kind], rng))
        for what, read in (
            ("folder", lambda: load_folder(DataConfig(name=str(folder), size=8)).batch([0])),
            ("streamed", lambda: load_folder(DataConfig(name=str(folder), size=8, memory=0)).batch([0])),
            ("image", lambda: read_image(path, 1, (8, 8))),
        ):
            try:
                with judge.deadline(10):
                    read()
            except FromNoiseError as error:
                if "\n" in str(error):
                    return f"{kind}, {what}: more than a line: {str(error)!r}"
            except Exception as error:
                return f"{kind}, {what}: {type(error).__name__}: {str(error)[:200]}"
        return None

    return one


def _valid_images() -> dict[str, bytes]:
    from fromnoise.data.decode import formats

    rng, found = np.random.default_rng(0), {}
    for name in formats():
        for mode in ("L", "RGB", "P", "I;16", "RGBA"):
            noise = Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8))
            image = noise.convert(mode.replace("I;16", "L"))
            file = io.BytesIO()
            try:
                (image.convert("I;16") if mode == "I;16" else image).save(file, name)
            except (OSError, ValueError, KeyError):
                continue
            ending = _SAVED_AS.get(name, name.lower())
            found.setdefault(f"{mode.replace(';', '')}.{ending}", file.getvalue())
    return found


def models(shop: Workshop, seed: int) -> Trial:
    """A trial is a saved model with altered JSON or tensors, and a matching manifest."""

    def one(number: int, rng: random.Random) -> str | None:
        import fromnoise as fn

        source, kind = rng.choice(((SAVED, "denoiser"), (LATENT, "denoiser"), (f"{LATENT}/autoencoder", "autoencoder")))
        crafted = Path.cwd() / f"crafted-{number}"
        shutil.copytree(Path.cwd() / source, crafted)
        folder = crafted if source != LATENT else sorted((crafted / "checkpoints").iterdir())[-1]
        what = _craft(folder, kind, rng)
        damage.fit_manifest(folder)
        wrong = ""
        try:
            with judge.deadline(10):
                (fn.weights.load_autoencoder if kind == "autoencoder" else fn.load)(crafted)
        except fn.FromNoiseError as error:
            wrong = f"more than a line: {str(error)!r}" if "\n" in str(error).strip() else ""
        except Exception as error:
            wrong = f"{type(error).__name__}: {str(error)[:200]}"
        shutil.rmtree(crafted)
        return f"{what}: {wrong}" if wrong else None

    return one


def _craft(folder: Path, kind: str, rng: random.Random) -> str:
    from safetensors.torch import load_file, save_file

    described = folder / f"{kind}.json"
    about = json.loads(described.read_text())
    how = rng.random()
    if how < 0.25:
        path = rng.choice(sorted(folder.glob("*.safetensors")))
        tensors = load_file(path)
        name = rng.choice(sorted(tensors))
        tensors[name] = damage.other_tensor(tensors[name], rng).contiguous()
        save_file(tensors, path)
        return f"{path.name}, another tensor"
    if how < 0.35:
        text = rng.choice(("[" * 100_000, '{"network":' * 50_000, "1" * 10_000, "", "null", "\ufeff{}", "NaN", "\x00",
                           json.dumps(about)[:-5], json.dumps(about) + "x"))  # fmt: skip
        described.write_text(text)
        return "another text"
    if how < 0.5:
        key, value = rng.choice(_NETWORK)
        about["network"] = about["network"] | {key: value}
    elif how < 0.6 and "schedule" in about:
        key, value = rng.choice(_SCHEDULE)
        about["schedule"] = about["schedule"] | {key: value}
    elif how < 0.65:
        key, value = rng.choice(_OTHER)
        about[key] = value
    else:
        key = "another value"
        for _ in range(rng.choice((1, 1, 2))):
            about = damage.other_json(about, rng)
    described.write_text(json.dumps(about))
    return key


_NETWORK = (("blocks", 10**9), ("channels", 10**9), ("mult", [10**6]), ("mult", [1] * 10**5), ("groups", 0),
            ("patch", 0), ("patch", 10**6), ("in_channels", 10**8), ("classes", 10**12), ("channels", -8),
            ("blocks", 0.5), ("channels", 8.0), ("classes", -1), ("groups", 10**9), ("latent", 10**9))  # fmt: skip
_SCHEDULE = (("T", 10**12), ("T", 10**8), ("T", 0), ("T", -1), ("T", 1e308), ("T", "8"), ("T", 8.5), ("name", "karras"),
             ("shift", 1e308))  # fmt: skip
_OTHER = (("shape", [10**9] * 3), ("null", {"label": [10**12]}), ("classes", ["x"] * 10**6),
          ("shape", []), ("low", {"factor": 10**9, "augmentation": {"name": "none"}}),
          ("codec", {"sha256": "0", "scale": 0}))  # fmt: skip


FLIPS = tuple(Stage(f"flips-{r.name.replace(' ', '-').replace('.', '-')}", 10_000, flips(r), 500, 20) for r in READERS)
IMAGES = Stage("images", 20_000, images, 500, 40)
MODELS = Stage("models", 500, models, 10, 10)
