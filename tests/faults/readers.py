"""Each kind of file, and how it is read: what a damaged one must not change in silence."""

import contextlib
import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from faults.workshop import ENCODED, LATENT, RUN, SAVED


class Remade(Exception):
    """A cache was found to be damaged: it would be made again."""


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes:
        name: of the kind.
        files: patterns of them in a workshop's folder.
        read: (folder) -> everything that is read from them, as a value to compare.
    """

    name: str
    files: tuple[str, ...]
    read: Callable[[Path], Any]

    def paths(self, folder: Path) -> list[Path]:
        found = sorted(path for pattern in self.files for path in folder.glob(pattern) if path.is_file())
        if not found:
            raise AssertionError(f"{self.name}: no such files in {folder}")
        return found

    def noticed(self, folder: Path, right: Any) -> str | None:
        """What is wrong with how what lies there now is read; None where it is right or the damage is said."""
        from fromnoise import FromNoiseError

        said = io.StringIO()
        try:
            with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stderr(said):
                warnings.simplefilter("always")
                value = self.read(folder)
        except Remade:
            return None
        except FromNoiseError as error:
            return None if "\n" not in str(error) else f"more than a line: {str(error)!r}"
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        if value == right or warned or "warning" in said.getvalue():
            return None
        return "read without a word, as something else"


def _remade(*args: Any, **kwargs: Any) -> Any:
    raise Remade


def _hash(tensors: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _model(path: Path) -> Any:
    import fromnoise as fn
    from fromnoise.weights.describing import describe, tensors_of

    model = fn.load(path)
    return _hash(tensors_of(model)), describe(model)


def _checkpoint(folder: Path) -> Any:
    from fromnoise.system.disk import storage
    from fromnoise.weights.checkpoint import Checkpoints

    found = Checkpoints(folder / RUN / "checkpoints").newest_whole(warnings.warn)
    if found is None:
        raise Remade
    state = {stem: _hash(storage.read_tensors(found, stem)) for stem in ("model", "ema", "optimizer")}
    return state, storage.read_text(found, "state"), _model(folder / RUN)


def _config(folder: Path) -> Any:
    from fromnoise.app.runs import read_config

    return read_config(folder / RUN).model_dump_json()


def _parts(folder: Path) -> Any:
    from fromnoise.app.evaluation.parts import Parts

    model, choice = _opened(folder)
    parts = Parts(folder / RUN / "eval", model, choice, 1, 8)
    if parts.missing():
        raise Remade
    return [pixels.numpy().tobytes() for pixels in parts.read(range(len(parts)))], parts.cost()


_MODELS: dict[Path, Any] = {}


def _opened(folder: Path) -> Any:
    if folder not in _MODELS:
        from fromnoise.app.runs import open_model

        model = open_model(folder / RUN)
        _MODELS[folder] = model, model.choice()
    return _MODELS[folder]


def _latents(folder: Path) -> Any:
    from fromnoise.app.runs import latents, read_config
    from fromnoise.data.loading import load
    from fromnoise.system.hardware import choose

    config = read_config(folder / LATENT)
    with mock.patch.object(latents.Work, "_make", _remade):
        found, codec = latents.latents_of(load(config.data), folder / LATENT, choose("fp32"), config.data.flip)
    x, labels = found.batch(range(len(found)))
    return x.numpy().tobytes(), labels.tolist(), codec.scale


def _encoded(folder: Path) -> Any:
    from fromnoise.compose.autoencoded import Autoencoded
    from fromnoise.data.latents import Latents
    from fromnoise.train.encoded import scaled
    from fromnoise.weights import native

    found = Latents(folder / ENCODED)
    codec = scaled(found, Autoencoded(native.load_autoencoder(folder / ENCODED / native.AUTOENCODER, warnings.warn)))
    x, labels = found.batch(range(len(found)))
    return x.numpy().tobytes(), labels.tolist(), codec.scale, list(found.classes), found.content()


def _extractor(folder: Path) -> Any:
    from fromnoise.metrics.features import digits

    with mock.patch.object(digits, "_train", _remade):
        network, about = digits._trained()
    return _hash(network.state_dict()), about


def _reference(folder: Path) -> Any:
    from fromnoise.app.evaluation import _reference as module
    from fromnoise.app.runs import read_config
    from fromnoise.data.loading import load

    config = read_config(folder / RUN)
    if folder not in _EXTRACTORS:
        from fromnoise.metrics.features.digits import Digits

        _EXTRACTORS[folder] = Digits(), load(config.data)
    extractor, images = _EXTRACTORS[folder]
    with mock.patch.object(module, "summarise", _remade):
        return _hash(module.reference(images, "digits", extractor).summary.tensors())


_EXTRACTORS: dict[Path, Any] = {}


def _metrics(folder: Path) -> Any:
    """What is left of the log when the run goes on."""
    from fromnoise.system.disk import storage
    from fromnoise.train.log import MetricsLog
    from fromnoise.weights.checkpoint import Checkpoints

    newest = Checkpoints(folder / RUN / "checkpoints").newest_whole(warnings.warn)
    assert newest is not None
    path = folder / RUN / "metrics.jsonl"
    content = path.read_bytes()
    try:
        MetricsLog(path, 6, storage.read_text(newest, "log"), warnings.warn).close()
        return path.read_text()
    finally:
        path.write_bytes(content)


READERS = (
    Reader("checkpoint", (f"{RUN}/checkpoints/*/*",), _checkpoint),
    Reader("config.yaml", (f"{RUN}/config.yaml",), _config),
    Reader("evaluation parts", (f"{RUN}/eval/*/part-*/*",), _parts),
    Reader("latents cache", ("cache/latents/*/*/*",), _latents),
    Reader("encoded data", (f"{ENCODED}/*/*",), _encoded),
    Reader("extractor cache", ("cache/features/*/*",), _extractor),
    Reader("reference cache", ("cache/reference/*/*",), _reference),
    Reader("metrics.jsonl", (f"{RUN}/metrics.jsonl",), _metrics),
    Reader("saved model", (f"{SAVED}/*",), lambda folder: _model(folder / SAVED)),
    Reader("copied autoencoder", (f"{LATENT}/autoencoder/*",), lambda folder: _model(folder / LATENT)),
)
