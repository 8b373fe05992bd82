"""Networks: plain torch modules, F(x, time) and autoencoders, which know nothing of diffusion."""

from typing import TYPE_CHECKING

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(
    __name__,
    "network",
    shared=("coder", "layers", "norm", "dropout", "twice", "recompute", "conditioning", "encoder", "spatial"),
)
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.nn.dit import DiT as DiT
    from fromnoise.nn.half_unet import HalfUNet as HalfUNet
    from fromnoise.nn.kl_autoencoder import KLAutoencoder as KLAutoencoder
    from fromnoise.nn.mlp import MLP as MLP
    from fromnoise.nn.patch_discriminator import PatchDiscriminator as PatchDiscriminator
    from fromnoise.nn.recompute import recompute_blocks as recompute_blocks
    from fromnoise.nn.twice import twice_differentiable as twice_differentiable
    from fromnoise.nn.unet import UNet as UNet
    from fromnoise.nn.vq_autoencoder import VQAutoencoder as VQAutoencoder
else:
    __getattr__, __dir__ = lazy_registry(registry, twice_differentiable="twice", recompute_blocks="recompute")
