"""Our U-Net, given the weights of diffusers' UNet2DModel in the DDPM CIFAR-10 configuration."""

import pytest
import torch

import fromnoise as fn
from fromnoise.weights.diffusers import from_diffusers

diffusers = pytest.importorskip("diffusers", reason="the reference implementation is not installed")


def theirs(**changes):
    options = {
        "sample_size": 32, "in_channels": 3, "out_channels": 3, "layers_per_block": 2,
        "block_out_channels": (128, 256, 256, 256), "center_input_sample": False, "flip_sin_to_cos": False, "freq_shift": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "downsample_padding": 0, "act_fn": "silu", "norm_eps": 1e-6, "attention_head_dim": None, "norm_num_groups": 32,
    }  # fmt: skip
    return diffusers.UNet2DModel(**(options | changes)).eval()


def outputs(reference, ours, size=32):
    torch.manual_seed(1)
    with torch.no_grad():
        for p in reference.parameters():  # also those that start at zero or one
            p.add_(0.02 * torch.randn_like(p))
    ours.load_state_dict(from_diffusers(reference.state_dict()), strict=True)
    x, t = torch.randn(2, 3, size, size), torch.tensor([7, 901])
    with torch.no_grad():
        return (
            reference(x, t).sample,
            ours.eval()(x, t.float()),
            ours.to(memory_format=torch.channels_last)(x, t.float()),
        )


def test_ddpm_cifar10():
    expected, ours, channels_last = outputs(theirs(), fn.nn.UNet())
    assert expected.std() > 0.05
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(channels_last, expected, rtol=0, atol=1e-5)


def test_heads_and_another_depth():
    reference = theirs(block_out_channels=(32, 64), down_block_types=("DownBlock2D", "AttnDownBlock2D"), layers_per_block=1,
                       up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=16, norm_num_groups=8)  # fmt: skip
    ours = fn.nn.UNet(channels=32, mult=(1, 2), blocks=1, attention=(2,), heads=4, groups=8)
    expected, got, _ = outputs(reference, ours, size=16)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_improved_ddpms_options():
    """Scale and shift of the norms, heads by their width, resampling inside residual blocks, centred padding."""
    small = {"block_out_channels": (32, 64), "layers_per_block": 1, "attention_head_dim": 8, "norm_num_groups": 8,
             "resnet_time_scale_shift": "scale_shift", "add_attention": False}  # fmt: skip
    options = {"channels": 32, "mult": (1, 2), "blocks": 1, "attention": (2,), "head_channels": 8, "groups": 8,
               "scale_shift": True, "mid_attention": False}  # fmt: skip
    plain = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    inside = {"down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"), "upsample_type": "resnet",
              "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D")}  # fmt: skip
    residual = theirs(**small, **inside)
    expected, got, _ = outputs(residual, fn.nn.UNet(**options, resample="residual"), size=16)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    centered = theirs(**small, **plain, downsample_padding=1)
    expected, got, _ = outputs(centered, fn.nn.UNet(**options, resample="centered"), size=16)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_the_count_of_ddims_celeba_network():
    with torch.device("meta"):
        plain, attention = ("DownBlock2D", "UpBlock2D"), ("AttnDownBlock2D", "AttnUpBlock2D")
        kinds = [plain, plain, attention, plain, plain]
        reference = theirs(sample_size=64, block_out_channels=(128, 256, 256, 256, 512),
                           down_block_types=tuple(k[0] for k in kinds), up_block_types=tuple(k[1] for k in reversed(kinds)))  # fmt: skip
        ours = fn.recipes.load("ddim-celeba-64").build().network
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in reference.parameters())
