"""A recipe's network, its parameters and the inputs of a training step; of any size, since it takes no memory."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import fromnoise as fn
from fromnoise.errors import FromNoiseError
from fromnoise.nn.norm import GroupNormSiLU


@dataclass
class Workload:
    """What is trained.

    Attributes:
        name: name of the recipe.
        network: the network on the meta device, with weights in the trainer's memory format.
        shape: shape of an example.
        loss: computes the scalar loss from the network, wrapped or not, and a number n of random examples.
        config: the recipe's configuration.
        left_out: parts of a real step that are not simulated, in words.
    """

    name: str
    network: nn.Module
    shape: tuple[int, ...]
    loss: Callable[[nn.Module, int], Tensor]
    config: Any
    left_out: str = ""

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())


def load(recipe: str, changes: Mapping[str, Any] | None = None, shape: tuple[int, ...] | None = None) -> Workload:
    """Return the workload of a recipe, with changes by dotted keys.

    Args:
        recipe: name of the recipe.
        changes: changed values.
        shape: shape of an example, (C, H, W), if the recipe takes it from its data.

    Raises:
        FromNoiseError: if it is not a denoiser or an autoencoder, or its step also calls other networks.
    """
    return of(fn.recipes.load(recipe).with_changes(changes or {}), shape)


def of(config, shape: tuple[int, ...] | None = None) -> Workload:
    """Return the workload of a configuration. See `load`."""
    if config.kind == "autoencoder":
        return _autoencoder(config, shape)
    if config.kind != "diffusion":
        raise FromNoiseError(f"recipe {config.recipe}: is {config.what}; denoisers and autoencoders are simulated")
    if config.distill is not None or config.is_branch or config.stages:
        raise FromNoiseError(f"recipe {config.recipe}: a step of it calls other networks, or it is several models: "
                             "take a recipe of one denoiser")  # fmt: skip
    with of_any_size(), torch.device("meta"):
        denoiser = config.build(shape)
    network = _laid_out(denoiser.network)
    size = tuple(denoiser.shape)

    def loss(called: nn.Module, n: int) -> Tensor:
        x, target = torch.randn(n, *size), torch.randn(n, *size)
        out = called(x, torch.rand(n) * 999, **_conditions(network, size, n))
        return (out.float()[:, : size[0]] - target).square().flatten(1).mean(1).mean()

    return Workload(config.recipe, network, size, loss, config)


@contextmanager
def of_any_size() -> Iterator[None]:
    """Allow networks larger than this machine's memory inside the block, where they take none."""
    before = os.environ.get("FROMNOISE_MEMORY")
    os.environ["FROMNOISE_MEMORY"] = "1e9"
    try:
        yield
    finally:
        os.environ.pop("FROMNOISE_MEMORY")
        if before is not None:
            os.environ["FROMNOISE_MEMORY"] = before


def _conditions(network: nn.Module, size: tuple[int, ...], n: int) -> dict[str, Tensor]:
    """The conditioning of the network: its inputs besides x and the time."""
    given: dict[str, Tensor] = {}
    if getattr(network, "classes", None):
        given["label"] = torch.randint(network.classes, (n,))
    if getattr(network, "image_channels", 0):
        given["image"] = torch.randn(n, network.image_channels, *size[1:])
    if getattr(network, "strength", None) is not None:
        given["strength"] = torch.rand(n) * 999
    if (text := getattr(network, "text", None)) is not None:
        given["text"] = (torch.randn(n, 1 + text.length, text.width) if text.vocabulary is None
                         else torch.randint(1, text.vocabulary, (n, text.length)))  # fmt: skip
    if getattr(network, "augment", None) is not None:
        given["augment"] = torch.zeros(n, 9)
    if (layer := getattr(network, "image_embedding", None)) is not None:
        given["image_embedding"] = torch.randn(n, layer.in_features)
    return given


def _autoencoder(config, shape: tuple[int, ...] | None) -> Workload:
    from fromnoise.train import Pair

    if shape is None and (config.data.reduced is None or config.data.channels is None):
        raise FromNoiseError(f"recipe {config.recipe} takes its size from the data: give a shape C,H,W")
    size = shape or (config.data.channels, *config.data.reduced)
    with of_any_size(), torch.device("meta"):
        adversary, discriminator = None, config.loss.discriminator
        if discriminator is not None:
            adversary = fn.nn.build(discriminator, in_channels=size[0])
        autoencoder = config.build(size[0])
        network = _laid_out(Pair(autoencoder, adversary))
    latent = autoencoder.latent_shape(size)
    weight, penalty = config.loss.adversarial, config.loss.penalty

    def loss(called: nn.Module, n: int) -> Tensor:
        _, terms = called(torch.randn(n, *size), torch.randn(n, *latent))
        total = terms["error"] + penalty * terms["penalty"]
        if "fool" in terms:
            total = total + weight * terms["fool"] + terms["judge"]
        return total.mean()

    out = "LPIPS, whose network is not ours" if config.loss.perceptual else ""
    return Workload(config.recipe, network, size, loss, config, out)


def _laid_out(network: nn.Module) -> nn.Module:
    """Put convolution kernels into channels_last, as the trainer does."""
    for p in network.parameters():
        if p.dim() == 4:
            p.data = p.data.to(memory_format=torch.channels_last)
    return network


class _Fused(torch.autograd.Function):
    """Stands for fromnoise's CUDA kernel: reads, writes and keeps the same tensors, with other numbers."""

    @staticmethod
    def forward(ctx, x, weight, bias, groups):
        y = x.clone()
        mean, rstd = torch.empty(2, x.shape[0], groups)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, bias, _, _ = ctx.saved_tensors
        return torch.mul(grad, x), torch.empty_like(weight), torch.empty_like(bias), None


class as_on_cuda:
    """Inside the block, group normalisation behaves as on CUDA, where fromnoise's own kernel keeps its input."""

    def __enter__(self):
        self.forward = GroupNormSiLU.forward

        def forward(norm, x):
            return _Fused.apply(x, norm.weight, norm.bias, norm.groups)

        GroupNormSiLU.forward = forward

    def __exit__(self, *error):
        GroupNormSiLU.forward = self.forward
