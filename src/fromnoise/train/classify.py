"""Training a classifier of noisy images."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise import rng, times
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import diffuse
from fromnoise.guidance.noisy_classifier import NoisyClassifier
from fromnoise.hardware import Hardware
from fromnoise.times.base import TimeSampling
from fromnoise.train.distributed import Processes
from fromnoise.train.task import Drawn, Task


class Classifying(Task):
    """-log p(y | x_t), x_t = alpha_t x_0 + sigma_t eps, on the levels that a sampler will ask about.

    Source: Dhariwal and Nichol 2021, section 4; Sedykh 4.3.1.

    Args:
        classifier: in float32.
        seed: of the draws.
        time: which levels are looked at; stratified unless given. Their weight multiplies the loss.

    Raises:
        FromNoiseError: times that learn from the losses, whose state is kept for denoisers alone.
    """

    def __init__(self, classifier: NoisyClassifier, seed: int, time: TimeSampling | None = None):
        self.classifier, self.seed = classifier, seed
        self.times: TimeSampling = time or times.build("stratified")
        if self.times.watches:
            raise FromNoiseError("a classifier's times do not learn from its losses: use times=uniform or stratified")
        self._right, self._share = [], 0.0

    @property
    def network(self) -> nn.Module:  # pyrefly: ignore[bad-override]
        return self.classifier.network

    @network.setter
    def network(self, network: nn.Module) -> None:
        self.classifier.network = network

    def draw(self, x0: Tensor, labels: Tensor, places: range, step: int, batch_size: int) -> Drawn:
        if bool((labels < 0).any()):
            raise FromNoiseError("an image has no class: put each into the sub-folder of its own")
        u = rng.uniform(self.seed, places, step, rng.Stream.TRAIN_TIME)
        eps = rng.normal(self.seed, places, step, tuple(x0.shape[1:]), rng.Stream.TRAIN_NOISE)
        return {"u": self.times.arrange(u, places, batch_size), "eps": eps, "label": labels}

    def losses(self, x0: Tensor, drawn: Drawn, hardware: Hardware) -> Tensor:
        t, weight = self.times.draw(drawn["u"], self.classifier.schedule)
        x_t = diffuse(hardware.put(x0), hardware.put(drawn["eps"]), t)
        label = hardware.put(drawn["label"])
        log_p = self.classifier(x_t, t)
        self._right.append((log_p.detach().argmax(1) == label).float())
        return F.nll_loss(log_p, label, reduction="none") * weight.to(log_p)

    def finish(self, step: int, places: range, batch_size: int, processes: Processes) -> None:
        """The share that was classified rightly, over all levels and processes."""
        self._share = processes.whole(torch.cat(self._right), places, batch_size).mean().item()
        self._right = []

    def figures(self) -> dict[str, Any]:
        return {"accuracy": self._share}
