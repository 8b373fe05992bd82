"""Vision transformers of the hub, at a pinned commit and from safetensors alone."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise.disk import files
from fromnoise.errors import FromNoiseError
from fromnoise.features.base import Extractor, Features, rgb
from fromnoise.hardware import choose, exact_float32
from fromnoise.weights import foreign

_CONFIG_LIMIT = 2**20
_CODE = ("auto_map", "quantization_config")
_LARGEST = {"num_hidden_layers": 200, "image_size": 2**11, "hidden_size": 2**14, "intermediate_size": 2**16}
_LARGEST_OF_OTHERS = 2**17


class HubTransformer(Extractor):
    """One vector an image; subclasses name the model and take the vector from its output.

    Args:
        weights: a folder with config.json and model.safetensors; None downloads it into the hub's cache.

    Raises:
        FromNoiseError: transformers is not installed, or the weights cannot be had.
    """

    repository: ClassVar[str]
    commit: ClassVar[str]
    kind: ClassVar[str]
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]

    def __init__(self, weights: Path | None = None):
        try:
            import transformers
            from huggingface_hub import snapshot_download
        except ImportError as error:
            raise FromNoiseError(f"{self.repository} needs transformers ({error}): "
                                 'pip install "fromnoise[features]"') from None  # fmt: skip
        names = ["config.json", "model.safetensors"]
        try:
            folder = weights or Path(snapshot_download(self.repository, revision=self.commit, allow_patterns=names))
            _insist_on_plain(files.read_json(folder / names[0], _CONFIG_LIMIT), folder / names[0])
            self.hash = foreign.sha256(folder / names[1])
            network = _network(getattr(transformers, self.kind), folder, (folder / names[1]).stat().st_size)
            self._side = getattr(network.config, "image_size", 224) if weights else 224
            self._device = choose("fp32").device
            self._network = network.eval().to(self._device)
            self.dimensions = self.vector(self._call(torch.zeros(1, 3, self._side, self._side))).shape[1]
        except Exception as error:  # the hub raises a dozen kinds, all of which mean that the weights cannot be had
            reason = files.one_line(" ".join(str(error).split())[:200])
            raise FromNoiseError(f"{self.repository} could not be loaded ({type(error).__name__}: {reason}): fetch "
                                 f"{' and '.join(names)} of commit {self.commit[:12]} elsewhere and name their folder "
                                 "as weights") from None  # fmt: skip
        self.about: dict[str, Any] = {"source": f"{self.repository}@{self.commit}", "resize": "bicubic, antialiased"}

    @abstractmethod
    def vector(self, output: Any) -> Tensor:
        """[N, D] from the network's output."""

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


def _network(cls: Any, folder: Path, size: int) -> Any:
    """With weights that are all in the file, which has `size` bytes; what is not there would be drawn at random.

    Raises:
        FromNoiseError: some are not.
        Exception: whatever transformers raises.
    """
    config = cls.config_class.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        numbers = sum(p.numel() for p in cls(config).parameters())
    if numbers > size:
        raise FromNoiseError(f"config.json is of {numbers:,} weights, and model.safetensors has {size:,} bytes")
    network, found = cls.from_pretrained(folder, use_safetensors=True, local_files_only=True, output_loading_info=True)
    if found["missing_keys"]:
        raise FromNoiseError(f"model.safetensors lacks {min(found['missing_keys'])}")
    return network


def _insist_on_plain(options: Any, config: Path) -> None:
    """That a configuration builds a transformer of a size that exists, from transformers' own code.

    Raises:
        FromNoiseError: it asks for code of others, or for what no memory holds.
    """
    if not isinstance(options, dict):
        raise FromNoiseError(f"{config}: holds no options by name")
    for name, value in options.items():
        if name in _CODE or name.endswith("attn_implementation"):
            raise FromNoiseError(f"{config}: {name} would choose the code that runs: remove that line")
        most = _LARGEST.get(name, _LARGEST_OF_OTHERS)
        if isinstance(value, int) and not -1 <= value <= most:
            raise FromNoiseError(f"{config}: {name} is {value}, and may be at most {most}")
        if isinstance(value, dict):
            _insist_on_plain(value, config)
