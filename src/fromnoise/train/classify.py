"""The training task of classifiers of noisy images."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise import times
from fromnoise.data.examples import Conditions
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import diffuse
from fromnoise.guidance.noisy_classifier import NoisyClassifier
from fromnoise.system import rng
from fromnoise.times.base import TimeSampling
from fromnoise.train.task import Drawn, Task
from fromnoise.weights import describing


class Classifying(Task):
    """-log p(y | x_t), x_t = alpha_t x_0 + sigma_t eps, at the noise levels that samplers use.

    Source: Dhariwal and Nichol 2021, section 4; Sedykh 4.3.1.

    Args:
        classifier: the classifier to train, in float32.
        seed: seed of the random numbers.
        time: the distribution of the noise levels, whose weight multiplies the loss; default: stratified.

    Raises:
        FromNoiseError: the time distribution adapts to the losses, which is supported only for denoisers.
    """

    on_cpu = frozenset({"u"})

    def __init__(self, classifier: NoisyClassifier, seed: int, time: TimeSampling | None = None):
        self.classifier, self.seed = classifier, seed
        self.times: TimeSampling = time or times.build("stratified")
        if self.times.watches:
            raise FromNoiseError("times: those of a classifier cannot adapt to its losses: use uniform or stratified")

    @property
    def network(self) -> nn.Module:  # pyrefly: ignore[bad-override]
        return self.classifier.network

    @network.setter
    def network(self, network: nn.Module) -> None:
        self.classifier.network = network

    @property
    def model(self) -> nn.Module:
        return self.classifier

    def describe(self) -> dict[str, Any]:
        return {describing.CLASSIFIER: describing.describe(self.classifier)}

    def draw(self, shape: tuple[int, ...], conditions: Conditions, places: range, step: int, batch_size: int) -> Drawn:
        if "label" not in conditions or bool((conditions["label"] < 0).any()):
            raise FromNoiseError("an image has no class: put each image into the subfolder of its class")
        u = rng.uniform(self.seed, places, step, rng.Stream.TRAIN_TIME)
        eps = rng.normal(self.seed, places, step, shape, rng.Stream.TRAIN_NOISE)
        return {"u": self.times.arrange(u, places, batch_size), "eps": eps, "label": conditions["label"].long()}

    def losses(self, x0: Tensor, drawn: Drawn) -> dict[str, Tensor]:
        t, weight = self.times.draw(drawn["u"], self.classifier.schedule)
        log_p = self.classifier(diffuse(x0, drawn["eps"], t), t)
        right = (log_p.detach().argmax(1) == drawn["label"]).float()
        loss = F.nll_loss(log_p, drawn["label"], reduction="none") * weight.to(log_p)
        return {"loss": loss, "accuracy": right}
