"""Inception v3 with the weights of 2015, as for every published FID: FID, sFID, IS and KID."""

import io
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.metrics.features.base import Extractor, Features, rgb
from fromnoise.registry import register
from fromnoise.system.disk import files, storage
from fromnoise.system.hardware import choose, exact_float32
from fromnoise.weights import foreign

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_SFID_CHANNELS = 7


@register("inception")
class Inception(Extractor):
    """2,048 pooled features, 1,008 probabilities and 2,023 spatial features of torch-fidelity's TF-exact Inception.

    Images are resized as in TensorFlow 1; gray is repeated. The probabilities are the softmax of the logits without
    bias, as in the reference code of the inception score. The spatial features are the first 7 channels of
    mixed_6/conv, as in ADM's sFID.

    Args:
        weights: path of the .pth file; default: downloaded (96 MB) into the cache. Its SHA-256 is checked.

    Raises:
        FromNoiseError: torch-fidelity is not installed, or the weights cannot be loaded.
    """

    suffix: ClassVar[str] = ""
    dimensions = 2048
    hash = SHA256

    def __init__(self, weights: Path | None = None):
        _extractor()  # before a download of 95 MB
        path = weights or foreign.fetch(URL, storage.cache("features") / URL.rsplit("/", 1)[1], SHA256)
        self._prepare(foreign.tensors(path, SHA256))

    def _prepare(self, state: dict[str, Tensor]) -> None:
        self.about: dict[str, Any] = {"source": URL, "resize": "bilinear as TensorFlow 1, to 299x299"}
        # The class reads its weights with an unrestricted unpickler, so it only gets bytes that were written here.
        trusted = io.BytesIO()
        torch.save(state, trusted)
        trusted.seek(0)
        try:
            network = _extractor()("inception", ["2048", "logits_unbiased"], trusted)
        except RuntimeError as error:
            kept = storage.cache("converted")
            raise FromNoiseError(f"inception: its weights do not fit ({files.one_line(error)}): remove {kept}, where "
                                 "they are kept, and try again") from None  # fmt: skip
        self._device = choose("fp32").device
        self._network = network.to(self._device)
        self._spatial: list[Tensor] = []
        network.Mixed_6d.branch1x1.register_forward_hook(lambda module, args, output: self._spatial.append(output))

    @torch.no_grad()
    @exact_float32()
    def __call__(self, pixels: Tensor) -> Features:
        pool, logits = self._network(rgb(pixels).to(self._device))
        spatial = self._spatial.pop()[:, :_SFID_CHANNELS].flatten(1)
        return Features(pool.cpu(), logits.softmax(1).cpu(), spatial.float().cpu())


def _extractor() -> Any:
    """torch-fidelity's class.

    Raises:
        FromNoiseError: it is not installed.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise FromNoiseError(f'inception needs torch-fidelity ({error}): pip install "fromnoise[fid]"') from None
    return FeatureExtractorInceptionV3
