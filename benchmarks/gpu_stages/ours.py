"""What the stages use of fromnoise: models of recipes, and their trainer with images in memory."""

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
    """Load a recipe, in miniature with --tiny, with further changes by key ("train__lr" for train.lr)."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return fn.recipes.load(name).with_changes((TINY.get(name, {}) if context.tiny else {}) | dotted)


def shape(context: Context, name: str) -> tuple[int, int, int]:
    """Shape of an example: an image or a latent."""
    return TINY_SHAPES.get(name, SHAPES.get(name)) if context.tiny else SHAPES[name]


def filled(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Fill zero-initialised weights with small random numbers: zeros would hide everything before them."""
    generator = torch.Generator().manual_seed(seed)
    for p in network.parameters():
        if not p.detach().any():
            p.data += torch.randn(p.shape, generator=generator).to(p) * 0.02
    return network


def built(context: Context, config, size: tuple[int, int, int], device: torch.device) -> Denoiser:
    """Build a model on the device itself: a CPU takes many seconds to initialise DiT-XL."""
    with device:
        return config.build(size)


def random_images(denoiser: Denoiser, n: int, latents: bool) -> InMemory:
    """Noise images, or noise latents, with the model's classes."""
    generator = torch.Generator().manual_seed(0)
    size = (n, *denoiser.shape)
    pixels = (torch.randn(size, generator=generator) if latents
              else torch.randint(256, size, dtype=torch.uint8, generator=generator))  # fmt: skip
    names = [str(i) for i in range(denoiser.classes)]
    return InMemory("noise", pixels, torch.arange(n) % max(denoiser.classes, 1), names)


@contextmanager
def trainer(config, denoiser: Denoiser, images: InMemory, hardware: Hardware, folder: Path | None = None,
            **changes) -> Iterator[Trainer]:  # fmt: skip
    """The trainer of `fromnoise train`. It runs until stopped, and saves nothing unless `changes` say so."""
    train = {"steps": NEVER, "minutes": None, "checkpoint_every": NEVER, "sample_every": 0} | changes
    train = config.train.model_copy(update=train)
    given = Conditioning(denoiser, images, train.label_dropout, config.seed)
    task = Diffusion(denoiser, fn.objectives.build(config.objective), given, config.seed, fn.times.build(config.times))
    with tempfile.TemporaryDirectory() as temporary:
        yield Trainer(task, images, train, config.seed, folder or Path(temporary), hardware)


class Enough(Exception):
    """Raised in a callback to end a run of the trainer that saves nothing."""


def run(made: Trainer, each: Callable[[dict], None]) -> None:
    """Run the trainer's own loop; `each` is called after every step and ends it by raising Enough."""
    made.callbacks = [each]
    with suppress(Enough):
        made.run()


def compile(context: Context, network: torch.nn.Module, inference: bool) -> None:
    """Compile as `--compile on` does; in miniature only trace, since generating code takes half a minute on a CPU."""
    if context.tiny:
        network.compile(dynamic=False, backend="eager")
    else:
        compile_network(network, "on", inference=inference)


def uncompiled(network: torch.nn.Module) -> None:
    """Undo `compile`."""
    network._compiled_call_impl = None
    torch._dynamo.reset()


Given = tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]


def inputs(denoiser: Denoiser, n: int, device: torch.device, one_level: bool) -> Given:
    """Random x in the network's dtype, times, and labels if it has classes.

    The times are laid out as in training or as in sampling, since another layout would compile the network again.
    """
    x = torch.randn(n, *denoiser.shape, device=device, dtype=next(denoiser.network.parameters()).dtype)
    time = (torch.rand((), device=device) * 999).expand(n) if one_level else torch.rand(n, device=device) * 999
    return x, time, {"label": torch.randint(denoiser.classes, (n,), device=device)} if denoiser.classes else {}


def call(network: torch.nn.Module, given: Given) -> torch.Tensor:
    """Call the network as the denoiser does, so that it is not compiled again."""
    x, time, told = given
    return network(x, time, **told)


def gigaflop(denoiser: Denoiser, device: torch.device, backward: bool) -> float:
    """GFLOP per image in convolutions, matrix products and attention; a multiply-add is 2."""
    from torch.utils.flop_counter import FlopCounterMode

    network, given = denoiser.network, inputs(denoiser, 2, device, one_level=False)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        out = call(network, given)
        if backward:
            out.float().square().sum().backward()
    network.zero_grad(set_to_none=True)
    return counter.get_total_flops() / 2e9
