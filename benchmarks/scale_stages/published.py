"""Published figures, and predictions of them.

Device days are FLOPs divided by the data-sheet rate and one assumed utilisation, which was measured with fromnoise on
an H200; nothing is fitted to the published figures. `source` says where each figure is from; all were looked up, and
second-hand figures are marked.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

import fromnoise as fn
from scale_stages import engine, machines, tables, workloads
from scale_stages.collectives import GATHER, Network
from scale_stages.engine import Layout
from scale_stages.timeline import simulate
from scale_stages.tracing import SCATTER, Event, Trace

ADM = {"network.blocks": 2, "network.channels": 256, "network.dropout": 0.0}
UP = {"network.channels": 192, "network.mult": [1, 1, 2, 2, 4, 4], "network.blocks": 2, "network.dropout": 0.0,
      "network.image_channels": 3, "network.image_strength": False}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A published network, described by a recipe.

    Attributes:
        millions: published number of parameters, in millions.
        flops: published FLOPs per image: forward multiply-adds, or both passes if `both`.
    """

    name: str
    recipe: str
    shape: tuple[int, int, int]
    millions: float
    source: str
    flops: float | None = None
    both: bool = False
    changes: dict[str, Any] = field(default_factory=dict)


def _adm(images_a_second: float) -> float:
    """FLOPs per image, from images per second on a V100 at its full 120 TFLOP/s."""
    return 120e12 / images_a_second


