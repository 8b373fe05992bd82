"""Pickles as EDM writes them, and its networks written out anew from the paper: what the reader is compared with.

The arithmetic is that of Karras et al. 2022 (EDM, arXiv 2206.00364), table 7, and of what their names say; the objects
lie in a pickle as `torch_utils.persistence` lays them, each with the source of its class, which here is a trap.
"""

import math
import pickle
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Net:
    """A network of theirs: `plus` is SongUNet as DDPM++, else DhariwalUNet."""

    plus: bool = True
    side: int = 8
    seen: int = 3
    out: int = 3
    channels: int = 16
    mult: tuple[int, ...] = (1, 2)
    emb: int = 4
    blocks: int = 1
    attention: tuple[int, ...] = (4,)
    labels: int = 0
    augment: int = 0
    kwargs: dict = field(default_factory=dict)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The name and shape of every parameter."""
        c, emb, found = self.channels, self.channels * self.emb, {}

        def layer(name, *shape, bias=True):
            found[f"{name}.weight"] = shape
            if bias:
                found[f"{name}.bias"] = shape[:1]

        def block(name, c_in, c_out, attention=False, resizes=False):
            layer(f"{name}.norm0", c_in)
            layer(f"{name}.conv0", c_out, c_in, 3, 3)
            layer(f"{name}.affine", c_out if self.plus else 2 * c_out, emb)
            layer(f"{name}.norm1", c_out)
            layer(f"{name}.conv1", c_out, c_out, 3, 3)
            if c_in != c_out or (resizes and self.plus):
                layer(f"{name}.skip", c_out, c_in, 1, 1)
            if attention and (self.plus or c_out >= 64):
                layer(f"{name}.norm2", c_out)
                layer(f"{name}.qkv", 3 * c_out, c_out, 1, 1)
                layer(f"{name}.proj", c_out, c_out, 1, 1)

        layer("map_layer0", emb, c)
        layer("map_layer1", emb, emb)
        if self.labels:
            layer("map_label", c if self.plus else emb, self.labels, bias=self.plus)
        if self.augment:
            layer("map_augment", c, self.augment, bias=False)
        width = c if self.plus else c * self.mult[0]
        layer(f"enc.{self.side}x{self.side}_conv", width, self.seen, 3, 3)
        kept = [width]
        for i, m in enumerate(self.mult):
            at = self.side >> i
            if i:
                block(f"enc.{at}x{at}_down", width, width, resizes=True)
                kept.append(width)
            for j in range(self.blocks):
                block(f"enc.{at}x{at}_block{j}", width, c * m, at in self.attention)
                width = c * m
                kept.append(width)
        for i, m in reversed(list(enumerate(self.mult))):
            at = self.side >> i
            if i == len(self.mult) - 1:
                block(f"dec.{at}x{at}_in0", width, width, True)
                block(f"dec.{at}x{at}_in1", width, width)
            else:
                block(f"dec.{at}x{at}_up", width, width, resizes=True)
            for j in range(self.blocks + 1):
                here = at in self.attention and (not self.plus or j == self.blocks)
                block(f"dec.{at}x{at}_block{j}", width + kept.pop(), c * m, here)
                width = c * m
        top = f"dec.{self.side}x{self.side}_aux" if self.plus else "out"
        layer(f"{top}_norm", width)
        layer(f"{top}_conv", self.out, width, 3, 3)
        return found

    def filters(self) -> dict[str, torch.Tensor]:
        """The means of 2x2 pixels, which their files hold beside the parameters."""
        steps = {name.rsplit(".", 2)[0] for name in self.shapes() if "_down." in name or "_up." in name}
        return {
            f"{step}.{leaf}.resample_filter": torch.full((1, 1, 2, 2), 0.25)
            for step in steps
            for leaf in ("conv0", "skip")
        }

    def weights(self, seed=0) -> dict[str, torch.Tensor]:
        """All parameters at random, of a size that keeps states near variance 1."""
        g = torch.Generator().manual_seed(seed)
        return {name: torch.randn(shape, generator=g) / math.sqrt(max(math.prod(shape[1:]), 4)) + ("norm" in name and name.endswith("weight"))
                for name, shape in self.shapes().items()}  # fmt: skip

    def __call__(self, w, x, time, hot=None, augment=None):
        """F(x, time), hot [N, labels] with a single one in every row, or zeros for no label."""

        def linear(name, h):
            return h @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

        def conv(name, h):
            weight = w[f"{name}.weight"]
            return F.conv2d(h, weight, w[f"{name}.bias"], padding=weight.shape[-1] // 2)

        def norm(name, h):
            groups = min(32, h.shape[1] // 4)
            return F.group_norm(h, groups, w[f"{name}.weight"], w[f"{name}.bias"], 1e-6 if self.plus else 1e-5)

        def resized(name, h):
            if name.endswith("_down"):
                return F.avg_pool2d(h, 2)
            return F.interpolate(h, scale_factor=2.0, mode="nearest") if name.endswith("_up") else h

        def block(name, h, emb):
            told = linear(f"{name}.affine", emb)[:, :, None, None]
            y = conv(f"{name}.conv0", resized(name, F.silu(norm(f"{name}.norm0", h))))
            if self.plus:
                y = norm(f"{name}.norm1", y + told)
            else:
                scale, shift = told.chunk(2, 1)
                y = norm(f"{name}.norm1", y) * (1 + scale) + shift
            y = conv(f"{name}.conv1", F.silu(y))
            h = resized(name, h)
            h = (y + (conv(f"{name}.skip", h) if f"{name}.skip.weight" in w else h)) * s
            if f"{name}.qkv.weight" not in w:
                return h
            n, c, *size = h.shape
            heads = 1 if self.plus else c // 64
            q, k, v = conv(f"{name}.qkv", norm(f"{name}.norm2", h)).reshape(n, heads, c // heads, 3, -1).unbind(3)
            share = torch.einsum("nhci,nhcj->nhij", q, k).div(math.sqrt(c // heads)).softmax(-1)
            seen = torch.einsum("nhij,nhcj->nhci", share, v).reshape(n, c, *size)
            return (h + conv(f"{name}.proj", seen)) * s

        s = math.sqrt(0.5) if self.plus else 1.0
        half = self.channels // 2
        angle = time[:, None] * 10000.0 ** -(torch.arange(half) / (half - self.plus))
        emb = torch.cat([angle.sin(), angle.cos()] if self.plus else [angle.cos(), angle.sin()], 1)
        if self.labels and self.plus:
            emb = emb + linear("map_label", hot * math.sqrt(self.labels))
        if augment is not None:
            emb = emb + linear("map_augment", augment)
        emb = linear("map_layer1", F.silu(linear("map_layer0", emb)))
        if self.labels and not self.plus:
            emb = emb + linear("map_label", hot)
        emb = F.silu(emb)
        names = list(dict.fromkeys(name.split(".")[1] for name in w if name.startswith("enc.")))
        kept, h = [], x
        for name in names:
            h = conv(f"enc.{name}", h) if name.endswith("_conv") else block(f"enc.{name}", h, emb)
            kept.append(h)
        for name in dict.fromkeys(name.split(".")[1] for name in w if name.startswith("dec.") and "_aux" not in name):
            if "_block" in name:
                h = torch.cat([h, kept.pop()], 1)
            h = block(f"dec.{name}", h, emb)
        top = f"dec.{self.side}x{self.side}_aux" if self.plus else "out"
        return conv(f"{top}_conv", F.silu(norm(f"{top}_norm", h)))


class Persistent(nn.Module):
    """An object that is pickled as theirs are: by its attributes, its class's name and the source of a module."""

    source = ""

    def __init__(self, name, attributes=None, kwargs=None):
        super().__init__()
        self.__dict__ |= {"_name": name, "_init_args": (), "_init_kwargs": dict(kwargs or {}), **(attributes or {})}

    def __reduce__(self):
        state = {key: value for key, value in self.__dict__.items() if key != "_name"}
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": self._name, "state": state}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,), None


