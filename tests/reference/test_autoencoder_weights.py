"""Our autoencoder, given the weights of diffusers' AutoencoderKL, which holds Stable Diffusion's."""

import pytest
import torch

import fromnoise as fn
from fromnoise.weights.autoencoder_kl import from_diffusers_kl, to_diffusers_kl

diffusers = pytest.importorskip("diffusers", reason="the reference implementation is not installed")


def theirs(widths, blocks, groups, mid_attention=True):
    return diffusers.AutoencoderKL(
        block_out_channels=widths, layers_per_block=blocks, latent_channels=4, norm_num_groups=groups,
        mid_block_add_attention=mid_attention, down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
    ).eval()  # fmt: skip


def randomised(network):
    torch.manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():  # also those that start at zero or one
            p.add_(0.05 * torch.randn_like(p))
    return network.eval()


SMALL = {"channels": 16, "mult": (1, 2, 2), "blocks": 2, "groups": 8}


@pytest.mark.parametrize("mid_attention", [True, False])
def test_encode_and_decode_are_diffusers(mid_attention):
    reference = randomised(theirs((16, 32, 32), 2, 8, mid_attention))
    ours = fn.nn.KLAutoencoder(**SMALL, mid_attention=mid_attention).eval()
    ours.load_state_dict(from_diffusers_kl(reference.state_dict()), strict=True)
    x, z = torch.randn(2, 3, 24, 32), torch.randn(2, 4, 6, 8)
    with torch.no_grad():
        posterior = reference.encode(x).latent_dist
        mean, log_var = ours.moments(x)
        assert posterior.mean.std() > 0.05
        torch.testing.assert_close(mean, posterior.mean, rtol=0, atol=1e-4)
        torch.testing.assert_close(ours.encode(x), posterior.mean, rtol=0, atol=1e-4)
        torch.testing.assert_close(log_var, posterior.logvar, rtol=0, atol=1e-4)
        torch.testing.assert_close(ours.decode(z), reference.decode(z).sample, rtol=0, atol=1e-4)


def test_weights_go_back_and_old_names_are_read():
    state = randomised(theirs((16, 32), 1, 8)).state_dict()
    ours = from_diffusers_kl(state)
    back = to_diffusers_kl(ours)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
    old = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    renamed = {}
    for name, value in state.items():
        for new, before in old.items():
            name = name.replace(new, before)
        renamed[name] = value
    assert renamed.keys() != state.keys()
    again = from_diffusers_kl(renamed)
    assert again.keys() == ours.keys()
    assert all(torch.equal(again[name], ours[name]) for name in ours)


def test_a_name_of_another_architecture_is_refused():
    with pytest.raises(fn.FromNoiseError, match="encoder.conv_sideways"):
        from_diffusers_kl({"encoder.conv_sideways.weight": torch.zeros(1)})


def test_stable_diffusions_autoencoder_is_the_default():
    with torch.device("meta"):
        reference, ours = theirs((128, 256, 512, 512), 2, 32), fn.nn.KLAutoencoder()
    assert sum(p.numel() for p in ours.parameters()) == 83_653_863
    shapes = {name: p.shape for name, p in from_diffusers_kl(reference.state_dict()).items()}
    assert shapes == {name: p.shape for name, p in ours.state_dict().items()}
    assert ours.factor == 8
    assert ours.latent_shape((3, 512, 768)) == (4, 64, 96)
