"""The forward process on images of a run's data, and the network's prediction at each level in one call."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work, whole
from fromnoise.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from fromnoise.app.runs.model import Model
    from fromnoise.app.studio.bench import Bench

LEVELS = 41


@register("forward")
@dataclass(frozen=True)
class Forward(Work):
    """x_t = alpha x_0 + sigma eps and x0hat at many levels: one frame per level, from data to noise."""

    run: str
    n: int = 4
    seed: int = 0
    image: str = ""

    models: ClassVar[tuple[str, ...]] = ("run",)
    uploads: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self) -> None:
        whole("n", self.n, 1, 16)

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        import torch

        from fromnoise.app.studio.works.seen import images, root_mean_square, spread
        from fromnoise.gaussian import diffuse
        from fromnoise.system import rng

        model = bench.model(places["run"]).of_images()
        denoiser = model.denoiser
        x0, cond = some_data(bench, model, self.n, self.seed, places)
        states = denoiser.encoded(x0)
        eps = rng.normal(self.seed, range(len(x0)), 0, tuple(states.shape[1:]), dtype=states.dtype).to(states.device)
        chain = denoiser.schedule.steps(min(LEVELS - 1, denoiser.schedule.chain.steps), "log-snr")
        send({"kind": "start", "total": chain.steps + 1, "latent": denoiser.codec is not None}, {"x": images(x0)})
        with torch.no_grad(), denoiser.evaluating():
            for index, t in enumerate(reversed(list(chain))):
                x = diffuse(states, eps, t)
                shown = {"x": images(denoiser.decoded(x), spread(t))}
                if float(t.sigma) > 0:
                    p = denoiser(x, t, cond)
                    shown |= {"x0": images(denoiser.decoded(p.x0)), "error": root_mean_square(p.x0 - states)}
                send({"kind": "step", "index": index, **at(t)}, shown)


def at(t: "object") -> dict[str, float | None]:
    """A level's numbers for the page; infinity becomes None, since JSON has none."""
    import math

    found = {}
    for name in ("time", "alpha", "sigma", "log_snr"):
        value = float(getattr(t, name))
        found[name] = value if math.isfinite(value) else None
    return found


def some_data(
    bench: "Bench", model: "Model", n: int, seed: int, places: Places
) -> "tuple[Tensor, dict[str, Tensor] | None]":
    """Return n images of the run's data in [-1, 1] with their conditions, or the uploaded image n times.

    Raises:
        FromNoiseError: if no image was uploaded and the training data is unknown, or the model takes images itself.
    """
    import torch

    from fromnoise.data.folder import read_image
    from fromnoise.data.images import to_unit
    from fromnoise.data.loading import load
    from fromnoise.errors import FromNoiseError

    denoiser = model.denoiser
    if denoiser.low is not None or model.needs_images:
        raise FromNoiseError("this model's network is conditioned on an image: choose one that is not")
    if "image" in places:
        channels, *size = denoiser.image_shape or (3, 64, 64)
        x = to_unit(read_image(places["image"], channels, (size[0], size[1])))[None].expand(n, -1, -1, -1)
        labels = None
    else:
        config = model.config
        if config is None:
            raise FromNoiseError("this model does not record its training data: give an image of your own")
        shape = denoiser.image_shape
        assert shape is not None
        data = bench.kept("data", model.digest, make=lambda: load(config.data.at(shape)))
        chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:n].tolist()
        pixels, labels = data.batch(chosen)
        x = to_unit(pixels)
    cond: dict[str, torch.Tensor] = {name: value.expand(len(x), *value.shape).clone()
                                     for name, value in denoiser.null_cond.items()}  # fmt: skip
    if labels is not None and denoiser.classes and bool((labels >= 0).all()):
        cond["label"] = labels
    return x, denoiser.placed(denoiser.given(cond, len(x))) if cond else None