def _reconstruct_persistent_obj(meta):
    """As theirs does, in that it runs the source."""
    exec(meta["module_src"], {})
    return dict(meta)


def _modules() -> dict[str, ModuleType]:
    """What must be there while one is written or read by pickle itself."""
    package, persistence = ModuleType("torch_utils"), ModuleType("torch_utils.persistence")
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    return {"torch_utils": package, "torch_utils.persistence": persistence}


def with_their_modules(act):
    """What `act()` gives while their modules can be imported."""
    made = _modules()
    sys.modules |= made
    try:
        return act()
    finally:
        for name in made:
            del sys.modules[name]


def tree(name, tensors, attributes=None, kwargs=None, filters=()):
    """Modules inside modules, as the dots of the names say; "enc" and "dec" are torch's own."""
    top = nn.ModuleDict() if name in ("enc", "dec") else Persistent(name, attributes, kwargs)
    inner: dict[str, dict] = {}
    for key, value in tensors.items():
        head, _, rest = key.partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = value
        elif key in filters:
            top.register_buffer(key, value)
        else:
            top.register_parameter(key, nn.Parameter(value, requires_grad=False))
    for head, own in inner.items():
        kind = head if head in ("enc", "dec") else "UNetBlock"
        top.add_module(head, tree(kind, own, {"skip_scale": np.sqrt(0.5), "num_heads": 1}, {}, filters))
    return top


def snapshot(
    path: Path, net: Net, weights, kind="EDMPrecond", marker: Path | None = None, protocol=4, tensors=None, **attributes
):
    """Write `network-snapshot.pkl`: {ema, loss_fn, augment_pipe, dataset_kwargs}.

    Args:
        marker: a file that is made by whoever runs the source beside the objects.
        tensors: more of the outer object, by name.
        attributes: of the outer object, besides the size of images and the like.
    """
    Persistent.source = (
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\n" if marker else "raise SystemExit(3)\n"
    )
    told = {
        "img_resolution": net.side,
        "img_channels": net.seen,
        "label_dim": net.labels,
        "use_fp16": False,
    } | attributes
    model = "SongUNet" if net.plus else "DhariwalUNet"
    top = tree(
        kind,
        dict(tensors or {}),
        told,
        {"img_resolution": net.side, "model_type": model, **net.kwargs},
        tuple(tensors or ()),
    )
    inner = tree(model, net.filters() | weights, {"label_dropout": 0}, net.kwargs, ("resample_filter",))
    top.add_module("model", inner)
    data = {"ema": top, "loss_fn": Persistent("EDMLoss", {"P_mean": -1.2}), "augment_pipe": None,
            "dataset_kwargs": {"class_name": "training.dataset.ImageFolderDataset", "path": "/data"}}  # fmt: skip
    path.write_bytes(with_their_modules(lambda: pickle.dumps(data, protocol=protocol)))
    return path
