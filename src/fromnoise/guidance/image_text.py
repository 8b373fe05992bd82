"""An image-text model: how well a text matches a noisy state, at every level."""

import torch
from torch import Tensor, nn

from fromnoise import registry
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.nn.image_text import ImageTextNetwork
from fromnoise.nn.text.base import TextEncoder
from fromnoise.schedules.base import Schedule
from fromnoise.system import checks


class ImageText(nn.Module):
    """x_t, t, texts -> e^s u'w [N, M]: fully trained, it equals log p(text | x_t) / p(text) up to a constant.

    Its gradient with respect to x_t is then that of log p(text | x_t), so it can steer any denoiser by Bayes' rule,
    even one without text conditioning (CLIP guidance: Nichol et al. 2021, arXiv 2112.10741, section 2.3). At the clean
    level it measures how well images and captions agree.

    Args:
        network: an `nn.ImageTextNetwork`.
        schedule: the schedule of the model to steer.
        shape: shape of one state.
        text: the text encoder.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, shape: tuple[int, ...], text: TextEncoder) -> None:
        checks.instance("network", network, ImageTextNetwork)
        checks.instance("schedule", schedule, Schedule)
        checks.instance("text", text, TextEncoder)
        super().__init__()
        self.network, self.schedule, self.shape, self.text = network, schedule, tuple(shape), text

    def seen(self, x_t: Tensor, t: Level | float | Tensor) -> tuple[Tensor, Tensor]:
        """The network's input: the states scaled to alpha^2 + sigma^2 = 1, in the network's type, and the times [N]."""
        t = t if isinstance(t, Level) else self.schedule.level(t)
        checks.state("x_t", x_t, self.shape)
        time = self.schedule.network_time(t).to(x_t.device, non_blocking=True).expand(len(x_t))
        weight = next(self.network.parameters())
        return (like((t.alpha**2 + t.sigma**2).rsqrt(), x_t) * x_t).to(weight.dtype), time

    def forward(self, x_t: Tensor, t: Level | float | Tensor, texts: list[str] | Tensor) -> Tensor:
        """e^s u'w, float32 [N, M]; t: a level or a time, scalar or [N]; texts: strings, or their encodings.

        Raises:
            FromNoiseError: the states have another shape, or the encoder refuses the texts.
        """
        return self._network.scale.float() * self.of_states(x_t, t) @ self.of_texts(texts).mT

    def of_states(self, x_t: Tensor, t: Level | float | Tensor) -> Tensor:
        """u, the unit vectors of the states, float32 [N, D]."""
        return self._network.of_states(*self.seen(x_t, t))

    def of_texts(self, texts: list[str] | Tensor) -> Tensor:
        """w, the unit vectors of the texts, float32 [M, D]."""
        encoded = texts if isinstance(texts, Tensor) else self.text(texts)
        return self._network.of_texts(encoded.to(next(self.network.parameters()).device))

    def log_prob(self, x_t: Tensor, t: Level, cond: Cond | None) -> Tensor:
        """log p(text | x_t) of each sample's own text up to a constant, [B]; differentiable with respect to x_t.

        Raises:
            FromNoiseError: `cond` has no text.
        """
        if cond is None or "text" not in cond:
            raise FromNoiseError("guidance by an image-text model steers towards a text: give one")
        u, w, scale = self.network(*self.seen(x_t, t), cond["text"])
        return scale.float() * (u * w).sum(1)

    def check(self, denoiser: Denoiser) -> None:
        """Check, before the first network call, that this model fits the denoiser that it steers.

        Raises:
            FromNoiseError: the two differ in shape, schedule or text encoder.
        """
        way = "train one with recipe emoji-image-text and the same data and schedule"
        if self.shape != denoiser.shape:
            raise FromNoiseError(f"the image-text model takes states {list(self.shape)}, but the model draws "
                                 f"{list(denoiser.shape or ())}: {way}")  # fmt: skip
        if registry.spec(self.schedule) != registry.spec(denoiser.schedule):
            raise FromNoiseError(f"the image-text model knows the levels of {registry.spec(self.schedule)}, but the "
                                 f"model samples those of {registry.spec(denoiser.schedule)}: {way}")  # fmt: skip
        if denoiser.text is not None and not self.text.reads_as(denoiser.text):
            raise FromNoiseError("the image-text model and the denoiser have different text encoders: train both on "
                                 "the same captions and text.encoder")  # fmt: skip

    @property
    def _network(self) -> ImageTextNetwork:
        assert isinstance(self.network, ImageTextNetwork)
        return self.network


def contrastive(similarity: Tensor) -> Tensor:
    """-1/2 log softmax over the row - 1/2 log softmax over the column, at each diagonal entry: [N, N] -> [N].

    This is the contrastive loss of two classifications: which of the N texts belongs to a state, and which of the N
    states belongs to a text. The optimal similarity is log p(x, text) / (p(x) p(text)) up to a constant. Source:
    Radford et al. 2021 (arXiv 2103.00020), figure 3.
    """
    own = torch.arange(len(similarity), device=similarity.device)
    rows = nn.functional.cross_entropy(similarity, own, reduction="none")
    return (rows + nn.functional.cross_entropy(similarity.mT, own, reduction="none")) / 2
