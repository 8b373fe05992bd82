"""The denoiser: a network, the schedule it was trained on, and the meaning of its output."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fromnoise import parameterizations, schedules, variances
from fromnoise.augmentations.low_res import LowResolution
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.nn.text.base import TextEncoder
from fromnoise.parameterizations.base import Parameterization
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.parameterizations.students.base import Student
from fromnoise.schedules.base import Schedule
from fromnoise.system import checks
from fromnoise.variances.base import Variance

Cond = dict[str, Tensor]
"""The conditions of a network: what it is given beside x_t and the time, by argument name, each [B, ...]."""

Given = Mapping[str, Any]
"""Conditions as a user may pass them: a number or scalar tensor applies to every example, and lists become tensors."""


class Codec(ABC):
    """x -> z -> x, both batched: the autoencoder of a latent model, whose states are latents instead of data."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """z = E(x) (Sedykh eq. 5.1)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """x = D(z) (Sedykh eq. 5.2)."""

    @abstractmethod
    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of x, without the batch axis, given the shape of z."""


class Denoiser(nn.Module):
    """x_t, t -> E[x_0 | x_t] (and eps, score, v: see `Prediction`): one network for all levels.

    Source: Song and Ermon 2019, arXiv 1907.05600, section 3, and Ho et al. 2020, arXiv 2006.11239; Sedykh eq. 3.17-3.18
    and 3.21, where the level is given as sigma; Sedykh eq. 2.12, where it is given as the step number.

    Args:
        network: F(x_t, time, **cond), which takes and returns plain tensors; kept unwrapped as `Denoiser.network`.
        schedule: a Schedule, or a registered name.
        parameterization: what F predicts: a Parameterization, its name ("eps", "x0", "mean", "v", "flow", "score" or
            "edm"), or {"name": ..., option: value}.
        variance: of the reverse step: a Variance, its name ("fixed_small", "fixed_large" or "learned_range"), or
            {"name": ..., option: value}. For "learned_range" the network outputs twice as many channels.
        shape: shape of one example: (D,) for points, (C, L) for signals, (C, H, W) for images, (C, D, H, W) for
            volumes, or any other. Sampling needs it if only the number of samples is given.
        class_names: names of the labels, for display.
        codec: for latent models: the autoencoder; `sample` decodes the latents that it draws.
        low: for super-resolution models of signals, images or volumes: how the network is conditioned on the low
            resolution.
        text: for text-conditional models: the encoder of the prompts, so that cond={"text": "a red heart"} works.

    Raises:
        FromNoiseError: an unknown name, a class instead of an object, or a parameterisation that does not determine
            x_0 at the last level of a schedule that leaves no signal there.
    """

    state_dtype = torch.float32

    if TYPE_CHECKING:  # nn.Module's __getattr__ accepts every name: a type checker would let a misspelt one pass
        __getattr__: None = None  # pyrefly: ignore[bad-override-mutable-attribute]

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule | str,
        parameterization: str | Mapping[str, Any] | Parameterization = "eps",
        variance: str | Mapping[str, Any] | Variance = "fixed_large",
        shape: tuple[int, ...] | None = None,
        class_names: Sequence[str] = (),
        codec: Codec | None = None,
        low: LowResolution | None = None,
        text: TextEncoder | None = None,
    ):
        checks.objects(parameterization=parameterization, variance=variance)
        checks.instance("network", network, nn.Module)
        if not isinstance(schedule, str):
            checks.instance("schedule", schedule, Schedule)
        if text is not None:
            checks.instance("text", text, TextEncoder, "an encoder of fromnoise.text, such as Worded's")
        super().__init__()
        self.network = network
        self.schedule: Schedule = schedules.build(schedule) if isinstance(schedule, str) else schedule
        self.parameterization: Parameterization = parameterizations.registry.resolve(parameterization, Parameterization)
        self.variance: Variance = variances.registry.resolve(variance, Variance)
        self.shape = tuple(shape) if shape else None
        self.class_names = tuple(class_names)
        self.codec, self.low, self.text = codec, low, text
        self.null: Cond = {}
        self.student: Student | None = None  # what the output means if the model is distilled
        self.embeddings: str | None = None  # unCLIP: SHA-256 of the encoder of its embeddings
        if not self.parameterization.solvable(self.schedule.chain[0], self.schedule):
            raise FromNoiseError(
                f"at the last level of {type(self.schedule).__name__} no signal is left, and "
                f"{self.parameterization.name} does not determine x_0 there: use parameterization v or x0"
            )

    def __call__(self, x_t: Tensor, t: Level | float | Tensor, cond: Given | None = None) -> Prediction:
        """E[x_0 | x_t], and what follows from it: eps, score and v.

        Args:
            x_t: [B, ...], floating-point, on the network's device.
            t: a level or a time of the schedule: one for all examples, or [B].
            cond: conditions by name, each [B, ...]; a number applies to every example.

        Raises:
            FromNoiseError: an argument of the wrong type, shape or device.
        """
        device = self._device
        checks.state("x_t", x_t, self.shape, device)
        n = x_t.shape[0]
        cond = checks.conditions(self._encoded_words(cond, n), n, self.classes, device)
        return super().__call__(x_t, self.level(t, n), cond)

    def level(self, t: Level | float | Tensor, n: int | None = None) -> Level:
        """Return the level `t` itself, or the schedule's level at time `t`: a scalar, or [n] for n examples.

        Raises:
            FromNoiseError: t is neither a level nor a time, is outside the schedule, or has a length other than n.
        """
        if not isinstance(t, Level):
            if not isinstance(t, float | int | Tensor):
                raise FromNoiseError(f"t must be a time or a level, e.g. schedule.level(500), got {checks.shown(t)}")
            t = self.schedule.level(t)
        if n is not None and t.alpha.dim() and t.alpha.shape not in ((n,), (1,)):
            raise FromNoiseError(f"t has {len(t.alpha)} levels for {n} examples: give one for each, or one for all")
        return t

    def given(self, cond: Given | None, n: int) -> Cond | None:
        """Conditions of n examples as tensors [n, ...]; labels on the CPU are checked against the classes.

        Raises:
            FromNoiseError: a condition of another length, or a label that the network does not know.
        """
        found = checks.conditions(self._encoded_words(cond, n), n, self.classes)
        checks.labels(found, self.classes, self.null_label)
        checks.tokens(found, self.network)
        return found

    def _encoded_words(self, cond: Given | None, n: int) -> Given | None:
        """The conditions with cond["text"], one text or a list of n, replaced by its encoding.

        Raises:
            FromNoiseError: the model has no text encoder, or the number of texts is not n.
        """
        text = cond.get("text") if isinstance(cond, Mapping) else None
        if not isinstance(text, str | list | tuple):
            return cond
        if self.text is None:
            raise FromNoiseError("cond['text']: this model has no text encoder, which it gets as "
                                 "fn.Denoiser(..., text=)")  # fmt: skip
        texts = [text] if isinstance(text, str) else list(text)
        if not isinstance(text, str) and len(texts) != n:
            raise FromNoiseError(f"cond['text'] has {len(texts)} texts for {n} examples: give one for each, or one "
                                 "for all")  # fmt: skip
        encoded = self.text(texts)
        return {**(cond or {}), "text": encoded.expand(n, *encoded.shape[1:]).to(self.device)}

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        """F(x_t, t), computed in the network's type and cast to that of x_t, as a Prediction. t: scalar or [B]."""
        time = self.schedule.network_time(t).to(x_t.device, non_blocking=True).expand(x_t.shape[0])
        weight = next(self.network.parameters(), None)
        dtype = weight.dtype if weight is not None else x_t.dtype
        numbers = self.student.cond if self.student is not None else {}
        told = {name: x_t.new_full((len(x_t),), value) for name, value in numbers.items()} | (cond or {})
        scale = self.parameterization.scale_input(t)
        seen = x_t if scale is None else like(scale, x_t) * x_t
        try:
            output = self.network(seen.to(dtype), time, **told)
        except (TypeError, IndexError):
            checks.call(self.network, cond)
            checks.labels(cond, self.classes, self.null_label)
            checks.tokens(cond, self.network)
            raise
        if not isinstance(output, Tensor):
            raise FromNoiseError(f"network gives a {type(output).__name__}, and must give one tensor: wrap it so that "
                                 "forward returns the prediction alone")  # fmt: skip
        # Sampling needs a copy: a network replayed as a CUDA graph overwrites its last output at the next call.
        output = output.to(x_t.dtype, copy=not torch.is_grad_enabled())
        fraction = None
        if self.variance.outputs == 2:
            output, raw = output.chunk(2, 1)
            fraction = (raw + 1) / 2
        if output.shape != x_t.shape:
            twice = ': twice the channels are for variance="learned_range"' if output.numel() == 2 * x_t.numel() else ""
            raise FromNoiseError(f"network gives {list(output.shape)} for x_t of {list(x_t.shape)}, which must be one "
                                 f"shape{twice}")  # fmt: skip
        return Prediction(x_t, t, output, self.parameterization, self.schedule, fraction)

    def weights(self) -> dict[str, nn.Parameter]:
        """The parameters by name: the network's, and those of a learned schedule as "schedule.NAME".

        Parameters that require no gradient are included, and training leaves them unchanged.
        """
        found = dict(self.network.named_parameters())
        if isinstance(self.schedule, nn.Module):
            found |= {f"schedule.{name}": p for name, p in self.schedule.named_parameters()}
        return found

    @property
    def classes(self) -> int:
        """Number of labels the network knows; 0 if it is not class-conditional."""
        return getattr(self.network, "classes", None) or 0

    @property
    def null_label(self) -> int | None:
        """The label for "no class", which classifier-free guidance needs; None if the network has no such label."""
        return getattr(self.network, "null_label", None)

    @property
    def null_cond(self) -> Cond:
        """The null conditions by name, without a batch axis: the unconditional side of classifier-free guidance.

        These are the network's null label, its own attribute `null_cond` if it has one, and for other conditions the
        zeros that training with `condition_dropout` stored in `null`.
        """
        label = {} if self.null_label is None else {"label": torch.tensor(self.null_label)}
        own = {name: torch.as_tensor(value) for name, value in getattr(self.network, "null_cond", {}).items()}
        return self.null | label | own

    def default_cond(self, indices: Sequence[int]) -> Cond | None:
        """Default conditions of the samples with these numbers: the classes in turn; None without classes."""
        return {"label": torch.tensor(indices) % self.classes} if self.classes else None

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Shape of what `sample` returns, without the batch axis."""
        return self.shape if self.codec is None or self.shape is None else self.codec.image_shape(self.shape)

    def encoded(self, x: Tensor) -> Tensor:
        """The state of an example: the example itself, or its latent; on the model's device, in the state's type."""
        x = x.to(self.device, self.state_dtype)
        return x if self.codec is None else self.codec.encode(x).to(self.state_dtype)

    def decoded(self, x: Tensor) -> Tensor:
        """The example of a final state: the state itself, or what the codec decodes it to."""
        return x if self.codec is None else self.codec.decode(x)

    def placed(self, cond: Cond | None) -> Cond | None:
        """Return the conditions on the model's device."""
        return {k: v.to(self.device) for k, v in cond.items()} if cond else None

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode, without dropout, inside the `with` block; the earlier mode is restored afterwards."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    @property
    def device(self) -> torch.device:
        """The network's device; the CPU for a network without parameters."""
        return self._device or torch.device("cpu")

    @property
    def _device(self) -> torch.device | None:
        """None for a network without parameters, which runs on any device."""
        first: Any = next(self.network.parameters(), None)
        return first.device if first is not None else None


def state(network: nn.Module, schedule: Schedule) -> dict[str, Tensor]:
    """The tensors of a model, named as in files: the network's, and those of a learned schedule as "schedule.NAME"."""
    found = dict(network.state_dict())
    if isinstance(schedule, nn.Module):
        found |= {f"schedule.{name}": value for name, value in schedule.state_dict().items()}
    return found


def load_state(network: nn.Module, schedule: Schedule, tensors: dict[str, Tensor], assign: bool = False) -> None:
    """Load the tensors that `state` returns; with `assign`, the network keeps the given tensors without copying them.

    Raises:
        RuntimeError: names or shapes do not match.
    """
    if isinstance(schedule, nn.Module):
        own = {k.removeprefix("schedule."): v for k, v in tensors.items() if k.startswith("schedule.")}
        schedule.load_state_dict(own)
        tensors = {k: v for k, v in tensors.items() if not k.startswith("schedule.")}
    network.load_state_dict(tensors, assign=assign)
