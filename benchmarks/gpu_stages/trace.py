"""Reads a profiler's trace: kernels by kind, the gaps between them, the copies between host and device.

The format is Chrome's trace format. On a CPU, operations take the place of kernels.
"""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KINDS = {
    "copies between host and device": r"memcpy (htod|dtoh)",
    "attention": r"flash|fmha|attention|sdpa|softmax",
    "change of layout": r"nchwtonhwc|nhwctonchw|converttensor|transpose|permute",
    "convolution": r"conv|fprop|dgrad|wgrad|implicit_gemm",
    "matrix product": r"gemm|cutlass|nvjet|matmul|addmm|aten::(mm|bmm|baddbmm)|splitk",
    "optimiser and averaging": r"multi_tensor|adam|lerp|foreach",
    "normalisation": r"norm|moments|welford|fusedparams|internalgradients|gammabeta",
    "fused by the compiler": r"triton",
    "dropout and random numbers": r"dropout|distribution|philox|bernoulli",
    "joining and copying": r"catarray|aten::cat|copy|memcpy|memset",
    "sums": r"reduce|sum",
    "element by element": r"elementwise|vectorized|silu|gelu|aten::(add|mul|div|sub|fill)",
}
"""Kind -> pattern of its kernels' names; the first match counts."""
EXPECTED = {"convolution", "matrix product", "attention"}
REMEDIES = {
    "copies between host and device": "pinned buffers that are kept, and what is constant left on the device",
    "optimiser and averaging": "a fused optimiser, and the averages in the same pass; matters less in larger batches",
    "normalisation": "compiling, which fuses it with what is around; or a kernel for channels_last that does SiLU too",
    "fused by the compiler": "fewer passes over the activations: what is left here is bound by memory",
    "change of layout": "one layout throughout: some layer works in the other and turns its input around",
    "dropout and random numbers": "compiling, which draws them inside of the next kernel",
    "joining and copying": "writing into the joined tensor at once, and one layout throughout; compiling helps",
    "sums": "compiling, which fuses sums with what makes their terms",
    "element by element": "compiling, which fuses passes over the same tensor",
    "gaps": "fewer and larger kernels, or CUDA graphs (`--compile on`), since the device waits for Python",
    "other": "to be looked at by name",
}


@dataclass(frozen=True)
class Event:
    """Something that the device did: its name, start and duration in seconds, and bytes copied."""

    name: str
    start: float
    seconds: float
    size: int = 0

    @property
    def kind(self) -> str:
        return next((kind for kind, words in KINDS.items() if re.search(words, self.name, re.I)), "other")


def read(path: Path, cuda: bool) -> list[Event]:
    """Read the device's events, ordered by start."""
    events = [e for e in json.loads(path.read_text())["traceEvents"] if e.get("ph") == "X" and "dur" in e]
    if cuda:
        chosen = [e for e in events if e.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    else:
        chosen = _own([e for e in events if e.get("cat") == "cpu_op"])
    made = [Event(e["name"], e["ts"] / 1e6, e["dur"] / 1e6, int(e.get("args", {}).get("bytes", 0))) for e in chosen]
    return sorted(made, key=lambda e: e.start)


def _own(events: list[dict]) -> list[dict]:
    """Operations with their own time, excluding the operations that they call."""
    by_thread = defaultdict(list)
    for event in events:
        by_thread[event["pid"], event["tid"]].append(dict(event))
    for found in by_thread.values():
        above: list[tuple[float, dict]] = []  # the enclosing operations, and when they end
        for event in sorted(found, key=lambda e: (e["ts"], -e["dur"])):
            while above and above[-1][0] <= event["ts"]:
                above.pop()
            end = event["ts"] + event["dur"]
            if above:
                above[-1][1]["dur"] -= event["dur"]
            above.append((end, event))
    return [event for found in by_thread.values() for event in found]


def busy(events: Sequence[Event]) -> float:
    """Seconds in which at least one event was running."""
    total, until = 0.0, float("-inf")
    for event in events:
        end = event.start + event.seconds
        total += max(0.0, end - max(event.start, until))
        until = max(until, end)
    return total


def span(events: Sequence[Event]) -> float:
    """Seconds from the first start to the last end."""
    return max(e.start + e.seconds for e in events) - events[0].start


def by(events: Sequence[Event], key: str) -> list[tuple[str, float, int]]:
    """(name or kind, seconds, count), the longest first."""
    seconds, count = defaultdict(float), defaultdict(int)
    for event in events:
        seconds[getattr(event, key)] += event.seconds
        count[getattr(event, key)] += 1
    return sorted(((k, s, count[k]) for k, s in seconds.items()), key=lambda item: -item[1])
