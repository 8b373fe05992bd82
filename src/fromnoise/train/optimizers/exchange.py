"""Apply a function to whole matrices whose rows are distributed over processes."""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def by_owners(
    shards: Sequence[Tensor], rows: Sequence[int], group: dist.ProcessGroup, apply: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """apply(matrices [n, r, c]) for matrices of one shape that are sharded by rows.

    Each matrix is assembled on one process, which applies the function and sends every process its rows back. The
    matrices are distributed over the processes, so that work is shared and nothing is computed twice.

    Args:
        shards: this process's rows of each matrix, [r_own, c]; r_own may be 0.
        rows: number of rows that each process of the group holds.
        group: the processes, which must all call this with the same matrices in the same order.
        apply: a function of whole matrices that keeps their shape.

    Returns:
        This process's rows of each result.
    """
    world, own = dist.get_world_size(group), dist.get_rank(group)
    width = shards[0].shape[1]
    of = [range(owner, len(shards), world) for owner in range(world)]  # the matrices of each owner
    mine = len(of[own])
    sent = torch.cat([torch.stack([shards[i] for i in one]).flatten() for one in of if len(one)])
    out_sizes = [len(one) * rows[own] * width for one in of]
    in_sizes = [mine * r * width for r in rows]
    there = sent.new_empty(sum(in_sizes))
    dist.all_to_all_single(there, sent, in_sizes, out_sizes, group=group)
    if mine:
        blocks = [part.view(mine, r, width) for part, r in zip(there.split(in_sizes), rows, strict=True)]
        done = apply(torch.cat(blocks, 1)).to(sent.dtype)
        there = torch.cat([part.reshape(-1) for part in done.split(list(rows), 1)])
    back = torch.empty_like(sent)
    dist.all_to_all_single(back, there, out_sizes, in_sizes, group=group)
    found: dict[int, Tensor] = {}
    for one, part in zip(of, back.split(out_sizes), strict=True):
        found |= dict(zip(one, part.view(len(one), rows[own], width).unbind(), strict=True)) if len(one) else {}
    return [found[i] for i in range(len(shards))]
