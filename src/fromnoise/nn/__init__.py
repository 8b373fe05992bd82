"""Networks: plain torch modules, either F(x, time) or autoencoders, that know nothing of diffusion."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(
    __name__,
    "network",
    shared=(
        "blocks",
        "coder",
        "conditioning",
        "dropout",
        "encoder",
        "fused_norm",
        "layers",
        "norm",
        "recompute",
        "spatial",
        "spatial_transformer",
        "twice",
        "words",
    ),
)
names, get = registry.names, registry.get


def build(spec: str | Mapping[str, Any], **defaults: Any) -> Any:
    """Build a network from its name, or from {"name": ..., option: value}; see `Registry.build`.

    Raises:
        FromNoiseError: the name or an option is unknown or invalid; or the weights do not fit into memory, which is
            checked before any memory is allocated.
    """
    from fromnoise.nn import _budget

    name = spec if isinstance(spec, str) else spec.get("name")
    _budget.check(lambda: registry.build(spec, **defaults), f"network {name}")
    return registry.build(spec, **defaults)


def blank(spec: str | Mapping[str, Any]) -> Any:
    """Build a network as `build` does, but leave its weights uninitialised: for weights that are loaded from a file.

    Raises:
        FromNoiseError: see `build`.
    """
    from fromnoise.nn import _budget

    with _budget.Unfilled("normal_", "uniform_", "zero_", "fill_", init=True):
        return build(spec)


if TYPE_CHECKING:
    from fromnoise.nn.control import Control as Control
    from fromnoise.nn.dit import DiT as DiT
    from fromnoise.nn.half_unet import HalfUNet as HalfUNet
    from fromnoise.nn.image_text import ImageTextNetwork as ImageTextNetwork
    from fromnoise.nn.kl_autoencoder import KLAutoencoder as KLAutoencoder
    from fromnoise.nn.mlp import MLP as MLP
    from fromnoise.nn.patch_discriminator import PatchDiscriminator as PatchDiscriminator
    from fromnoise.nn.recompute import recompute_blocks as recompute_blocks
    from fromnoise.nn.twice import twice_differentiable as twice_differentiable
    from fromnoise.nn.unet import UNet as UNet
    from fromnoise.nn.vq_autoencoder import VQAutoencoder as VQAutoencoder
else:
    __getattr__, __dir__ = lazy_registry(registry, twice_differentiable="twice", recompute_blocks="recompute")
