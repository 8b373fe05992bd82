"""Seconds of collectives: rings, and the latencies that NCCL itself reckons with.

A ring sends a tensor of S bytes over n devices in n - 1 steps of S/n bytes each (gathering, scattering) or in twice as
many (an all-reduce is both). Source: Patarasuk and Yuan 2009; `doc/PERFORMANCE.md` of nccl-tests, whose bus bandwidth
is `bandwidth` here.
"""

import math
from dataclasses import dataclass

from scale_stages.tracing import EXCHANGE, GATHER, REDUCE, SCATTER


def steps(kind: str, n: int) -> int:
    """Of a ring of n devices."""
    return 2 * (n - 1) if kind == REDUCE else n - 1


def sent(kind: str, size: float, n: int) -> float:
    """Bytes that each device sends: (n - 1)/n of the tensor for each of gathering and scattering."""
    return steps(kind, n) * size / n


def ring(kind: str, size: float, n: int, bandwidth: float, latency: float = 0.0, start: float = 0.0) -> float:
    """start + steps latency + sent / bandwidth.

    Args:
        size: bytes of the whole tensor.
        n: devices; 1 costs nothing.
        bandwidth: bytes a second out of a device, and into it at the same time.
        latency: seconds of a step.
        start: seconds before the first.
    """
    return 0.0 if n == 1 else start + steps(kind, n) * latency + sent(kind, size, n) / bandwidth


@dataclass(frozen=True)
class Protocol:
    """One of NCCL's ways to move bytes: seconds before the first step, and of a step in and between machines."""

    start: float
    inside: float
    between: float
    share: float = 1.0


RING = (Protocol(8.4e-6, 3.4e-6, 9.6e-6), Protocol(10e-6, 1.9e-6, 4.0e-6, 0.92))
"""NCCL's protocols Simple and LL128, as `src/graph/tuning.cc` has them (NVIDIA/nccl, commit 01afd20)."""
TREE = Protocol(4.4e-6, 1.2e-6, 8.5e-6, 0.9)
"""LL128 along a tree, which only an all-reduce takes; the share is of a ring's bandwidth."""


@dataclass(frozen=True)
class Network:
    """What links devices.

    Attributes:
        inside: bytes a second out of a device to others of its machine, as collectives reach them.
        between: bytes a second out of a machine for each of its devices.
        protocols: of a ring; the fastest is taken, as NCCL does.
        tree: of an all-reduce; None where there is none.
    """

    inside: float
    between: float
    protocols: tuple[Protocol, ...] = RING
    tree: Protocol | None = TREE

    def seconds(self, kind: str, size: float, per_node: int, nodes: int) -> float:
        """Of a collective over `nodes` machines with `per_node` devices each.

        A ring enters and leaves each machine once; several rings share the machine's links, so that a machine's whole
        bandwidth counts.
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
    """Links of this machine: seconds = start + slope x bytes of the whole tensor, of each kind, as measured."""

    fits: dict[str, tuple[float, float]]

    def seconds(self, kind: str, size: float, per_node: int, nodes: int) -> float:
        if per_node * nodes == 1:
            return 0.0
        start, slope = self.fits[kind if kind != EXCHANGE else GATHER]
        return start + slope * size


def line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """(start, slope) with the smallest relative errors at (size, seconds); a start below 0 is 0."""
    weights = [1 / t**2 for _, t in points]
    total = sum(weights)
    x = sum(w * s for w, (s, _) in zip(weights, points, strict=True)) / total
    y = sum(w * t for w, (_, t) in zip(weights, points, strict=True)) / total
    above = sum(w * (s - x) * (t - y) for w, (s, t) in zip(weights, points, strict=True))
    below = sum(w * (s - x) ** 2 for w, (s, _) in zip(weights, points, strict=True))
    slope = max(above / below, 0.0) if below else 0.0
    return max(y - slope * x, 0.0), slope


__all__ = ["GATHER", "REDUCE", "SCATTER", "Measured", "Network", "line", "ring", "sent", "steps"]
