"""EDM: a pickle of a whole network, or a file of its tensors; DDPM++ and ADM, as EDM and improved DDPM train them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from fromnoise import nn as networks
from fromnoise import registry, schedules
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.nn.norm import GroupNormSiLU
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule
from fromnoise.system.disk import files
from fromnoise.weights import edm, torch_writing
from fromnoise.weights.describing import load_tensors
from fromnoise.weights.formats.base import Card, Format
from fromnoise.weights.formats.source import Source

_LOW, _HIGH = 0.002, 80.0
"""Between which EDM samples a model that says nothing else."""
_ENDLESS = float("inf")
_DROPOUT = 0.1
"""Of their networks where a file says nothing."""
_NUMBERS = 9
"""That tell their augmentation and ours; two of them, of stretches, mean another thing there."""
_ONE = {"patch": 1, "skips": "blocks", "dims": 2, "image_channels": 0, "mid_attention": True, "time_scale": 1.0}
"""Options of our `unet` that each of their networks has; those of one are `edm.kind`."""


@register("edm")
@dataclass(frozen=True)
class EDM(Format):
    """`EDMPrecond` around `SongUNet` as DDPM++ or around `DhariwalUNet`, and `iDDPMPrecond` around either.

    Read are network-snapshot-*.pkl and their published files, in which nothing is run, and what is written here: a
    model.pt with the tensors by their names, "ema", and the arguments of EDMPrecond, "init_kwargs". Their pickles
    hold the source code of their classes, which is not ours to write.
    """

    loads: ClassVar[str] = (
        'saved = torch.load("{path}/model.pt"); net = training.networks.EDMPrecond(**saved["init_kwargs"]); '
        'net.load_state_dict(saved["ema"])'
    )

    def claims(self, source: Source) -> bool:
        return source.names(f"{edm.PREFIX}map_layer0.weight", f"{edm.PREFIX}map_layer1.weight")

    def read(self, source: Source) -> nn.Module:
        said = source.told("schedule", "parameterization")
        try:
            return _read(source, said)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, RuntimeError, ArithmeticError) as error:
            text = str(error) if isinstance(error, FromNoiseError) else f"it makes no model ({files.one_line(error)})"
            where = "" if text.startswith(str(source.path)) else f"{source.path}: "
            raise FromNoiseError(f"{where}{text}") from None

    def write(self, denoiser: Denoiser, path: Path, card: Card) -> None:
        layout, options = _layout(denoiser)
        kwargs = _kwargs(denoiser, layout, options)
        theirs = edm.to_edm(denoiser.network.state_dict(), layout, bool(options["null_label"]))
        state = {f"{edm.PREFIX}{name}": value.detach().float().cpu().contiguous() for name, value in theirs.items()}
        code = [
            "import torch",
            "from training.networks import EDMPrecond",
            "",
            'saved = torch.load("model.pt", weights_only=True)',
            'net = EDMPrecond(**saved["init_kwargs"])',
            'net.load_state_dict(saved["ema"])',
        ]
        torch_writing.write(denoiser, path, {"ema": state, "init_kwargs": kwargs}, {}, code, card)


def _read(source: Source, said: Mapping[str, Any]) -> Denoiser:
    told = source.opened.options
    kind = told.get("class_name", "EDMPrecond")
    own = {n.removeprefix(edm.PREFIX): v for n, v in source.floats().items() if n.startswith(edm.PREFIX)}
    width = own["map_augment.weight"].shape[1] if "map_augment.weight" in own else _NUMBERS
    if width != _NUMBERS:
        del own["map_augment.weight"]
        source.warn(f"{source.path}: was told {width} numbers of its augmentation, which stay behind (here they are "
                    f"{_NUMBERS}): it samples as before")  # fmt: skip
    layout = edm.layout_of(own)
    options = edm.options_of(own, layout)
    side, seen, out = layout.sides[0], options["in_channels"], options["out_channels"]
    schedule, parameterization, variance = _preconditioning(kind, told, source)
    if out != (2 * seen if variance == "learned_range" else seen):
        raise FromNoiseError(f"gives {out} channels for images of {seen}")
    network = networks.blank({"name": "unet", "dropout": _dropout(told)} | options)
    made = schedules.build(said.get("schedule", schedule))
    denoiser = Denoiser(network, made, said.get("parameterization", parameterization), variance, (seen, side, side))
    load_tensors(denoiser, edm.from_edm(own, layout), source.path, assign=True)
    if kind == "EDMPrecond":
        source.warn(f"{source.path}: samples there without clipping x0: say so here, clip=False (--no-clip)")
    return denoiser


def _preconditioning(kind: str, told: Mapping[str, Any], source: Source) -> tuple[dict[str, Any], Any, str]:
    """(schedule, parameterization, variance)."""
    if kind == "EDMPrecond":
        if "sigma_data" not in told:
            source.warn(f"{source.path}: does not say how it is preconditioned, and EDMPrecond with sigma_data 0.5 is "
                        'taken: else say like={"parameterization": {"name": "edm", "data_std": 0.5}}')  # fmt: skip
        own = _number(told, "sigma_min", 0, 0, 1e6), _number(told, "sigma_max", _ENDLESS, 1e-6, _ENDLESS)
        low, high = max(_LOW, own[0]), min(_HIGH, own[1])
        if low >= high:
            raise FromNoiseError(f"its sigma_min {own[0]:g} and sigma_max {own[1]:g} leave nothing of {_LOW:g} to "
                                 f"{_HIGH:g}, where EDM samples")  # fmt: skip
        if own[0] not in (0, low) or own[1] not in (_ENDLESS, high):
            source.warn(f"{source.path}: knows sigma from {own[0]:g} to {own[1]:g}, of which EDM samples {low:g} to "
                        f'{high:g}: else say like={{"schedule": {{"name": "edm", "sigma_max": 200}}}}')  # fmt: skip
        schedule = {"name": "edm", "sigma_min": low, "sigma_max": high}
        return schedule, {"name": "edm", "data_std": _number(told, "sigma_data", 0.5, 1e-6, 1e6)}, "fixed_small"
    if kind == "iDDPMPrecond":
        if told.get("M", 1000) != 1000:
            raise FromNoiseError(f"its chain has {files.one_line(told['M'])} steps, and networks here see times as "
                                 "those of 1000")  # fmt: skip
        least, offset = _number(told, "C_1", 0.001, 0, 0.999), _number(told, "C_2", 0.008, 0, 1)
        return {"name": "cosine", "T": 1000, "s": offset, "max_beta": 1 - least}, "eps", "learned_range"
    why = {"VPPrecond": "sees the time as 999 t, and of a schedule here it is 1000 t - 1",
           "VEPrecond": "sees the noise as ln(sigma / 2), which no schedule here tells"}  # fmt: skip
    raise FromNoiseError(f"is of {files.one_line(kind)}, whose network {why[kind]}" if kind in why else
                         f"is of {files.one_line(kind)}; what is read is EDMPrecond and iDDPMPrecond")  # fmt: skip


def _number(told: Mapping[str, Any], key: str, usual: float, least: float, most: float) -> float:
    """What a file says, as a number.

    Raises:
        FromNoiseError: it is none, or lies elsewhere.
    """
    value = told.get(key, usual)
    value = float(value) if value in ("inf", "-inf", "nan") else value  # as what was read says them
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        what = files.one_line(str(value)[:50])
        raise FromNoiseError(f"its {key} is {what}, and must be a number from {least:g} to {most:g}")
    return float(value)


def _dropout(told: Mapping[str, Any]) -> float:
    """Of the network, however its class was given it."""
    inner = told.get("model")
    said = told if "dropout" in told or not isinstance(inner, Mapping) else inner
    return _number(said, "dropout", _DROPOUT, 0, 0.999)


def _layout(denoiser: Denoiser) -> tuple[edm.Layout, dict[str, Any]]:
    """Of the network, and its options.

    Raises:
        FromNoiseError: neither SongUNet nor DhariwalUNet is such a network.
    """
    network, shape = denoiser.network, denoiser.shape
    if denoiser.codec is not None or denoiser.low is not None:
        raise FromNoiseError("edm: cannot hold a latent or a super-resolution model")
    o = torch_writing.own_options(denoiser, "unet", "edm")
    if shape is None or len(shape) != 3 or shape[1] != shape[2]:
        raise FromNoiseError("edm: holds models of square images (C, R, R); this one is of "
                             f"{'x'.join(map(str, shape)) if shape else 'no size of its own'}")  # fmt: skip
    plus, channels, first = o["resample"] == "projected", o["channels"], o["channels"] * o["mult"][0]
    has = o | {"time_features": o["time_features"] or channels, "stem_channels": o["stem_channels"] or first}
    wanted = _ONE | edm.kind(plus) | {"time_features": channels, "stem_channels": channels if plus else first}
    skipped = set() if o["classes"] else {"label_features"}
    skipped |= {"groups", "group_channels"} if _groups_are_theirs(network) else set()
    skipped |= set() if plus or channels * o["mult"][-1] >= edm.HEAD else {"mid_attention"}
    for key, value in wanted.items():
        if key not in skipped and has.get(key, value) != value:
            name = "SongUNet" if plus else "DhariwalUNet"
            raise FromNoiseError(f"edm: cannot hold a U-Net with {key}={has[key]}; {name} has {value}")
    if (width := o["time_width"] or 4 * channels) % channels:
        raise FromNoiseError(f"edm: cannot hold a U-Net with time_width={width}, no multiple of channels={channels}")
    return edm.Layout(tuple(shape[1] >> i for i in range(len(o["mult"]))), o["blocks"], plus), o


def _groups_are_theirs(network: nn.Module) -> bool:
    """min(32, C / 4) in every layer, however that was said."""
    norms = [m for m in network.modules() if isinstance(m, GroupNormSiLU)]
    return all(norm.groups == min(32, len(norm.weight) // 4) for norm in norms)


def _kwargs(denoiser: Denoiser, layout: edm.Layout, o: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of their EDMPrecond.

    Raises:
        FromNoiseError: its preconditioning is another.
    """
    schedule: Schedule = denoiser.schedule
    about = registry.spec(schedule) if registry.is_entry(type(schedule)) else {"name": type(schedule).__name__}
    if about["name"] != "edm" or denoiser.parameterization.name != "edm" or denoiser.variance.outputs != 1:
        raise FromNoiseError("edm: holds models of the schedule edm and the parameterization edm; this one's are "
                             f"{about['name']} and {denoiser.parameterization.name}")  # fmt: skip
    kind = denoiser.parameterization.spec
    channels, sides = o["channels"], layout.sides
    plus = {"embedding_type": "positional", "encoder_type": "standard", "decoder_type": "standard",
            "channel_mult_noise": 1, "resample_filter": [1, 1]}  # fmt: skip
    return {
        "img_resolution": sides[0],
        "img_channels": o["in_channels"],
        "label_dim": o["classes"] or 0,
        "sigma_min": about["sigma_min"],
        "sigma_max": about["sigma_max"],
        "sigma_data": kind["data_std"] if isinstance(kind, dict) else 0.5,
        "model_type": "SongUNet" if layout.plus else "DhariwalUNet",
        "augment_dim": _NUMBERS if o["augment"] else 0,
        "model_channels": channels,
        "channel_mult": list(o["mult"]),
        "channel_mult_emb": (o["time_width"] or 4 * channels) // channels,
        "num_blocks": o["blocks"],
        "attn_resolutions": [side for i, side in enumerate(sides) if 2**i in o["attention"]],
        "dropout": o["dropout"],
        **(plus if layout.plus else {}),
    }
