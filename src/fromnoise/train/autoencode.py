"""The training task of autoencoders."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fromnoise.data.examples import Conditions, Examples
from fromnoise.data.feed import as_state
from fromnoise.data.images import to_uint8
from fromnoise.nn.coder import Autoencoder
from fromnoise.system import rng
from fromnoise.train.distributed import raw
from fromnoise.train.perceptual import perceptual
from fromnoise.train.task import Drawn, Task
from fromnoise.weights import describing


class Pair(nn.Module):
    """An autoencoder and its discriminator, which compute all terms of the loss in one forward pass.

    The discriminator learns to tell images from reconstructions (hinge loss), the autoencoder to make reconstructions
    that the discriminator takes for images. Each term holds the other network fixed, so that one backward pass and one
    optimiser serve both.

    Args:
        autoencoder: the autoencoder.
        discriminator: the discriminator; None trains without one.
    """

    def __init__(self, autoencoder: Autoencoder, discriminator: nn.Module | None):
        super().__init__()
        self.autoencoder, self.discriminator = autoencoder, discriminator

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(reconstructions, the terms of the loss by name, each [N])."""
        again, penalty = self.autoencoder(x, eps)
        terms = {"error": _each((again - x).abs()), "penalty": penalty}
        if self.discriminator is not None:
            held = {name: p.detach() for name, p in self.discriminator.named_parameters()}
            terms["fool"] = -_each(functional_call(self.discriminator, held, (again,)))
            real, fake = self.discriminator(x), self.discriminator(again.detach())
            terms["judge"] = _each(F.relu(1 - real)) + _each(F.relu(1 + fake))
        return again, terms


def _each(x: Tensor) -> Tensor:
    """The mean over each example's elements: [N], float32."""
    return x.float().flatten(1).mean(1)


class Autoencoding(Task):
    """mean |x - D(E(x))| + w_p LPIPS + w penalty + w_a fool + judge: the loss of latent diffusion's autoencoders.

    `fool` is the adversarial loss of the autoencoder, `judge` that of the discriminator. The perceptual term is off by
    default, because it needs the weights of VGG, which must be downloaded. Source: Esser et al. 2021, section 3.1;
    Rombach et al. 2022, appendix G.

    Args:
        pair: the autoencoder and the discriminator to train, in float32.
        seed: seed of the random numbers.
        shape: shape (c, h, w) of the latents.
        penalty: w, weight of the KL divergence, or of the codebook losses of a VQ autoencoder.
        adversarial: w_a.
        after: steps before `fool` counts; the discriminator learns from the first step.
        perceptual: w_p.
    """

    def __init__(
        self,
        pair: Pair,
        seed: int,
        shape: tuple[int, ...],
        penalty: float,
        adversarial: float = 0.0,
        after: int = 0,
        perceptual: float = 0.0,
    ):
        self.network: nn.Module = pair
        self.seed, self.shape = seed, tuple(shape)
        self.penalty, self.adversarial, self.after, self.perceptual = penalty, adversarial, after, perceptual

    @property
    def pair(self) -> Pair:
        return cast("Pair", raw(self.network))

    @property
    def model(self) -> nn.Module:
        return self.pair.autoencoder

    def describe(self) -> dict[str, Any]:
        return {describing.AUTOENCODER: describing.describe(self.pair.autoencoder)}

    def draw(self, shape: tuple[int, ...], conditions: Conditions, places: range, step: int, batch_size: int) -> Drawn:
        eps = rng.normal(self.seed, places, step, self.shape, rng.Stream.LATENT)
        weight = self.adversarial if step > self.after or not step else 0.0
        return {"eps": eps, "adversarial": torch.full((len(places),), weight)}

    def losses(self, x0: Tensor, drawn: Drawn) -> dict[str, Tensor]:
        again, terms = self.network(x0, drawn["eps"])
        total = terms["error"] + self.penalty * terms["penalty"]
        if self.perceptual:
            terms["perceptual"] = perceptual(again, x0)
            total = total + self.perceptual * terms["perceptual"]
        if "fool" in terms:
            total = total + drawn["adversarial"] * terms["fool"] + terms["judge"]
        return {"loss": total, **terms}

    def picture(self, source: Examples) -> tuple[Tensor, int | None] | None:
        """A grid with images in the first row and their reconstructions in the second."""
        x = as_state(source.examples(source.few(8))[0], None)
        weight = next(self.pair.parameters())
        with torch.no_grad():
            again = self.pair.autoencoder.decode(self.pair.autoencoder.encode(x.to(weight.device)))
        return to_uint8(torch.cat([x, again.float().cpu()])), len(x)
