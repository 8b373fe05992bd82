"""`fromnoise convert RUN OUT --push owner/name`: what arrives at the hub, and what is said where it cannot."""

from pathlib import Path

import pytest
from huggingface_hub import constants

import fromnoise as fn
from fromnoise.app.cli import main


@pytest.fixture
def convert(hub, tmp_path, monkeypatch, capsys):
    """Runs it on a small model; returns status, standard output and errors."""
    monkeypatch.chdir(tmp_path)
    network = fn.nn.UNet(channels=8, mult=(1, 2), blocks=1, groups=4, attention=())
    fn.save(fn.Denoiser(network, fn.schedules.Linear(), shape=(3, 16, 16)), "mine")

    def run(*words, to="owner/name"):
        status = main(["convert", "mine", "out", *(("--push", to) if to else ()), *words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return run


def there(hub):
    return {
        name: content
        for name, content in hub.repos["model", "owner/name"]["main"][1].items()
        if name != ".gitattributes"
    }


def written():
    return {str(path.relative_to("out")): path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}


@pytest.mark.parametrize("batched", [True, False])
def test_every_byte_arrives_and_opens_again(hub, convert, monkeypatch, batched):
    """By LFS as without the extra protocol of large files, and inside of the commit, where the hub wishes that."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", batched)
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    hub.batched = batched
    status, out, err = convert("--private")
    assert status == 0, err
    assert out.splitlines() == ["out", f"{hub.url}/owner/name"]
    assert there(hub) == written()
    assert len(there(hub)) == 5
    assert hub.private == {"owner/name"}
    assert hub.commits == ["A diffusion model. Written by fromnoise"]
    assert bool(hub.asked("PUT /lfs/")) == batched
    one, two = fn.load("hf://owner/name", warn=lambda text: None), fn.load("mine")
    assert one.network.state_dict().keys() == two.network.state_dict().keys()
    status, out, err = convert()  # into one that is there
    assert status == 0, err
    assert hub.private == {"owner/name"}


def test_what_another_model_left_there_is_not_opened_in_its_place(hub, convert, monkeypatch):
    """One format after another, in both orders, and weights in other precisions or shards; a person's own files stay."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    own = {"NOTES.md": b"mine", "config.json": b"{}", "unet/notes.txt": b"mine", "model.safetensors.index": b""}
    hub.add("owner/name", own)
    status, _, err = convert()
    assert status == 0, err
    assert own.items() <= there(hub).items()
    before = there(hub)
    status, _, err = convert("--to", "fromnoise")
    assert status == 2  # OUT is a pipeline
    Path("out").rename("pipeline")
    status, _, err = convert("--to", "fromnoise")
    assert status == 2
    assert (
        "hf://owner/name: holds model_index.json of another model, which would be opened instead of this one; nothing is sent: remove it at"
        in err
    )
    assert there(hub) == before
    Path("out").rename("saved")
    for other in ("manifest.json", "denoiser.json", "model.pt", "unet/diffusion_pytorch_model.fp16.safetensors",
                  "unet/diffusion_pytorch_model.safetensors.index.json"):  # fmt: skip
        hub.add("owner/name", own | {other: b"{}"})
        assert f"holds {other} of another model" in convert()[2]
        assert there(hub) == own | {other: b"{}"}


def test_what_is_to_be_private_is_not_put_where_all_see_it(hub, convert, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    hub.add("owner/name", {"README.md": b"open"})
    status, _, err = convert("--private")
    assert status == 2
    assert "hf://owner/name: is public, but a private repository was asked for; nothing is sent" in err
    assert there(hub) == {"README.md": b"open"}
    hub.private.add("owner/name")
    assert convert("--private")[0] == 0


def test_without_it_nothing_is_asked(hub, convert):
    assert convert(to=None)[0] == 0
    assert hub.log == []


FAILURES = {
    "no token": ("", [], "no token: make one with the role `write` at {url}/settings/tokens, and log in with `hf auth login`, or set HF_TOKEN"),
    "another token": ("hf_read", [], "this token may not write there (401): create one for owner with the role `write` at {url}/settings/tokens"),
    "no right to make": ("hf_write", [("POST /api/repos/create", (403, {})), ("GET /api/models/", (404, {}))], "this token may not write there (403)"),
    "no right to send": ("hf_write", [("/preupload/", (403, {}))], "this token may not write there (403)"),
    "no such owner": ("hf_write", [("POST /api/repos/create", (404, {}))], "the hub knows no such owner (404): it must be you or an organisation of yours"),
    "broken": ("hf_write", [("POST /api/models/.*/commit", (500, {}))], "the hub answers 500: try again later"),
    "too many": ("hf_write", [("POST /api/repos/create", (429, {}))], "too many requests (429)"),
    "silent": ("hf_write", [("POST /api/repos/create", "hang")], "is not reached"),
    "silent at first": ("hf_write", [("GET /api/whoami", "hang")], "is not reached"),
    "cut": ("hf_write", [("POST /api/repos/create", "cut")], "the connection broke off"),
    "a broken store": ("hf_write", [("PUT /lfs/", (503, {}))], "the hub answers 503"),
    "offline": ("hf_write", "offline", "HF_HUB_OFFLINE is set: unset it"),
    "no network": ("hf_write", "away", "http://127.0.0.1:9 is not reached"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_line(hub, convert, monkeypatch, name):
    token, wrong, wanted = FAILURES[name]
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("fromnoise.weights.hub._PATIENCE", 0.3)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", wrong == "offline")
    if wrong == "away":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    hub.wrong = wrong if isinstance(wrong, list) else []
    status, _, err = convert()
    assert status == 2
    assert err.startswith("fromnoise: hf://owner/name: ")
    assert err.count("\n") == 1
    assert wanted.format(url=hub.url) in err
    assert token not in err or not token
    early = name in ("no token", "another token", "silent at first", "offline", "no network")
    assert Path("out").exists() != early  # a folder that was written stays, to be sent by hand
    assert there(hub) == {} if ("model", "owner/name") in hub.repos else True


def test_what_is_no_repository(hub, convert):
    for name in ("name", "hf://owner/name", "owner/name/more", "../x", "owner/"):
        status, _, err = convert(to=name)
        assert status == 2
        assert "must be owner/name" in err
    assert "--private needs --push OWNER/NAME" in convert("--private", to=None)[2]
    assert hub.log == []
