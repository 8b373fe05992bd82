"""Latent pipelines of diffusers, LDM's and DiT's: networks, autoencoders and whole chains, by their own classes."""

import itertools
import json

import diffusers
import pytest
import torch

import fromnoise as fn
from fromnoise.app.cli import main

CODER = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
         "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}  # fmt: skip
CHAIN = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195, "clip_sample": False}


def shaken(network, by=0.05):
    torch.manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(by * torch.randn_like(p))
    return network.eval()


def ldm(folder):
    unet = diffusers.UNet2DModel(sample_size=8, in_channels=3, out_channels=3, block_out_channels=(32, 64), layers_per_block=1,
                                 norm_num_groups=8, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
                                 up_block_types=("AttnUpBlock2D", "UpBlock2D"))  # fmt: skip
    vqvae = diffusers.VQModel(**CODER, latent_channels=3, num_vq_embeddings=64)
    vqvae.quantize.embedding.weight.data.mul_(30)  # codes as far apart as latents are
    pipeline = diffusers.LDMPipeline(shaken(vqvae), shaken(unet), diffusers.DDIMScheduler(**CHAIN))
    pipeline.save_pretrained(folder)
    return pipeline


def dit(folder):
    transformer = diffusers.DiTTransformer2DModel(num_attention_heads=4, attention_head_dim=8, in_channels=4, out_channels=8,
                                                  num_layers=2, sample_size=8, num_embeds_ada_norm=5)  # fmt: skip
    shaken(transformer)
    for block in transformer.transformer_blocks:  # as in every file: one embedding, stored once for each block
        block.norm1.emb.load_state_dict(transformer.transformer_blocks[0].norm1.emb.state_dict())
    vae = shaken(diffusers.AutoencoderKL(**CODER, latent_channels=4, scaling_factor=0.3))
    labels = {0: "tench, Tinca tinca", 1: "goldfish", 2: "shark", 3: "ray", 4: "cock"}
    pipeline = diffusers.DiTPipeline(transformer, vae, diffusers.DDIMScheduler(clip_sample=False))
    pipeline.save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"id2label": labels}))  # as in the published ones
    return pipeline


@torch.no_grad()
def drawn(network, scheduler, x, steps=8):
    """z_0 of DDIM from z_T = x; network(x, t) gives what it predicts, and perhaps a variance."""
    scheduler = diffusers.DDIMScheduler.from_config(scheduler.config)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t)[:, : x.shape[1]], t, x, eta=0.0).prev_sample
    return x, scheduler.timesteps


@torch.no_grad()
def ours(denoiser, timesteps, x, cond=None):
    levels = [denoiser.schedule.level(float(t) + 1) for t in timesteps] + [denoiser.schedule.level(0.0)]
    sampler = fn.samplers.DDIM()
    y, state = x, sampler.init(x)
    for t, s in itertools.pairwise(levels):
        y, state = sampler.step(denoiser, y, t, s, state, lambda: torch.zeros_like(x), cond)
    return y


def noise(channels):
    return torch.randn(2, channels, 8, 8, generator=torch.Generator().manual_seed(3))


def test_ldm(tmp_path):
    """From the same z_T to the same image: the chain, the scale of the latents, the codes and the decoder."""
    pipeline = ldm(tmp_path / "a")
    denoiser = fn.load(tmp_path / "a")
    x = noise(3)
    z, timesteps = drawn(lambda x, t: pipeline.unet(x, t).sample, pipeline.scheduler, x)
    own = ours(denoiser, timesteps, x)
    torch.testing.assert_close(own, z, rtol=0, atol=1e-4 * z.abs().max().item())
    with torch.no_grad():
        wanted = pipeline.vqvae.decode(z / pipeline.vqvae.config.scaling_factor).sample
        codes = denoiser.codec.network.nearest(z / denoiser.codec.scale)
        assert len(codes.unique()) > 8  # not one code everywhere, which any decoder would agree on
        torch.testing.assert_close(denoiser.decoded(z), wanted, rtol=0, atol=1e-4)
        image = torch.rand(2, 3, 16, 16) * 2 - 1
        encoded = pipeline.vqvae.encode(image).latents * pipeline.vqvae.config.scaling_factor
        torch.testing.assert_close(denoiser.encoded(image), encoded, rtol=0, atol=1e-5)
    assert denoiser.image_shape == (3, 16, 16)
    assert main(["sample", str(tmp_path / "a"), "--n", "2", "--steps", "2", "--out", str(tmp_path / "x.png")]) == 0


