"""Seconds of collectives: rings, with the latencies of NCCL's own model.

A ring sends a tensor of S bytes over n devices in n - 1 steps of S/n bytes each (all-gather, reduce-scatter), or in
twice as many (an all-reduce is both). Source: Patarasuk and Yuan 2009; `doc/PERFORMANCE.md` of nccl-tests, whose bus
bandwidth is `bandwidth` here.
"""

import math
from dataclasses import dataclass

from scale_stages.tracing import EXCHANGE, GATHER, REDUCE, SCATTER


def steps(kind: str, n: int) -> int:
    """Number of steps of a ring of n devices."""
    return 2 * (n - 1) if kind == REDUCE else n - 1


def sent(kind: str, size: float, n: int) -> float:
    """Bytes that each device sends: (n - 1)/n of the tensor for each gather or scatter."""
    return steps(kind, n) * size / n


def ring(kind: str, size: float, n: int, bandwidth: float, latency: float = 0.0, start: float = 0.0) -> float:
    """start + steps latency + sent / bandwidth.

    Args:
        size: bytes of the whole tensor.
        n: number of devices; with 1 the cost is 0.
        bandwidth: bytes per second out of a device, and at the same time into it.
        latency: seconds per step.
        start: seconds before the first step.
    """
    return 0.0 if n == 1 else start + steps(kind, n) * latency + sent(kind, size, n) / bandwidth


@dataclass(frozen=True)
class Protocol:
    """An NCCL protocol: seconds before the first step, and latency of a step inside and between machines."""

    start: float
    inside: float
    between: float
    share: float = 1.0


RING = (Protocol(8.4e-6, 3.4e-6, 9.6e-6), Protocol(10e-6, 1.9e-6, 4.0e-6, 0.92))
"""NCCL's protocols Simple and LL128, from `src/graph/tuning.cc` (NVIDIA/nccl, commit 01afd20)."""
TREE = Protocol(4.4e-6, 1.2e-6, 8.5e-6, 0.9)
"""LL128 along a tree, used only by all-reduce; `share` is relative to a ring's bandwidth."""


@dataclass(frozen=True)
class Network:
    """The links between devices.

    Attributes:
        inside: bytes per second that collectives reach out of a device to others of its machine.
        between: bytes per second out of a machine, per device.
        protocols: ring protocols; the fastest is used, as in NCCL.
        tree: tree protocol of an all-reduce; None if there is none.
    """

    inside: float
    between: float
    protocols: tuple[Protocol, ...] = RING
    tree: Protocol | None = TREE

    def seconds(self, kind: str, size: float, per_node: int, nodes: int) -> float:
        """Seconds of a collective over `nodes` machines with `per_node` devices each.

        A ring enters and leaves each machine once. Several rings share its links, so the whole bandwidth counts.
        """
        n = per_node * nodes
        if n == 1:
            return 0.0
        bandwidth = self.between * per_node if nodes > 1 else self.inside
        if per_node > 1:
            bandwidth = min(bandwidth, self.inside)
        between = steps(kind, nodes) if nodes > 1 else 0
        found = [p.start + (steps(kind, n) - between) * p.inside + between * p.between
                 + sent(kind, size, n) / (bandwidth * p.share) for p in self.protocols]  # fmt: skip
        if kind == REDUCE and self.tree is not None:
            t = self.tree
            latency = 2 * ((per_node - 1) * t.inside + math.log2(nodes) * t.between)
            found.append(t.start + latency + 2 * size / (bandwidth * t.share))
        return min(found)


@dataclass(frozen=True)
class Measured:
    """Measured links of this machine: for each kind, seconds = start + slope * bytes of the whole tensor."""

    fits: dict[str, tuple[float, float]]

    def seconds(self, kind: str, size: float, per_node: int, nodes: int) -> float:
        if per_node * nodes == 1:
            return 0.0
        start, slope = self.fits[kind if kind != EXCHANGE else GATHER]
        return start + slope * size


def line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Fit (start, slope) to points (size, seconds), minimising relative errors; a start below 0 becomes 0."""
    weights = [1 / t**2 for _, t in points]
    total = sum(weights)
    x = sum(w * s for w, (s, _) in zip(weights, points, strict=True)) / total
    y = sum(w * t for w, (_, t) in zip(weights, points, strict=True)) / total
    above = sum(w * (s - x) * (t - y) for w, (s, t) in zip(weights, points, strict=True))
    below = sum(w * (s - x) ** 2 for w, (s, _) in zip(weights, points, strict=True))
    slope = max(above / below, 0.0) if below else 0.0
    return max(y - slope * x, 0.0), slope


__all__ = ["GATHER", "REDUCE", "SCATTER", "Measured", "Network", "line", "ring", "sent", "steps"]
