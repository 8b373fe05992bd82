"""The studio's edits: the same pixels as the command and the Python lines, and refusals in a line."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.app.studio import works
from fromnoise.app.studio.bench import Bench
from fromnoise.app.studio.uploads import Uploads
from fromnoise.data.images import to_uint8
from fromnoise.system.disk import pictures

NAMES = ("ant", "bee", "cat")
TINY = ["network.channels=8", "network.groups=4", "network.mult=[1,2]", "network.attention=[2]", "network.blocks=1",
        "data.size=8", "sample.steps=2", "schedule.T=40", "train.batch_size=4", "train.ema=0.5"]  # fmt: skip


def waken(denoiser):
    """Networks begin at zero; these have something to say."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in denoiser.network.parameters():
            weight.add_(0.004 * torch.randn_like(weight))
    return denoiser.eval()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three models and a few pictures."""
    place = tmp_path_factory.mktemp("edits")
    torch.manual_seed(0)
    net = fn.nn.UNet(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, attention=(), classes=3,
                     null_label=True)  # fmt: skip
    fn.save(waken(fn.Denoiser(net, fn.schedules.Cosine(T=30), "v", "fixed_small", (1, 16, 16), NAMES)), place / "model")
    net = fn.nn.UNet(in_channels=3, channels=8, mult=(1, 2), blocks=1, groups=4, attention=(), image_embedding=6)
    fn.save(waken(fn.Denoiser(net, fn.schedules.Cosine(T=30), "v", "fixed_small", (3, 8, 8))), place / "decoder")
    encoder = fn.text.Learned(vocabulary=300, length=8).fitted(["red heart", "blue heart"])
    network = fn.nn.ImageTextNetwork({"width": 16} | encoder.options, outputs=6, channels=8, mult=(1, 2), groups=4)
    judge = fn.guidance.ImageText(network, fn.schedules.Cosine(), (3, 8, 8), encoder)
    fn.save(judge, place / "decoder" / "image-text")
    random = np.random.default_rng(0)
    for name, size in (("a.png", (40, 30, 3)), ("b b.png", (30, 30, 3)), ("small.png", (4, 4))):
        Image.fromarray(random.integers(0, 256, size, np.uint8)).save(place / name)
    mask = np.full((40, 30), 255, np.uint8)
    mask[:, :15] = 0
    Image.fromarray(mask).save(place / "mask.png")
    Image.new("L", (30, 40), 255).save(place / "white.png")
    Image.new("L", (40, 30)).save(place / "wide.png")
    return place


@pytest.fixture(scope="module")
def uploads(place):
    return Uploads(place)


def built(uploads, place, model="model", **values):
    """The work, and where what it names lies, as the server finds it."""
    places = {"run": place / model}
    for name in ("image", "other", "mask"):
        if name in values:
            file = values[name]
            values[name] = uploads.add((place / file).read_bytes())["key"]
            places[name] = uploads.path(values[name])
            if name != "mask":
                values[f"{name}_name"] = file
    return works.build({"name": "edit", "run": model, **values}), places


def frames(work, places):
    found = []
    work.compute(Bench(), places, lambda header, arrays=None: found.append((header, arrays or {})))
    return found


KINDS = [
    ("model", "image-to-image", {"strength": 0.5, "label": "bee", "guidance": 2.0, "sampler": "ddim", "steps": 4}),
    ("model", "inpaint", {"mask": "mask.png", "repeats": 2, "steps": 3, "seed": 5}),
    ("model", "upscale", {"image": "small.png", "steps": 3}),
    ("model", "interpolate", {"other": "b b.png"}),
    ("model", "reconstruct", {"label": "2"}),
    ("decoder", "variations", {"strength": 0.5, "steps": 3}),
    ("decoder", "text-difference", {"text": "red heart", "from_text": "blue heart", "strength": 0.4}),
]


@pytest.mark.parametrize(("model", "kind", "options"), KINDS)
def test_the_command_and_the_lines_make_the_same_pixels(place, uploads, model, kind, options, monkeypatch):
    if kind in ("interpolate", "reconstruct", "variations", "text-difference"):
        pytest.importorskip("torchdiffeq", reason="the ode extra is not installed")
    monkeypatch.chdir(place)
    n = {} if kind == "reconstruct" else {"n": 3}
    work, places = built(uploads, place, model, **{"kind": kind, "image": "a.png"} | n | options)
    (start, known), *steps, (end, made) = frames(work, places)
    assert (start["kind"], end["kind"], end["calls"] > 0) == ("start", "end", True)
    assert 1 <= len(steps) <= 130
    assert {header["kind"] for header, _ in steps} == {"step"}
    assert steps[0][1]["x0"].dtype == made["x"].dtype == np.uint8
    assert len(made["x"]) == n.get("n", 1)
    assert known["given"].shape[1:] == (made["x"].shape[1], *((4, 4) if kind == "upscale" else made["x"].shape[2:]))
    if start["total"] is not None:
        assert end["calls"] == start["total"]

    command = shlex.split(start["command"])
    assert command[:3] == ["fromnoise", "edit", kind]
    assert main(command[1:]) == 0
    both = torch.from_numpy(np.concatenate([made["given"], made["x"]]))
    expected = pictures.grid(both, min(10, len(both)))
    assert np.array_equal(np.asarray(Image.open(command[-1])), np.asarray(expected))

    names = {}
    exec(start["python"], names)
    assert np.array_equal(to_uint8(names["x"]).numpy(), made["x"])
    assert np.array_equal(to_uint8(names["given"]).numpy(), made["given"])


def test_a_long_walk_sends_about_a_hundred_frames(place, uploads):
    work, places = built(
        uploads, place, kind="inpaint", image="a.png", mask="mask.png", n=1, steps=30, repeats=12, sampler="ddim"
    )
    (start, _), *steps, (end, _) = frames(work, places)
    assert start["total"] == end["calls"] == 29 * 12 + 1
    assert 60 <= len(steps) <= 101


@pytest.fixture(scope="module")
def branch(place):
    """A model that is shown the edges of each image."""
    for i in range(4):
        path = place / "colour" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    train = ["--steps", "2", "--precision", "fp32"]
    assert main(["train", "images", "--data", str(place / "colour"), "--out", str(place / "base"), *train, "--set",
                 *TINY]) == 0  # fmt: skip
    assert main(["train", "control", "--model", str(place / "base"), "--out", str(place / "edges"), *train, "--set",
                 "train.batch_size=4"]) == 0  # fmt: skip
    return "edges"


def test_a_control_model_draws_from_the_edges_of_a_picture(place, uploads, branch, monkeypatch):
    monkeypatch.chdir(place)
    work, places = built(uploads, place, branch, kind="control", image="a.png", n=3, steps=4, seed=2)
    (start, known), *steps, (end, made) = frames(work, places)
    assert len(steps) == 4 == end["calls"]
    picture = fn.data.folder.read_image(place / "a.png", 3, (8, 8))
    assert np.array_equal(known["given"][0], picture.numpy())
    assert np.array_equal(known["condition"], fn.data.edges(picture[None]).numpy())

    (place / "condition").mkdir()
    Image.fromarray(known["condition"][0, 0]).save(place / "condition" / "condition.png")
    command = shlex.split(start["command"])
    assert main([*command[1:-1], "control.npz"]) == 0
    assert np.array_equal(np.load("control.npz")["arr_0"].transpose(0, 3, 1, 2), made["x"])
    names = {}
    exec(start["python"], names)
    assert np.array_equal(names["x"].numpy(), made["x"])

    work, places = built(uploads, place, branch, kind="control", image="small.png", n=1, sketch=True)
    (_, known), *_ = frames(work, places)
    assert known["condition"].shape == (1, 1, 8, 8)
    fitted = works.build({"name": "fit", "run": branch, "image": "x"})
    (header, arrays), *_ = frames(fitted, {"run": place / branch, "image": place / "a.png"})
    assert header["computed"]
    assert (header["height"], header["width"], arrays["whole"].shape) == (40, 30, (1, 3, 40, 30))
    assert np.array_equal(arrays["condition"], fn.data.edges(picture[None]).numpy())
    example = works.build({"name": "example", "run": branch, "number": 5})
    (header, arrays), *_ = frames(example, {"run": place / branch})
    assert (header["number"], header["of"]) == (1, 4)
    assert np.array_equal(arrays["x"][0].transpose(1, 2, 0), np.asarray(Image.open(place / "colour" / "1.png")))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"kind": "paint"}, "unknown kind 'paint'"),
        ({"kind": "inpaint"}, "mask: paint over"),
        ({"kind": "inpaint", "mask": "m", "strength": 0.5}, "strength: inpaint does not use it; it uses n, mask"),
        ({"kind": "reconstruct", "n": 3}, "n: reconstruct does not use it"),
        ({"kind": "image-to-image", "n": 0}, "n: must be from 1 to 64, got 0"),
        ({"kind": "image-to-image", "n": 10**9}, "n: must be from 1 to 64, got 1e+09"),
        ({"kind": "image-to-image", "strength": 0}, "strength: must be above 0"),
        ({"kind": "image-to-image", "strength": 1.5}, "strength: must be from 0 to 1"),
        ({"kind": "image-to-image", "strength": "much"}, "strength: input should be a valid number"),
        ({"kind": "image-to-image", "steps": -1}, "steps: must be from 1"),
        ({"kind": "image-to-image", "guidance": 1e9}, "guidance: must be from 0 to 100"),
        ({"kind": "image-to-image", "guidance": float("nan")}, "must be finite"),
        ({"kind": "image-to-image", "image": ""}, "image: choose an image first"),
        ({"kind": "interpolate"}, "needs a second image"),
        ({"kind": "interpolate", "other": "o", "n": 1}, "at least 2"),
        ({"kind": "inpaint", "mask": "m", "repeats": 1000}, "repeats: must be from 1 to 100"),
        ({"kind": "text-difference", "text": "a heart"}, "describe what the image shows"),
        ({"kind": "control", "text": "a" * 2000}, "text: has 2,000 characters"),
        ({"kind": "upscale", "seed": 2**70}, "at most 18 digits"),
        ({"kind": "upscale", "eta": 1}, "has no option 'eta'"),
    ],
)
def test_wrong_values_are_one_line(values, says):
    with pytest.raises(fn.FromNoiseError) as error:
        works.build({"name": "edit", "run": "r", "image": "k"} | values)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "values", "says"),
    [
        ("model", {"kind": "inpaint", "mask": "white.png"}, "the mask has no black"),
        ("model", {"kind": "inpaint", "mask": "wide.png"}, "mask: is 30x40 pixels and the image 40x30"),
        ("model", {"kind": "upscale"}, "no whole multiple"),
        ("model", {"kind": "image-to-image", "guidance": 2}, "guidance: needs a class to steer towards"),
        ("model", {"kind": "image-to-image", "label": "bea"}, "did you mean bee?"),
        ("model", {"kind": "image-to-image", "strength": 0.1, "steps": 2}, "less than one step"),
        ("model", {"kind": "image-to-image", "steps": 5000}, "steps"),
        ("model", {"kind": "image-to-image", "sampler": "unipcc"}, "did you mean unipc?"),
        ("model", {"kind": "variations"}, "takes no image embedding"),
        ("model", {"kind": "control"}, "is not conditioned on an image"),
        ("decoder", {"kind": "image-to-image", "label": "bee"}, "has no classes"),
    ],
)
def test_what_a_model_cannot_do_is_one_line(place, uploads, model, values, says):
    work, places = built(uploads, place, model, **{"image": "a.png"} | values)
    with pytest.raises(fn.FromNoiseError) as error:
        frames(work, places)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert str(places["image"]) not in str(error.value)


def test_a_control_model_refuses_the_others(place, uploads, branch):
    work, places = built(uploads, place, branch, kind="image-to-image", image="a.png")
    with pytest.raises(fn.FromNoiseError, match="this model is conditioned on images"):
        frames(work, places)


def test_names_of_files_are_safe_in_a_shell():
    from fromnoise.app.studio.making import files_of

    def names(image, other="", mask=""):
        return files_of(works.build({"name": "edit", "run": "r", "kind": "interpolate", "image": "1", "other": "2",
                                     "image_name": image, "other_name": other}))  # fmt: skip

    assert names("") == (["a.png", "b.png"], "mask.png")
    assert names("../x/--rm.png", "C:\\y\\z.png") == (["./--rm.png", "z.png"], "mask.png")
    assert names("same.png", "same.png") == (["same.png", "b-same.png"], "mask.png")
    assert names("mask.png", "\n\x00.png") == (["mask.png", ".png"], "painted-mask.png")
    assert Path(names("a" * 900)[0][0]).name == "a" * 120


def test_what_is_no_picture_is_one_line(tmp_path, place):
    uploads = Uploads(tmp_path)
    for content in (b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, (place / "a.png").read_bytes()[:200]):
        with pytest.raises(fn.FromNoiseError, match="cannot be read as an image") as error:
            uploads.add(content)
        assert "\n" not in str(error.value)
        assert str(tmp_path) not in str(error.value)
    with pytest.raises(fn.FromNoiseError, match="upload it again"):
        uploads.path("../../etc/passwd")
