"""The blocks of a network: what is computed again, or gathered from other processes, as one."""

from collections.abc import Iterator

from torch import nn


def blocks(network: nn.Module) -> list[nn.Module]:
    """Those of our networks, inner ones first; of any other network the elements of its outermost lists of modules."""
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
