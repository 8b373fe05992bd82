"""Training an autoencoder."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fromnoise import rng
from fromnoise.hardware import Hardware
from fromnoise.nn.coder import Autoencoder
from fromnoise.train.distributed import Processes
from fromnoise.train.perceptual import perceptual
from fromnoise.train.task import Drawn, Task


class Pair(nn.Module):
    """An autoencoder and its adversary, in one forward pass: all terms of each example.

    The adversary's gradient is that of telling images from reconstructions (hinge loss), the autoencoder's that of
    being taken for an image; each sees the other as it is, so that one backward pass and one optimiser serve both.
    """

    def __init__(self, autoencoder: Autoencoder, discriminator: nn.Module | None):
        super().__init__()
        self.autoencoder, self.discriminator = autoencoder, discriminator

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(reconstructions, the terms of each example, [N])."""
        again, penalty = self.autoencoder(x, eps)
        terms = {"error": _each((again - x).abs()), "penalty": penalty}
        if self.discriminator is not None:
            held = {name: p.detach() for name, p in self.discriminator.named_parameters()}
            terms["fool"] = -_each(functional_call(self.discriminator, held, (again,)))
            real, fake = self.discriminator(x), self.discriminator(again.detach())
            terms["judge"] = _each(F.relu(1 - real)) + _each(F.relu(1 + fake))
        return again, terms


def _each(x: Tensor) -> Tensor:
    """The mean of each example, float32."""
    return x.float().flatten(1).mean(1)


class Autoencoding(Task):
    """mean |x - D(E(x))| + w_p LPIPS + w penalty + w_a fool + judge: the loss of latent diffusion's autoencoders.

    The perceptual term is left out unless it is given a weight, since VGG must be downloaded for it. Source: Esser et
    al. 2021, section 3.1; Rombach et al. 2022, appendix G.

    Args:
        pair: what is trained, in float32.
        seed: of the draws.
        shape: (c, h, w) of the latents.
        penalty: w, of KL's divergence or VQ's codebook and commitment.
        adversarial: w_a.
        after: steps before the adversary counts; it learns from the first.
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
        self._step, self._seen = 0, {}

    def draw(self, x0: Tensor, labels: Tensor, places: range, step: int, batch_size: int) -> Drawn:
        self._step, self._seen = step, {}
        return {"eps": rng.normal(self.seed, places, step, self.shape, rng.Stream.LATENT)}

    def losses(self, x0: Tensor, drawn: Drawn, hardware: Hardware) -> Tensor:
        x0 = hardware.put(x0)
        again, terms = self.network(x0, hardware.put(drawn["eps"]))
        if self.perceptual:
            terms["perceptual"] = perceptual(again, x0)
        for name, term in terms.items():
            self._seen.setdefault(name, []).append(term.detach().mean())
        total = terms["error"] + self.penalty * terms["penalty"]
        if self.perceptual:
            total = total + self.perceptual * terms["perceptual"]
        if "fool" in terms:
            weight = self.adversarial if self._step > self.after else 0.0
            total = total + weight * terms["fool"] + terms["judge"]
        return total

    def finish(self, step: int, places: range, batch_size: int, processes: Processes) -> None:
        """The terms of this process' share, for the metrics."""
        self._seen = {name: [sum(parts) / len(parts)] for name, parts in self._seen.items()}

    def figures(self) -> dict[str, Any]:
        return {name: float(parts[0]) for name, parts in self._seen.items()}