def test_dit(tmp_path):
    pipeline = dit(tmp_path / "a")
    denoiser = fn.load(tmp_path / "a")
    x, label = noise(4), torch.tensor([3, 5])  # a class, and none
    t = torch.tensor([7, 901])
    with torch.no_grad():
        wanted = pipeline.transformer(x, t, class_labels=label).sample
        found = denoiser.network(x, t.float(), label)
    assert wanted.std() > 0.1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)

    def network(x, t):
        return pipeline.transformer(x, t.expand(2), class_labels=label).sample

    z, timesteps = drawn(network, pipeline.scheduler, x)
    own = ours(denoiser, timesteps, x, {"label": label})
    torch.testing.assert_close(own, z, rtol=0, atol=1e-4 * z.abs().max().item())
    with torch.no_grad():
        torch.testing.assert_close(denoiser.decoded(z), pipeline.vae.decode(z / 0.3).sample, rtol=0, atol=1e-4)
    assert denoiser.class_names == ("tench", "goldfish", "shark", "ray", "cock")
    assert (denoiser.classes, denoiser.null_label, denoiser.image_shape) == (5, 5, (3, 16, 16))
    assert type(denoiser.variance).__name__ == "LearnedRange"
    fn.save(denoiser, tmp_path / "ours")
    again = fn.load(tmp_path / "ours")
    assert all(torch.equal(again.network.state_dict()[k], v) for k, v in denoiser.network.state_dict().items())
    assert again.codec.scale == 0.3


def test_an_autoencoder_alone(tmp_path):
    vae = shaken(diffusers.AutoencoderKL(**CODER, latent_channels=4))
    vae.save_pretrained(tmp_path / "vae")
    network = fn.weights.load_autoencoder(tmp_path / "vae")
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(network.encode(image), vae.encode(image).latent_dist.mean, rtol=0, atol=1e-5)
    with pytest.raises(fn.FromNoiseError, match="must hold a Denoiser, got a KLAutoencoder"):
        fn.load(tmp_path / "vae")


def test_what_no_network_here_has_is_refused_in_a_line(tmp_path):
    ldm(tmp_path / "a")
    dit(tmp_path / "b")
    for place, file, changes, says in (
        ("a", "vqvae/config.json", {"_class_name": "AutoencoderTiny"}, "its class is AutoencoderTiny; it must be one of AutoencoderKL"),
        ("a", "vqvae/config.json", {"act_fn": "mish"}, "its act_fn is mish"),
        ("a", "vqvae/config.json", {"vq_embed_dim": 7}, "or of latents and codes, differ"),
        ("a", "vqvae/config.json", {"down_block_types": ["AttnDownEncoderBlock2D"] * 2}, "has AttnDownEncoderBlock2D"),
        ("a", "vqvae/config.json", {"num_vq_embeddings": 9}, "do not fit"),
        ("b", "transformer/config.json", {"norm_type": "ada_norm_single"}, "its norm_type is ada_norm_single"),
        ("b", "transformer/config.json", {"num_layers": 3}, "do not fit"),
        ("b", "transformer/config.json", {"_class_name": "PixArtTransformer2DModel"}, "its class is PixArtTransformer2DModel"),
        ("b", "vae/config.json", {"shift_factor": 0.1}, "its shift_factor is 0.1"),
    ):  # fmt: skip
        path = tmp_path / place / file
        before = path.read_text()
        path.write_text(json.dumps(json.loads(before) | changes))
        with pytest.raises(fn.FromNoiseError, match=says) as caught:
            fn.load(tmp_path / place)
        assert "\n" not in str(caught.value)
        path.write_text(before)
    names = json.loads((tmp_path / "b" / "model_index.json").read_text())
    (tmp_path / "b" / "model_index.json").write_text(json.dumps(names | {"id2label": {"0": "one"}}))
    assert fn.load(tmp_path / "b").class_names == ()
