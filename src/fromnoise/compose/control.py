"""Control branches: condition a trained denoiser on an image, without changing its weights."""

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
    """A copy of the denoiser that also takes a condition `image`, which has no effect before training.

    `fn.fit` trains only the new branch. The weights are copied, and the given denoiser is not changed. Source: Zhang,
    Rao and Agrawala 2023 (arXiv 2302.05543); the network is `nn.Control`.

    Args:
        denoiser: a model with a `nn.UNet`; guidance around it is removed.
        image_channels: channels of the image, whose sides are those of x.

    Raises:
        FromNoiseError: the network is not a UNet or already has a branch or a condition `image`, or the model is a
            super-resolution model, is a student, or has a learned schedule.
    """
    checks.instance("denoiser", denoiser, Denoiser, "fn.load(folder)")
    checks.whole("image_channels", image_channels, 1)
    while isinstance(denoiser, Wrapper):
        denoiser = denoiser.inner
    insist_on_one_to_control(denoiser)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # all branches of a model start with the same weights
        network = networks.build({"name": "control", "of": registry.spec(denoiser.network)},
                                 image_channels=image_channels)  # fmt: skip
    network.start(denoiser.network.state_dict())
    network.to(denoiser.device)
    made = Denoiser(network, denoiser.schedule, denoiser.parameterization, denoiser.variance, denoiser.shape,
                    denoiser.class_names, denoiser.codec, text=denoiser.text)  # fmt: skip
    made.null = dict(denoiser.null)
    return made


def insist_on_one_to_control(denoiser: Denoiser, where: object = "denoiser") -> None:
    """Check that a model can get a control branch.

    Args:
        denoiser: the model.
        where: name or path of the model, for the message.

    Raises:
        FromNoiseError: it cannot.
    """
    network = denoiser.network
    why = None
    if isinstance(network, Control):
        why = "has a branch already: take the model without it"
    elif type(network) is not UNet:
        why = f"its network is of class {type(network).__name__}, but a branch copies the encoder of a unet"
    elif denoiser.low is not None or network.image_channels:
        why = "is shown an image beside x already, but a branch is for a model without one"
    elif network.image_embedding is not None or network.numbers:
        more = "an embedding of an image" if network.image_embedding is not None else ", ".join(network.numbers)
        why = f"takes {more} beside x, which a branch does not support: choose a model without"
    elif denoiser.student is not None:
        why = "is a distilled model, whose branch has nothing to learn from data: take its teacher"
    elif isinstance(denoiser.schedule, nn.Module):
        why = "has a learned schedule, which training would change"
    if why:
        raise FromNoiseError(f"{where}: {why}")
