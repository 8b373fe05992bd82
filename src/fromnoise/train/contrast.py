"""The training task of image-text models on noisy images."""

from typing import Any

import torch
from torch import Tensor, nn

from fromnoise import times
from fromnoise.data.examples import Conditions
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import diffuse
from fromnoise.guidance.image_text import ImageText, contrastive
from fromnoise.system import rng
from fromnoise.times.base import TimeSampling
from fromnoise.train.task import Drawn, Task
from fromnoise.weights import describing

_COMPARED = 512
"""Most held-out examples that are compared with each other, for any number of processes."""


class Contrasting(Task):
    """The contrastive loss between x_t = alpha_t x_0 + sigma_t eps and the captions, within one part of the batch.

    With several processes or accumulated gradients, examples are compared only within their part of the batch; a larger
    part is a harder task. Source: Radford et al. 2021 (arXiv 2103.00020); Nichol et al. 2021 (arXiv 2112.10741),
    section 2.3.

    Args:
        model: the image-text model to train, in float32.
        seed: seed of the random numbers.
        time: the distribution of the noise levels, whose weight multiplies the loss; default: stratified.

    Raises:
        FromNoiseError: the time distribution adapts to the losses, which is supported only for denoisers.
    """

    on_cpu = frozenset({"u"})

    def __init__(self, model: ImageText, seed: int, time: TimeSampling | None = None):
        self.image_text, self.seed = model, seed
        self.times: TimeSampling = time or times.build("stratified")
        if self.times.watches:
            raise FromNoiseError("times: those of an image-text model cannot adapt to its losses: use uniform or "
                                 "stratified")  # fmt: skip

    @property
    def network(self) -> nn.Module:  # pyrefly: ignore[bad-override]
        return self.image_text.network

    @network.setter
    def network(self, network: nn.Module) -> None:
        self.image_text.network = network

    @property
    def model(self) -> nn.Module:
        return self.image_text

    def describe(self) -> dict[str, Any]:
        return {describing.IMAGE_TEXT: describing.describe(self.image_text)}

    def check_parts(self, size: int) -> None:
        if size < 2:
            raise FromNoiseError("batch_size: an image-text model compares the examples within a part of the batch, "
                                 f"but a part is {size}: raise it")  # fmt: skip

    def together(self, batch_size: int) -> int:
        return min(batch_size, _COMPARED)

    def draw(self, shape: tuple[int, ...], conditions: Conditions, places: range, step: int, batch_size: int) -> Drawn:
        if "text" not in conditions:
            raise FromNoiseError("data: an image-text model learns from captions: give data.Worded(examples, encoder)")
        u = rng.uniform(self.seed, places, step, rng.Stream.TRAIN_TIME)
        eps = rng.normal(self.seed, places, step, shape, rng.Stream.TRAIN_NOISE)
        return {"u": self.times.arrange(u, places, batch_size), "eps": eps, "text": conditions["text"]}

    def losses(self, x0: Tensor, drawn: Drawn) -> dict[str, Tensor]:
        t, weight = self.times.draw(drawn["u"], self.image_text.schedule)
        u, w, scale = self.network(*self.image_text.seen(diffuse(x0, drawn["eps"], t), t), drawn["text"])
        similarity = scale.float() * u @ w.mT
        own = torch.arange(len(x0), device=similarity.device)
        right = (similarity.detach().argmax(1) == own).float()
        return {"loss": contrastive(similarity) * weight.to(similarity), "accuracy": right}
