"""A model that an image steers: a branch beside a denoiser that stays as it is."""

import torch
from torch import nn

from fromnoise import nn as networks
from fromnoise import registry
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.guidance.base import Wrapper
from fromnoise.nn.control import Control
from fromnoise.nn.unet import UNet
from fromnoise.system import checks


def controlled(denoiser: Denoiser, image_channels: int = 1) -> Denoiser:
    """The same E[x_0 | x_t] from a network that takes an image too, as the condition `image`, and does not heed it yet.

    `fn.fit` trains the branch alone. The weights are copied; the given denoiser is left as it is. Source: Zhang, Rao
    and Agrawala 2023 (arXiv 2302.05543); the network is `nn.Control`.

    Args:
        denoiser: of a `nn.UNet`; its guidance is left out.
        image_channels: of the image, which has the sides of x.

    Raises:
        FromNoiseError: its network is none, or is shown an image or has a branch already; a super-resolution model, a
            student, or a learned schedule.
    """
    checks.instance("denoiser", denoiser, Denoiser, "fn.load(folder)")
    checks.whole("image_channels", image_channels, 1)
    while isinstance(denoiser, Wrapper):
        denoiser = denoiser.inner
    insist_on_one_to_control(denoiser)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # every branch of a model starts alike
        network = networks.build({"name": "control", "of": registry.spec(denoiser.network)},
                                 image_channels=image_channels)  # fmt: skip
    network.start(denoiser.network.state_dict())
    network.to(denoiser.device)
    made = Denoiser(network, denoiser.schedule, denoiser.parameterization, denoiser.variance, denoiser.shape,
                    denoiser.class_names, denoiser.codec, text=denoiser.text)  # fmt: skip
    made.null = dict(denoiser.null)
    return made


def insist_on_one_to_control(denoiser: Denoiser, where: object = "denoiser") -> None:
    """That a branch can stand beside a model.

    Args:
        denoiser: the model.
        where: it is from, for the message.

    Raises:
        FromNoiseError: it cannot.
    """
    network = denoiser.network
    why = None
    if isinstance(network, Control):
        why = "has a branch already: take the model that it stands beside"
    elif type(network) is not UNet:
        why = f"its network is of class {type(network).__name__}, and a branch copies the way down of a unet"
    elif denoiser.low is not None or network.image_channels:
        why = "is shown an image beside x already, and a branch is for a model that is shown none"
    elif network.image_embedding is not None or network.numbers:
        more = "an embedding of an image" if network.image_embedding is not None else ", ".join(network.numbers)
        why = f"takes {more} beside x, and a branch leaves that out: choose a model without"
    elif denoiser.student is not None:
        why = "is a distilled model, whose branch has nothing to learn from data: take its teacher"
    elif isinstance(denoiser.schedule, nn.Module):
        why = "has a learned schedule, which would not stay as it is"
    if why:
        raise FromNoiseError(f"{where}: {why}")
