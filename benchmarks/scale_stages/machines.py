"""Devices and their links: data-sheet figures and measurements, each with its source."""

from dataclasses import dataclass

from fromnoise.errors import unknown
from scale_stages.collectives import Network
from scale_stages.tracing import Event

UTILISATION = 0.28
"""Share of a device's 16-bit data-sheet rate that a whole training step reaches. `dit-xl-2` trained with 389 images/s
on an H200 (docs/performance.md: eager, batch 64, 41 % of the rate of a large product), at 716 GFLOP per image. It is
assumed for every device and network, and fitted to nothing else."""
OF_PRODUCT = 0.41
"""The same utilisation, as a share of the rate of one large matrix product on that H200."""


@dataclass(frozen=True)
class Device:
    """An accelerator.

    Attributes:
        peak: dense 16-bit FLOP/s from the data sheet.
        bandwidth: memory bandwidth in bytes per second, from the data sheet.
        memory: memory in bytes.
        network: its links to other devices; None if no step is simulated on it.
        launch: seconds for the host to launch an operation without compilation.
        price: dollars per hour.
        source: source of the figures.
    """

    name: str
    peak: float
    bandwidth: float
    memory: float
    network: Network | None
    launch: float
    price: float
    source: str

    @property
    def product(self) -> float:
        """FLOP/s of one large product in bf16."""
        return self.peak * UTILISATION / OF_PRODUCT


HGX = Network(inside=360e9, between=47e9)
"""NVLink 4: 360 GB/s measured, 370 expected, of 450 (NVIDIA/nccl-tests issues 326 and 212). One NDR InfiniBand port of
400 Gb/s for each GPU: 46 to 48 GB/s (issue 290)."""
PRICE = 2.5
"""Dollars per H100 and hour: the lower end of specialised clouds' offers of May 2026, $2.50 to $3.50 (mercatus-ai.com,
"Cloud GPU pricing"); large clouds ask for $3.50 to $5.00. Your price may differ; costs are proportional to it."""

DEVICES = {
    d.name: d
    for d in (
        Device("h100", 989e12, 3.35e12, 80e9, HGX, 45e-6, PRICE, "NVIDIA H100 SXM data sheet"),
        Device("h200", 989e12, 4.8e12, 141e9, HGX, 45e-6, 1.4 * PRICE, "NVIDIA H200 SXM data sheet; starting an "
               "operation: 40 to 50 us on the host of docs/performance.md"),
        Device("a100", 312e12, 2.0e12, 80e9, None, 10e-6, 1.5, "NVIDIA A100 80 GB SXM data sheet"),
        Device("v100", 120e12, 0.9e12, 32e9, None, 10e-6, 0.0, "120 TFLOP/s as Dhariwal and Nichol 2021 take it"),
        Device("tpu-v3", 123e12, 0.9e12, 32 * 2**30, None, 0.0, 0.0, "a chip, of two cores (cloud.google.com/tpu/docs/"
               "v3); a slice's name counts cores, so that v3-256 has 128 chips"),
    )
}  # fmt: skip


def device(name: str) -> Device:
    """Return a device by name.

    Raises:
        FromNoiseError: if there is none with this name and known links.
    """
    known = {n: d for n, d in DEVICES.items() if d.network is not None}
    if name not in known:
        raise unknown("device", name, known)
    return known[name]


@dataclass(frozen=True)
class Utilised:
    """Times an operation by its FLOPs at a share of the peak; the update also by its memory traffic."""

    of: Device
    share: float = UTILISATION
    launch: float = 0.0

    def seconds(self, event: Event) -> float:
        if event.phase == "update" or event.name.startswith(("fsdp.", "DDP.")):  # not part of the measured step
            return event.flops / self.of.product + event.moved / self.of.bandwidth
        return event.flops / (self.of.peak * self.share)


@dataclass(frozen=True)
class Roofline:
    """Times an operation by its FLOPs at the rate of a large product or its bytes at the memory's rate, whichever takes
    longer. No operation starts before the host has launched all earlier ones."""

    of: Device
    launch: float

    def seconds(self, event: Event) -> float:
        return max(event.flops / self.of.product, event.moved / self.of.bandwidth)


@dataclass(frozen=True)
class Timed:
    """Times each operation as measured on this machine at its shapes; operations that were not timed, by their bytes.

    Attributes:
        times: seconds by `Event.key`.
        bandwidth: memory bandwidth in bytes per second.
    """

    times: dict
    bandwidth: float
    launch: float = 0.0

    def seconds(self, event: Event) -> float:
        return self.times[event.key] if event.key in self.times else event.moved / self.bandwidth
