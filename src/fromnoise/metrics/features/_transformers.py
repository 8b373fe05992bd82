"""Vision transformers from the Hugging Face hub, at a pinned commit and from safetensors files only."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.metrics.features.base import Extractor, Features, rgb
from fromnoise.system.disk import files, pretrained
from fromnoise.system.hardware import choose, exact_float32


class HubTransformer(Extractor):
    """One vector per image; subclasses name the model and take the vector from its output.

    Args:
        weights: a folder with config.json and model.safetensors; default: downloaded into the hub's cache.

    Raises:
        FromNoiseError: transformers is not installed, or the weights cannot be loaded.
    """

    repository: ClassVar[str]
    commit: ClassVar[str]
    kind: ClassVar[str]
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]

    def __init__(self, weights: Path | None = None):
        try:
            import transformers
        except ImportError as error:
            raise FromNoiseError(f"{self.repository} needs transformers ({error}): "
                                 'pip install "fromnoise[features]"') from None  # fmt: skip
        names = [pretrained.CONFIG, pretrained.WEIGHTS]
        try:
            folder = weights or pretrained.fetched(self.repository, self.commit, names)
            self.hash = pretrained.sha256(folder / pretrained.WEIGHTS)
            network = pretrained.network(getattr(transformers, self.kind), folder)
            self._side = getattr(network.config, "image_size", 224) if weights else 224
            self._device = choose("fp32").device
            self._network = network.eval().to(self._device)
            self.dimensions = self.vector(self._call(torch.zeros(1, 3, self._side, self._side))).shape[1]
        except Exception as error:  # the hub raises many kinds of errors, which all mean that there are no weights
            reason = files.one_line(" ".join(str(error).split())[:200])
            raise FromNoiseError(f"{self.repository} could not be loaded ({type(error).__name__}: {reason}): fetch "
                                 f"{' and '.join(names)} of commit {self.commit[:12]} elsewhere and name their folder "
                                 "as weights") from None  # fmt: skip
        self.about: dict[str, Any] = {"source": f"{self.repository}@{self.commit}", "resize": "bicubic, antialiased"}

    @abstractmethod
    def vector(self, output: Any) -> Tensor:
        """The feature vectors, [N, D], from the network's output."""

    def _call(self, x: Tensor) -> Any:
        return self._network(pixel_values=x.to(self._device))

    @torch.no_grad()
    @exact_float32()
    def __call__(self, pixels: Tensor) -> Features:
        x = rgb(pixels).float() / 255
        size = (self._side, self._side)
        x = torch.nn.functional.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.mean, self.std))
        return Features(self.vector(self._call((x - mean) / std)).float().cpu())
