"""The blocks of a network: the units of gradient checkpointing and of sharding."""

from collections.abc import Iterator

from torch import nn


def blocks(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network, inner ones first.

    For a network that has none of fromnoise's blocks, these are the elements of its outermost `nn.ModuleList`s.
    """
    from fromnoise.nn.dit import Block
    from fromnoise.nn.layers import ResidualBlock, SelfAttention
    from fromnoise.nn.mlp import DenseBlock
    from fromnoise.nn.spatial_transformer import SpatialTransformer

    kinds = ResidualBlock | SelfAttention | SpatialTransformer | Block | DenseBlock
    found: list[nn.Module] = [m for m in network.modules() if isinstance(m, kinds)]
    if not found:
        found = list(_elements(network))
    return found[::-1]


def _elements(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _elements(child)
