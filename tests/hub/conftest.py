"""A hub on this machine in place of the real one, and small models of diffusers to put there."""

import time
from types import SimpleNamespace

import diffusers
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from hub.server import Hub

SMALL = {"sample_size": 16, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8,
         "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}  # fmt: skip


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Empty; the library of the hub asks it alone, waits for nothing, and keeps things in a folder of the test."""
    made = Hub()
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with made.served() as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
        monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "hf" / "stored_tokens"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        quick = SimpleNamespace(sleep=lambda seconds: None, time=time.time, monotonic=time.monotonic)
        monkeypatch.setattr("huggingface_hub.utils._http.time", quick)
        monkeypatch.setattr("huggingface_hub.file_download.time", quick)
        yield made
    close_session()


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """A folder that diffusers' own DDPMPipeline wrote."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("theirs") / "ddpm"
    unet = diffusers.UNet2DModel(**SMALL).eval()
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(place)
    return place