DIT, TABLE7 = "Peebles and Xie (arXiv 2212.09748)", "Dhariwal and Nichol (arXiv 2105.05233)"
SIZES = f"{DIT}, section 5: 118.6; the rest second-hand"
MODELS = {
    m.name: m
    for m in (
        Model("DiT-XL/2, 256 px", "dit-xl-2", (4, 32, 32), 675, SIZES, 118.64e9),
        Model("DiT-XL/2, 512 px", "dit-xl-2", (4, 64, 64), 675, f"{DIT}, second-hand", 524.60e9),
        Model("ADM 64", "adm-imagenet-64", (3, 64, 64), 296, f"{TABLE7}, tables 7 and 11", _adm(182.3), True),
        Model("ADM 128", "adm-imagenet-64", (3, 128, 128), 422, f"{TABLE7}, tables 7 and 11", _adm(65.2), True,
              ADM | {"network.mult": [1, 1, 2, 3, 4], "network.attention": [4, 8, 16], "network.head_channels": None,
                     "network.heads": 4}),
        Model("ADM 256", "adm-imagenet-256", (3, 256, 256), 554, f"{TABLE7}, tables 7 and 11", _adm(17.9), True),
        Model("ADM 512", "adm-imagenet-64", (3, 512, 512), 559, f"{TABLE7}, table 11",
              changes=ADM | {"network.channels": 128, "network.mult": [1, 2, 2, 4, 4, 8, 8], "network.time_width": 1024,
                             "network.time_features": 256, "network.attention": [16, 32, 64]}),
        Model("ADM 64 to 256", "adm-imagenet-64", (3, 256, 256), 312, f"{TABLE7}, tables 7 and 13", _adm(31.7), True,
              UP | {"network.attention": [8, 16, 32], "network.head_channels": None, "network.heads": 4}),
        Model("ADM 128 to 512", "adm-imagenet-64", (3, 512, 512), 309, f"{TABLE7}, tables 7 and 13", _adm(8.0), True,
              UP | {"network.attention": [16, 32]}),
        Model("DDPM, CIFAR-10", "ddpm-cifar10", (3, 32, 32), 35.7, "Ho et al. (arXiv 2006.11239), appendix B"),
        Model("DDPM, 256 px", "ddpm-celebahq-256", (3, 256, 256), 114, "Ho et al. (arXiv 2006.11239), appendix B"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A published training.

    Attributes:
        images: number of training images processed.
        chips: number of devices of the type `device`.
        days: how many days they took.
        again: 4/3 with gradient checkpointing.
        encoded: whether each step also encodes images with Stable Diffusion's autoencoder.
    """

    name: str
    model: str
    images: float
    device: str
    chips: int
    days: float
    source: str
    again: float = 1.0
    encoded: bool = False


def _days(images: float, a_second: float) -> float:
    return images / a_second / 86400


RUNS = (
    Run("DiT-XL/2, 7 M steps of 256", "DiT-XL/2, 256 px", 7e6 * 256, "tpu-v3", 128, 7e6 / 5.7 / 86400,
        f"{DIT}, section 4: 5.7 steps/s on a TPU v3-256, 128 chips; 2 images a chip", encoded=True),
    Run("fast-DiT, XL/2, batch 128", "DiT-XL/2, 256 px", 0.84 * 128 * 86400, "a100", 1, 1.0,
        "chuanyangjin/fast-DiT, README: 0.84 steps/s on an A100, mixed precision, gradient checkpointing, latents "
        "from a file", again=4 / 3),
    Run("ADM 64, 540 k steps of 2048", "ADM 64", 540e3 * 2048, "v100", 1, _days(540e3 * 2048, 74.1),
        f"{TABLE7}, table 7: 74.1 images/s on a V100; days are images over that rate"),
    Run("ADM 128, 4360 k steps of 256", "ADM 128", 4360e3 * 256, "v100", 1, 521, f"{TABLE7}, table 10"),
    Run("ADM 256, 1980 k steps of 256", "ADM 256", 1980e3 * 256, "v100", 1, 916, f"{TABLE7}, table 10"),
    Run("ADM 128 to 512, 1050 k steps of 256", "ADM 128 to 512", 1050e3 * 256, "v100", 1, 1878 - 521,
        f"{TABLE7}, table 10: 1878 with the 521 of ADM 128"),
    Run("EDM, ADM 64, 2.5 G images", "ADM 64", 2.5e9, "a100", 32, 13, "NVlabs/edm, README: about 13 days"),
    Run("DDPM, CIFAR-10, 800 k steps of 128", "DDPM, CIFAR-10", 800e3 * 128, "tpu-v3", 4, 10.6 / 24,
        "Ho et al. (arXiv 2006.11239), appendix B: 10.6 h on a TPU v3-8, 4 chips"),
    Run("DDPM, 256 px, 500 k steps of 64", "DDPM, 256 px", 500e3 * 64, "tpu-v3", 4, 500e3 / 2.2 / 86400,
        "Ho et al. (arXiv 2006.11239), appendix B: 2.2 steps/s on the same"),
)  # fmt: skip


def counted(recipe: str, changes: dict[str, Any], shape: tuple[int, ...]) -> tuple[int, float, float]:
    """(parameters, forward FLOPs per image, FLOPs of both passes per image)."""
    workload = workloads.load(recipe, changes, shape)
    parameters, n = workload.parameters, 2
    trace = engine.traced(workload, Layout(batch=n, precision="fp32", ema=False))
    both = trace.flops(phase="forward") + trace.flops(phase="backward")
    return parameters, trace.flops(phase="forward") / n, both / n


def encoder_flops(recipe: str = "kl-f8", side: int = 256) -> float:
    """FLOPs of encoding one image."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = fn.recipes.load(recipe).build(3)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.encode(torch.empty(1, 3, side, side))
    return float(counter.get_total_flops())


def all_counted() -> dict[str, tuple[int, float, float]]:
    return {name: counted(m.recipe, m.changes, m.shape) for name, m in MODELS.items()}


def counts_table(found: dict[str, tuple[int, float, float]]) -> str:
    rows = []
    for name, (parameters, forward, both) in found.items():
        m = MODELS[name]
        ours = both if m.both else forward / 2
        flops = [f"{m.flops / 1e9:,.1f}", f"{ours / 1e9:,.1f}", tables.ratio(ours, m.flops)] if m.flops else ["-"] * 3
        rows.append([name, f"{m.millions:g}", f"{parameters / 1e6:.4g}", *flops, m.source])
    return tables.table(["network", "parameters, M, published", "ours", "GFLOP an image, published", "ours",
                         "ratio", "source"], rows)  # fmt: skip


def runs_table(found: dict[str, tuple[int, float, float]]) -> str:
    rows, encoding = [], encoder_flops()
    for run in RUNS:
        device = machines.DEVICES[run.device]
        flops = run.images * (found[run.model][2] * run.again + (encoding if run.encoded else 0))
        days = flops / (device.peak * machines.UTILISATION) / 86400
        published = run.days * run.chips
        used = flops / (published * 86400 * device.peak)
        rows.append([run.name, f"{run.chips} x {run.device}", f"{published:,.4g}", f"{days:,.4g}",
                     tables.ratio(days, published), f"{used:.0%}", run.source])  # fmt: skip
    return tables.table(["training", "devices", "device days, published", "predicted", "ratio",
                         "of the peak, published", "source"], rows)  # fmt: skip


class _Given:
    """A clock for events that carry their time in `flops`, as nanoseconds."""

    launch = 0.0

    def seconds(self, event: Event) -> float:
        return event.flops * 1e-9


LLAMA = (32, 218_112_000, 525_336_576)
"""Llama 3.1 8B: number of blocks, parameters per block, and parameters of each of its two embeddings."""
TOKENS = 16_384


def llama(step: float) -> Trace:
    """FSDP2's events of Llama 3.1 8B, in FSDP2's order. The time of a step is divided among the blocks by their
    parameters, a third of it forward; collectives gather in bf16 and scatter in float32."""
    blocks, size, ends = LLAMA
    sizes = [ends, *[size] * blocks, ends]
    events, each = [], [int(1e9 * step * n / sum(sizes)) for n in sizes]
    number = 0
    for n, time in zip(sizes, each, strict=True):
        events += [Event(GATHER, "gather", "forward", size=2 * n),
                   Event("matmul", "block", "forward", time // 3, waits=(number,))]  # fmt: skip
        number += 1
    order = list(zip(sizes, each, strict=True))[::-1]
    events.append(Event(GATHER, "gather", "backward", size=2 * order[0][0]))
    waiting, number = number, number + 1
    for i, (n, time) in enumerate(order):
        events.append(Event("other", "copy", "backward", waits=(waiting,)))
        if i + 1 < len(order):
            events.append(Event(GATHER, "gather", "backward", size=2 * order[i + 1][0]))
            waiting, number = number, number + 1
        events.append(Event("matmul", "block", "backward", 2 * time // 3))
        events.append(Event(SCATTER, "scatter", "backward", size=4 * n))
        number += 1
    return Trace(events)


def llama_seconds(devices: int, computing: float, network: Network) -> float:
    return simulate(llama(computing), Layout(devices=devices, shard="full"), _Given(), network).step


def links_table() -> str:
    """A table of published measurements on several machines."""
    network = machines.HGX
    rows = []
    for name, (few, many) in {"eager": (5762, 5605), "compiled": (6667, 6514)}.items():
        computing = TOKENS / few  # a step on 8 devices, where only the first and last collectives are not hidden
        for _ in range(20):
            computing *= TOKENS / few / llama_seconds(8, computing, network)
        slower = llama_seconds(128, computing, network) / llama_seconds(8, computing, network)
        rows.append([f"Llama 3.1 8B, FSDP2, {name}: a step on 128 H100s over one on 8", f"{few / many:.4f}",
                     f"{slower:.4f}", tables.ratio(slower, few / many),
                     "pytorch/torchtitan, benchmarks/llama3_h100_202412_torchtitan.md, tables 1 and 3"])  # fmt: skip
    size = 2 * 2**30
    bus = 255 / 256 * size / network.seconds(GATHER, size, 8, 32) / 1e9
    rows.append(["all-gather of 2 GiB over 256 H100s, GB/s of a device", "200", f"{bus:.0f}", tables.ratio(bus, 200),
                 "NVIDIA/nccl, issue 1218, whose author finds it low"])  # fmt: skip
    return tables.table(["what", "published", "predicted", "ratio", "source"], rows)
