"""The timeline of a device: a stream that computes, a stream that communicates, and their dependencies.

The order is that of the trace, which is PyTorch's own. FSDP2 gathers the next block while one is computed. In the
forward pass, a gather starts when the block before the last has copied its weights out of the buffer; in the backward
pass, when the last block has. Scatters and reductions start when the gradients before them are computed. The device
computes on, but not past a second scatter before the first is done, since FSDP2 keeps its buffer until then. The
reductions of hybrid sharding between machines use separate links.
"""

from dataclasses import dataclass
from typing import Protocol

from scale_stages.engine import Layout
from scale_stages.tracing import COMPUTED, EXCHANGE, GATHER, SCATTER, Event, Trace


class Clock(Protocol):
    launch: float

    def seconds(self, event: Event) -> float: ...


class Links(Protocol):
    def seconds(self, kind: str, size: float, per_node: int, nodes: int) -> float: ...


@dataclass(frozen=True)
class Timeline:
    """Seconds of a step.

    Attributes:
        step: from the start of the first operation to the end of the last.
        computing: total of all operations.
        moving: total of all collectives.
    """

    step: float
    computing: float
    moving: float

    @property
    def exposed(self) -> float:
        """Seconds in which the device does not compute."""
        return self.step - self.computing


def place(event: Event, layout: Layout) -> tuple[int, int]:
    """(devices per machine, machines) that a collective spans."""
    inside = layout.inside
    if layout.shard != "hybrid" or event.name == "agreement":
        return inside, layout.nodes
    return (inside, 1) if event.kind in (GATHER, SCATTER) or layout.nodes == 1 else (1, layout.nodes)


def simulate(trace: Trace, layout: Layout, clock: Clock, links: Links | None, overlap: bool = True) -> Timeline:
    """Simulate the timeline of a trace.

    Args:
        links: the links; None for a single device.
        overlap: whether collectives overlap with computation; with gloo on a busy CPU they do not.
    """
    now = host = computing = moving = 0.0
    free = {"inside": 0.0, "between": 0.0}
    done: list[float] = []
    kinds: list[str] = []
    gathered: list[int] = []  # numbers of the gathers
    taken: dict[int, float] = {}  # when the result of each gather was copied out
    scattered = 0.0
    for event in trace.events:
        if event.kind in COMPUTED:
            took = clock.seconds(event)
            host += clock.launch if event.moved else 0.0
            waits = [done[i] for i in event.waits if kinds[i] in (GATHER, EXCHANGE)]
            now = max([now, host, *waits]) + took
            computing += took
            taken |= dict.fromkeys(event.waits, now)
            continue
        per_node, nodes = place(event, layout)
        took = links.seconds(event.kind, event.size, per_node, nodes) if links else 0.0
        moving += took
        kinds.append(event.kind)
        lane = "between" if per_node == 1 and layout.shard == "hybrid" else "inside"
        if not overlap or event.name == "agreement":
            now = max(now, *free.values()) + took
            done.append(now)
            continue
        if event.kind == GATHER:
            window = 2 if event.phase == "forward" else 1
            before = gathered[-window] if len(gathered) >= window else None
            ready = taken.get(before, 0.0) if before is not None else 0.0
            gathered.append(len(done))
        elif event.kind == SCATTER:
            ready = now
            now = max(now, scattered)
        else:
            ready = max(now, done[-1]) if lane == "between" and done else now
        free[lane] = max(free[lane], ready) + took
        done.append(free[lane])
        if event.kind == SCATTER:
            scattered = free[lane]
        if event.phase == "update":
            now = max(now, free[lane])  # an optimiser waits for its own communication
    return Timeline(max(now, *free.values()), computing, moving)
