"""What the stages need of fromnoise, in one place: models of recipes, their trainer with images in memory."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

import fromnoise as fn
from fromnoise.data.images import InMemory
from fromnoise.denoise import Denoiser
from fromnoise.system.hardware import Hardware, compile_network
from fromnoise.train import Conditioning, Diffusion, Trainer
from gpu_stages.context import Context

NEVER = 10**9
TINY = {
    "ddpm-cifar10": {"network.channels": 32, "network.mult": [1, 2], "network.blocks": 1, "train.batch_size": 4},
    "adm-imagenet-64": {"network.channels": 32, "network.mult": [1, 2], "network.blocks": 1, "network.attention": [2],
                        "network.head_channels": 16, "network.classes": 10},
    "dit-xl-2": {"network": {"name": "dit", "depth": 2, "width": 48, "heads": 2, "classes": 10}},
    "digits": {"network.channels": 16, "train.batch_size": 8},
    "mnist-fast": {"network.channels": 16, "train.batch_size": 8},
}  # fmt: skip
"""The same recipes in miniature."""
SHAPES = {"ddpm-cifar10": (3, 32, 32), "adm-imagenet-64": (3, 64, 64), "dit-xl-2": (4, 32, 32), "digits": (1, 28, 28)}
TINY_SHAPES = {"ddpm-cifar10": (3, 8, 8), "adm-imagenet-64": (3, 8, 8), "dit-xl-2": (4, 8, 8)}


def recipe(context: Context, name: str, **changes):
    """A recipe, in miniature where that was asked for, with other changes by dotted keys ("train__lr")."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return fn.recipes.load(name).with_changes((TINY.get(name, {}) if context.tiny else {}) | dotted)


def shape(context: Context, name: str) -> tuple[int, int, int]:
    """Of an example: image or latent."""
    return TINY_SHAPES.get(name, SHAPES.get(name)) if context.tiny else SHAPES[name]


def filled(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """With small random numbers where a fresh network has zeros, which would hide all that comes before them."""
    generator = torch.Generator().manual_seed(seed)
    for p in network.parameters():
        if not p.detach().any():
            p.data += torch.randn(p.shape, generator=generator).to(p) * 0.02
    return network


def built(context: Context, config, size: tuple[int, int, int], device: torch.device) -> Denoiser:
    """Drawn where it will compute: a CPU takes many seconds for the numbers of DiT-XL."""
    with device:
        return config.build(size)


def random_images(denoiser: Denoiser, n: int, latents: bool) -> InMemory:
    """Images of noise with the classes that the model knows, or latents."""
    generator = torch.Generator().manual_seed(0)
    size = (n, *denoiser.shape)
    pixels = (torch.randn(size, generator=generator) if latents
              else torch.randint(256, size, dtype=torch.uint8, generator=generator))  # fmt: skip
    names = [str(i) for i in range(denoiser.classes)]
    return InMemory("noise", pixels, torch.arange(n) % max(denoiser.classes, 1), names)


@contextmanager
def trainer(config, denoiser: Denoiser, images: InMemory, hardware: Hardware, folder: Path | None = None,
            **changes) -> Iterator[Trainer]:  # fmt: skip
    """The step of `fromnoise train`; runs until it is told to stop, and saves nothing unless `changes` say so."""
    train = {"steps": NEVER, "minutes": None, "checkpoint_every": NEVER, "sample_every": 0} | changes
    train = config.train.model_copy(update=train)
    given = Conditioning(denoiser, images, train.label_dropout, config.seed)
    task = Diffusion(denoiser, fn.objectives.build(config.objective), given, config.seed, fn.times.build(config.times))
    with tempfile.TemporaryDirectory() as temporary:
        yield Trainer(task, images, train, config.seed, folder or Path(temporary), hardware)


class Enough(Exception):
    """Ends a run of the trainer from the inside, where nothing is saved."""


def run(trained: Trainer, each: Callable[[dict], None]) -> None:
    """The trainer's own loop; `each` is told of every step, and ends it by raising Enough."""
    trained.callbacks = [each]
    with suppress(Enough):
        trained.run()


def compile(context: Context, network: torch.nn.Module, inference: bool) -> None:
    """As `--compile on` does; in miniature only traced, since generating code takes a CPU half a minute."""
    if context.tiny:
        network.compile(dynamic=False, backend="eager")
    else:
        compile_network(network, "on", inference=inference)


def uncompiled(network: torch.nn.Module) -> None:
    """As it was before `compile`."""
    network._compiled_call_impl = None
    torch._dynamo.reset()


Given = tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]


def inputs(denoiser: Denoiser, n: int, device: torch.device, one_level: bool) -> Given:
    """Random x in the network's type, time, and labels where it knows classes; times as training or as a sampler has
    them, since a compiled network is compiled anew for another layout."""
    x = torch.randn(n, *denoiser.shape, device=device, dtype=next(denoiser.network.parameters()).dtype)
    time = (torch.rand((), device=device) * 999).expand(n) if one_level else torch.rand(n, device=device) * 999
    return x, time, {"label": torch.randint(denoiser.classes, (n,), device=device)} if denoiser.classes else {}


def call(network: torch.nn.Module, given: Given) -> torch.Tensor:
    """As the denoiser calls it, for the same reason."""
    x, time, told = given
    return network(x, time, **told)


def gigaflop(denoiser: Denoiser, device: torch.device, backward: bool) -> float:
    """Of an image, in the network's convolutions, matrix products and attention, 2 for a multiply-add."""
    from torch.utils.flop_counter import FlopCounterMode

    network, given = denoiser.network, inputs(denoiser, 2, device, one_level=False)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        out = call(network, given)
        if backward:
            out.float().square().sum().backward()
    network.zero_grad(set_to_none=True)
    return counter.get_total_flops() / 2e9
