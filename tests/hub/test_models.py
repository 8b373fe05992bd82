"""hf://owner/name through a hub on this machine: what is fetched, what is not, and what is said where it cannot be."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from PIL import Image

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.system.disk.hub import Address, address, is_address, shown

SAFE, PICKLE = "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin"


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def same(one, two):
    a, b = one.network.state_dict(), two.network.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def line(word, warn=lambda text: None):
    """The one line that loading it ends in."""
    with pytest.raises(fn.FromNoiseError) as caught:
        fn.load(word, warn=warn)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith(("hf://", str(word)))
    return str(caught.value)


@pytest.mark.parametrize(("word", "wanted"), [
    ("hf://a/b", Address("a/b")),
    (Path("hf://a/b"), Address("a/b")),
    ("hf://models/a/b/", Address("a/b")),
    ("hf://models/b", Address("models/b")),
    ("hf://a/b-c.d_1@v1.0", Address("a/b-c.d_1", "v1.0")),
    ("hf://a/b@refs/pr/3/sub", Address("a/b", "refs/pr/3", "sub")),
    ("hf://a/b@feature%2Fx", Address("a/b", "feature/x")),
    (Path("hf://a/b@main/some/folder"), Address("a/b", "main", "some/folder")),
])  # fmt: skip
def test_an_address_is_read_from_words_and_from_paths(word, wanted):
    assert is_address(word)
    assert address(word) == wanted
    assert shown(Path("hf://a/b@c")) == "hf://a/b@c"
    assert not is_address("runs/digits")


@pytest.mark.parametrize(
    "word",
    [
        "hf://",
        "hf://a",
        "hf://a/b/../c",
        "hf://a/b@",
        "hf:///",
        "hf://a b/c",
        "hf://a/b/c//d",
        "hf://a/b@..",
        "hf://a/b@%2e%2e%2f%2e%2e%2fc",
        "hf://a/b@%5c..",
        "hf://a/b@x%2f%2fy",
        "hf://a/b@x%00",
        "hf://a/b/c\nd",
        "hf://a/b/c\x1b[31m",
    ],
)
def test_what_is_no_address_is_said(word):
    assert "give hf://owner/name" in line(word)


def test_other_kinds_are_told():
    assert "is in the hub's datasets; a model is named hf://owner/name" in line("hf://datasets/a/b")


def test_a_pipeline_is_fetched_once_at_one_commit_and_never_a_pickle(hub, pipeline, monkeypatch):
    content = files(pipeline)
    commit = hub.add("owner/name", content | {PICKLE: b"cos\nsystem\n", "README.md": b"# hello", "code.py": b"raise"})
    said = []
    first = fn.load("hf://owner/name", warn=said.append)
    assert same(first, fn.load(pipeline))
    assert said == [f"hf://owner/name is commit {commit}: pin it with hf://owner/name@{commit}"]
    assert hub.asked(SAFE)
    assert not hub.asked(".bin")
    assert not hub.asked("README")
    assert not hub.asked("code.py")

    hub.log.clear()
    said.clear()
    assert same(fn.load(f"hf://owner/name@{commit}", warn=said.append), first)
    assert said == []
    assert hub.log == []  # what is pinned and there is opened without a request

    hub.add("owner/name", {name: text.replace(b"0.02", b"0.03") for name, text in content.items()})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(fn.load("hf://owner/name", warn=said.append), first)
    assert fn.load("hf://owner/name", warn=said.append).schedule.level(1000.0).alpha > 0.006
    assert hub.log == []
    assert commit in said[0]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert fn.load("hf://owner/name", warn=said.append).schedule.level(1000.0).alpha < 0.001
    assert fn.load(f"hf://owner/name@{commit}", warn=said.append).schedule.level(1000.0).alpha > 0.006


def test_revisions_folders_and_precisions(hub, pipeline):
    content = files(pipeline)
    half = {name.replace("model.safetensors", "model.fp16.safetensors"): text for name, text in content.items()}
    hub.add("owner/both", content | half)
    hub.add("owner/half", half)
    hub.add("owner/deep", {f"v1.0/ddpm/{name}": text for name, text in content.items()}, revision="v2")
    quiet = lambda text: None  # noqa: E731
    one = fn.load("hf://owner/both", warn=quiet)
    assert not hub.asked("fp16")  # which would be fetched for nothing
    assert same(fn.load("hf://owner/half", warn=quiet), one)
    assert same(fn.load("hf://owner/deep@v2/v1.0/ddpm", warn=quiet), one)
    assert "no such branch, tag or commit" in line("hf://owner/deep@v3")
    assert "must be a diffusers pipeline or a folder of fn.save" in line("hf://owner/deep@v2")


def test_models_of_our_own_open_from_the_hub(hub, tmp_path):
    network = fn.nn.UNet(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, attention=())
    made = fn.Denoiser(network, fn.schedules.Cosine(), "v", shape=(1, 8, 8), class_names=("a", "b"))
    fn.save(made, tmp_path / "mine")
    commit = hub.add("owner/mine", tmp_path / "mine")
    opened = fn.load("hf://owner/mine", warn=lambda text: None)
    assert same(opened, made)
    assert opened.class_names == ("a", "b")
    assert {path.split("/")[-1] for path in hub.asked("HEAD")} >= {
        "model.safetensors",
        "denoiser.json",
        "manifest.json",
    }
    blob = next(Path(constants.HF_HUB_CACHE).rglob("model.safetensors"))
    content = blob.read_bytes()
    blob.resolve().write_bytes(content[:-1] + b"!")
    assert "is not what the hub sent" in line(f"hf://owner/mine@{commit}")


REFUSED = {
    "a pickle alone": ({"unet/config.json": b'{"_class_name": "UNet2DModel"}', PICKLE: b"cos", "model_index.json":
                        b'{"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}'}, "its weights are a pickle (unet/diffusion_pytorch_model.bin)"),
    "a checkpoint": ({"model.ckpt": b"x", "README.md": b""}, "its weights are a pickle (model.ckpt)"),
    "another pipeline": ({"model_index.json": b'{"_class_name": "StableDiffusionPipeline"}', "unet/diffusion_pytorch_model.safetensors": b"x" * 999},
                         "hf://owner/name/model_index.json: its class is StableDiffusionPipeline; it must be one of DDPMPipeline"),
    "a LoRA": ({"pytorch_lora_weights.safetensors": b"x"}, "holds a LoRA: small additions to the weights of a base model"),
    "an adapter": ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"}, "holds a LoRA"),
    "a language model": ({"config.json": b'{"architectures": ["Llama"]}', "model.safetensors": b"x" * 99}, "config.json: its class is None"),
    "letters": ({"README.md": b"# hello", ".gitattributes": b""}, "must be a diffusers pipeline or a folder of fn.save, but has README.md"),
    "nothing": ({".gitattributes": b""}, "but has nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model_for_us_costs_no_download(hub, name):
    content, wanted = REFUSED[name]
    hub.add("owner/name", content)
    assert wanted in line("hf://owner/name")
    assert not hub.asked("cdn")  # where large files are


GATED = (403, {"X-Error-Code": "GatedRepo"})
FAILURES = {
    "no such": ("hf://owner/none", [], "the hub knows no owner/none, or it is private (401): correct the name, or log in with `hf auth login`, or set HF_TOKEN"),
    "gated": ("hf://owner/name", [("/resolve/|/api/", GATED)], "is gated: ask for access at {url}/owner/name"),
    "gated files": ("hf://owner/name", [("HEAD .*/resolve/", GATED)], "is gated: ask for access at"),
    "forbidden": ("hf://owner/name", [("/api/", (403, {}))], "or it is private (403)"),
    "disabled": ("hf://owner/name", [("/api/", (403, {"X-Error-Message": "Access to this resource is disabled."}))], "was disabled: see {url}/owner/name"),
    "too many": ("hf://owner/name", [("/api/", (429, {}))], "too many requests (429)"),
    "broken": ("hf://owner/name", [("/api/", (500, {}))], "the hub answers 500: try again later, or name a mirror with HF_ENDPOINT"),
    "a strange answer": ("hf://owner/name", [("/api/", (418, {}))], "the hub refuses the request (418): check the name, {url}/owner/name"),
    "broken lists": ("hf://owner/name", [("/tree/", (503, {}))], "the hub answers 503"),
    "broken files": ("hf://owner/name", [("HEAD .*model.safetensors", (500, {}))], "the hub answers 500"),
    "broken store": ("hf://owner/name", [("GET /cdn/", (502, {}))], "the hub answers 502"),
    "cut": ("hf://owner/name", [("GET /cdn/", "cut")], "the connection broke off: try again; files that are complete are kept"),
    "cut JSON": ("hf://owner/name", [("GET .*config.json", "cut")], "the connection broke off"),
    "cut lists": ("hf://owner/name", [("GET /api/", "cut")], "the connection broke off"),
    "a wrong size": ("hf://owner/name", [("GET /cdn/", "short")], "the connection broke off"),
    "another server": ("hf://owner/name", [("/api/", (200, {}))], "{url} does not answer like the hub: check HF_ENDPOINT"),
    "silent": ("hf://owner/name", [("GET /api/", "hang")], "is not reached"),
    "silent store": ("hf://owner/name", [("GET /cdn/", "hang")], "is not reached"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_line_and_leaves_nothing_half(hub, pipeline, name, monkeypatch, capfd):
    word, wrong, wanted = FAILURES[name]
    logged, handler = [], logging.Handler()
    handler.emit = logged.append
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "handlers", [handler])
    commit = hub.add("owner/name", pipeline)
    hub.wrong = wrong
    if "silent" in name:
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    assert wanted.format(url=hub.url) in line(word)
    assert capfd.readouterr() == ("", "")
    assert logged == []  # what the library logs is in the line
    cache = Path(constants.HF_HUB_CACHE)
    assert not list(cache.rglob("*.incomplete"))
    for blob in cache.rglob("blobs/*"):
        assert blob.read_bytes() in files(pipeline).values()
    if word == "hf://owner/name":
        hub.wrong = []
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 10)
        assert same(fn.load(word, warn=lambda text: None), fn.load(pipeline))
        hub.wrong = [("", (500, {}))]  # what is there is opened while the hub is away
        assert same(fn.load(f"{word}@{commit}", warn=lambda text: None), fn.load(pipeline))


REFUSALS = {
    401: {"X-Error-Code": "RepoNotFound"},
    403: {"X-Error-Code": "GatedRepo"},
    404: {"X-Error-Code": "RepoNotFound"},
}


@pytest.mark.parametrize("wrong", [500, 429, "hang", 401, 403, 404])
def test_what_is_in_the_cache_is_never_passed_off_as_what_the_hub_has(hub, pipeline, monkeypatch, wrong):
    """The branch moved, and the hub does not say so: what is opened is said to be old, or, refused, not opened."""
    content = files(pipeline)
    old, said = hub.add("owner/name", content), []
    fn.load("hf://owner/name", warn=said.append)
    hub.add("owner/name", content | {"README.md": b"moved"})
    hub.wrong = [("/api/models", wrong if isinstance(wrong, str) else (wrong, REFUSALS.get(wrong, {})))]
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    if wrong in REFUSALS:
        assert "the hub knows no owner/name" in (found := line("hf://owner/name")) or "is gated" in found
        return
    fn.load("hf://owner/name", warn=said.append)
    why = f"{hub.url} is not reached" if wrong == "hang" else f"the hub answers {wrong}"
    assert said[1:] == [f"hf://owner/name was commit {old} when the hub was last asked (now {why}), and is opened as such: "
                        f"pin it with hf://owner/name@{old}"]  # fmt: skip


def test_every_part_is_fetched_in_what_it_has(hub, pipeline):
    """Whatever the parts that are not read have; a pickle is named where the part that is read has nothing else."""
    content, stray = (
        files(pipeline),
        {"vae/diffusion_pytorch_model.safetensors": b"x" * 99, "v1.0.safetensors": b"y" * 99},
    )
    rest = {name: text for name, text in content.items() if name != SAFE}
    hub.add("owner/half", rest | stray | {SAFE.replace("model.safe", "model.fp16.safe"): content[SAFE]})
    assert same(fn.load("hf://owner/half", warn=lambda text: None), fn.load(pipeline))
    assert not hub.asked("vae/")
    hub.add("owner/pickle", rest | stray | {PICKLE: b"cos"})
    assert f"its weights are a pickle ({PICKLE})" in line("hf://owner/pickle")
    hub.add("owner/none", rest | stray)
    assert "unet needs weights, diffusion_pytorch_model.safetensors or its shards, but has unet/config.json" in line(
        "hf://owner/none"
    )


def test_a_file_is_no_model_and_its_folder_is_named(hub, pipeline):
    """Before and after it is in the cache; and a star is a letter of a name."""
    hub.add("owner/name", pipeline)
    for _ in range(2):
        assert (
            line(f"hf://owner/name@main/{SAFE}")
            == f"hf://owner/name@main/{SAFE}: is a file; name its folder, hf://owner/name@main/unet"
        )
        assert "is a file; name its folder, hf://owner/name" in line("hf://owner/name/model_index.json")
        fn.load("hf://owner/name", warn=lambda text: None)
    assert "but has nothing" in line("hf://owner/name/*")


def test_two_models_in_one_place_are_not_chosen_between(hub, pipeline, tmp_path):
    fn.save(fn.load(pipeline), tmp_path / "both")
    hub.add("owner/both", files(pipeline) | files(tmp_path / "both"))
    wanted = "holds two models, a saved one (manifest.json) and a pipeline of diffusers (model_index.json)"
    assert wanted in line("hf://owner/both")
    (tmp_path / "both" / "model_index.json").write_bytes(files(pipeline)["model_index.json"])
    with pytest.raises(fn.FromNoiseError, match="holds two models"):
        fn.load(tmp_path / "both")


def test_without_a_network(hub, pipeline, monkeypatch):
    hub.add("owner/name", pipeline)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "is not complete in the cache, and HF_HUB_OFFLINE is set: unset it" in line("hf://owner/name")
    assert hub.log == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 is not reached" in line("hf://owner/name")
    assert "or fetch it elsewhere with `hf download owner/name`" in line("hf://owner/name")


def test_a_cache_that_cannot_be_written_is_said(hub, pipeline, monkeypatch, tmp_path):
    hub.add("owner/name", pipeline)
    (tmp_path / "letter").write_text("dear")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "letter" / "hub"))
    said = line("hf://owner/name")
    assert f"{tmp_path}/letter" in said
    assert "cannot be written (not a directory): set HF_HOME to another folder" in said


def test_a_private_model_is_opened_with_the_token(hub, pipeline, monkeypatch):
    hub.add("owner/name", pipeline)
    hub.private.add("owner/name")
    assert "or it is private" in line("hf://owner/name")
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    fn.load("hf://owner/name", warn=lambda text: None)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "needs huggingface_hub" in line("hf://owner/name")
    assert 'pip install "fromnoise[interop]"' in line("hf://owner/name")


def test_a_name_of_the_hub_is_asked_about_and_the_network_left_alone(hub, pipeline, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hub.add("google/ddpm-cifar10-32", pipeline)
    wanted = 'google/ddpm-cifar10-32: no such folder; if the hub\'s is meant, load "hf://google/ddpm-cifar10-32"'
    assert line("google/ddpm-cifar10-32") == wanted
    for command in (["sample"], ["nll"], ["info"], ["eval", "--data", "digits"]):
        assert main([command[0], "google/ddpm-cifar10-32", *command[1:]]) == 2
        assert capsys.readouterr().err == f"fromnoise: {wanted}\n"
    assert hub.log == []
    Path("runs").mkdir()
    assert "runs/digits: no such run; train one with" in line("runs/digits")  # a place of one's own


def test_commands_take_an_address(hub, pipeline, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commit = hub.add("owner/name", pipeline)
    Path("pictures").mkdir()
    for i in range(4):
        Image.new("RGB", (16, 16), (60 * i, 0, 0)).save(f"pictures/{i}.png")
    pinned = f"hf://owner/name is commit {commit}: pin it with hf://owner/name@{commit}\n"

    def run(*words):
        assert main(list(words)) == 0
        out, err = capsys.readouterr()
        assert err.count(pinned) == 1
        return out, err

    run("sample", "hf://owner/name", "--n", "2", "--steps", "2")
    assert Path("samples.png").is_file()  # here, and not in the hub's cache
    out, _ = run("info", "hf://owner/name")
    assert "model       hf://owner/name\n" in out
    assert "linear (T=1000, beta_start=0.0001, beta_end=0.02)" in out
    assert f"parameters  {sum(p.numel() for p in fn.load(pipeline).network.parameters()):,}\n" in out
    out, _ = run("show", "hf://owner/name", "--n", "2")
    assert sorted(os.listdir("pictures")) == ["0.png", "1.png", "2.png", "3.png", "denoising.gif", "samples.png"]
    run("nll", "hf://owner/name", "--data", "pictures", "--n", "2", "--steps", "3")
    run(
        "eval",
        "hf://owner/name",
        "--data",
        "pictures",
        "--features",
        "efficientnet-lite0",
        "--n",
        "2",
        "--steps",
        "2",
        "--out",
        "e.json",
    )
    assert json.loads(Path("e.json").read_text())["model"]["run"] == f"hf://owner/name@{commit}"
    run("edit", "image-to-image", "hf://owner/name", "pictures/0.png", "--n", "2", "--steps", "4")
    assert Path("image-to-image.png").is_file()
    run("convert", "hf://owner/name", "again")
    own = ["--set", "network.channels=16", "network.mult=[1,2]", "network.blocks=1", "network.attention=[2]", "network.groups=8",
           "network.patch=1", "network.skips=blocks", "network.head_channels=8", "data.size=16", "train.batch_size=2"]  # fmt: skip
    _, err = run(
        "train", "images", "--data", "pictures", "--init", "hf://owner/name", "--steps", "1", "--out", "run", *own
    )
    assert f"starts from hf://owner/name@{commit}: " in err
    assert "fresh" not in err
    snapshot = next(Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*"))
    assert set(files(snapshot)) == {name for name in files(pipeline) if name.endswith((".json", ".safetensors"))}


def test_environment_and_nothing_said_twice(hub, pipeline, tmp_path):
    """HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE, as the hub's library reads them, in a process of its own."""
    commit = hub.add("owner/name", pipeline)
    code = "from fromnoise.app.cli import main; import sys; sys.exit(main())"

    def run(**environment):
        return subprocess.run([sys.executable, "-c", code, "info", "hf://owner/name"], capture_output=True, text=True,
                              env=os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url} | environment)  # fmt: skip

    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"hf://owner/name is commit {commit}: pin it with hf://owner/name@{commit}\n"
    assert list((tmp_path / "home" / "hub").rglob("*.safetensors"))
    hub.log.clear()
    done = run(HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert hub.log == []
