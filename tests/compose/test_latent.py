"""Latents: the learned codec, its tiles, its scale, and models of latents on the disk."""

import pytest
import torch
import torch.nn.functional as F

import fromnoise as fn
from fromnoise.app.runs.latents import latents_of
from fromnoise.compose.autoencoded import Autoencoded, tiled
from fromnoise.data import precomputed
from fromnoise.data.images import InMemory
from fromnoise.system.hardware import choose
from fromnoise.weights import native

SMALL = {"in_channels": 1, "channels": 8, "mult": (1, 2), "blocks": 1, "latent": 2, "groups": 4}


def network(kind="kl-autoencoder", seed=0):
    torch.manual_seed(seed)
    return fn.nn.build({"name": kind, **SMALL}).eval()


def images(n=7, size=8):
    pixels = torch.randint(0, 256, (n, 1, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return InMemory("toy", pixels, torch.arange(n) % 2, ("a", "b"))


@pytest.mark.parametrize("kind", ["kl-autoencoder", "vq-autoencoder"])
def test_the_codec_is_the_autoencoder_with_a_scale(kind):
    net, x = network(kind), torch.rand(3, 1, 8, 12) * 2 - 1
    codec = Autoencoded(net, scale=0.3)
    with torch.no_grad():
        torch.testing.assert_close(codec.encode(x), 0.3 * net.encode(x))
        torch.testing.assert_close(codec.decode(codec.encode(x)), net.decode(net.encode(x)), atol=1e-5, rtol=1e-4)
    assert codec.image_shape((2, 4, 6)) == (1, 8, 12)
    assert not codec.encode(x).requires_grad


@pytest.mark.parametrize("shape", [(20, 20), (33, 20), (17, 41), (16, 16)])
def test_tiles_of_a_local_decoder_are_seamless(shape):
    """A decoder that looks 2 pixels around gives the same in tiles, but for the rims of inner tiles within its reach."""
    kernel = torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 5

    def decode(z):
        return F.conv2d(F.interpolate(z, scale_factor=2.0, mode="nearest"), kernel, padding="same")

    z = torch.randn(2, 1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole, parts = decode(z), tiled(decode, z, 16, 8, 2)
    assert parts.shape == whole.shape
    error = (parts - whole).abs()
    # only what lies within 2 pixels of a tile's own rim is wrong, and weighs at most 2/17 there
    assert error.max() < 2 * 2 / 17 * whole.abs().max()
    assert error.median() < 1e-12
    smooth = torch.ones_like(z)
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    pixel = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    exact = tiled(lambda part: F.conv2d(F.interpolate(part, scale_factor=2.0), pixel), smooth, 16, 8, 2)
    torch.testing.assert_close(exact[inner], torch.ones_like(exact[inner]))


def test_large_latents_are_decoded_in_tiles():
    net, sizes = network(), []
    codec = Autoencoded(net, tile=8)
    decode = net.decode
    net.decode = lambda z: (sizes.append(tuple(z.shape[2:])), decode(z))[1]
    assert codec.decode(torch.randn(1, 2, 20, 8)).shape == (1, 1, 40, 16)
    assert sizes == [(8, 8)] * 3


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_runs_latents_are_those_of_its_autoencoder_and_of_unit_variance(tmp_path, monkeypatch, mirrored):
    monkeypatch.setenv("FROMNOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(precomputed, "BATCH", 3)
    monkeypatch.setattr(precomputed, "PART", 6)
    net, data = network(), images()
    native.save(net, tmp_path / "run" / "autoencoder")
    kept, codec = latents_of(data, tmp_path / "run", choose("fp32"), mirrored)
    assert (len(kept), kept.shape, kept.classes) == (7 * (1 + mirrored), (2, 4, 4), ("a", "b"))
    x = data.pixels.float() / 127.5 - 1
    every = Autoencoded(net).encode(torch.cat([x, x.flip(-1)]) if mirrored else x)
    assert codec.scale == kept.scale == pytest.approx(1 / every.std(correction=0).item(), rel=1e-4)
    z, labels = kept.batch([5, 0, len(kept) - 1])
    torch.testing.assert_close(z, codec.scale * every[[5, 0, len(kept) - 1]], atol=1e-5, rtol=1e-4)
    assert labels.tolist() == [1, 0, 0]
    assert kept.batch(range(len(kept)))[0].std(correction=0).item() == pytest.approx(1, rel=1e-5)
    assert sorted(p.name for p in next((tmp_path / "cache" / "latents").iterdir()).iterdir()) == [
        "description", "part-000000", "part-000001"]  # fmt: skip


class Stopped(Exception):
    """A kill at one call of the autoencoder."""


def test_a_run_that_was_stopped_while_it_encoded_goes_on_with_the_parts_that_it_has(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FROMNOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(precomputed, "BATCH", 10)
    monkeypatch.setattr(precomputed, "PART", 20)
    data, run, hardware = images(130), tmp_path / "run", choose("fp32")
    native.save(network(), run / "autoencoder")
    encode, calls = Autoencoded.encode, []

    def counted(self, x, at=None):
        calls.append(len(x))
        if len(calls) == at:
            raise Stopped
        return encode(self, x)

    monkeypatch.setattr(Autoencoded, "encode", lambda self, x: counted(self, x, at=12))
    with pytest.raises(Stopped):
        latents_of(data, run, hardware, False)
    monkeypatch.setattr(Autoencoded, "encode", counted)
    calls.clear()
    kept, _ = latents_of(data, run, hardware, False)
    assert calls == [10] * 3  # of 13: parts 0 to 4 were whole
    truth = kept.batch(range(130))[0]
    calls.clear()
    assert torch.equal(latents_of(data, run, hardware, False)[0].batch(range(130))[0], truth)
    assert not calls
    (place,) = (tmp_path / "cache" / "latents").iterdir()
    for name in ("examples.safetensors", "about.json", "manifest.json"):
        content = bytearray((place / "part-000003" / name).read_bytes())
        content[-20] ^= 1
        (place / "part-000003" / name).write_bytes(bytes(content))
        capsys.readouterr()
        assert torch.equal(latents_of(data, run, hardware, False)[0].batch(range(130))[0], truth)
        assert capsys.readouterr().err.count("it is made again") == 1
    calls.clear()
    data.pixels[64] = 255 - data.pixels[64]  # one that the digest of a few examples does not see
    changed, _ = latents_of(data, run, hardware, False)
    assert "part-000003: its images have changed; they are encoded again" in capsys.readouterr().err
    assert calls == [10] * 2
    unscaled = [latents.batch([70, 64])[0] / latents.scale for latents in (kept, changed)]
    torch.testing.assert_close(unscaled[0][0], unscaled[1][0])
    assert (unscaled[0][1] - unscaled[1][1]).abs().max() > 1e-3


def test_latents_in_one_file_are_encoded_again_and_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FROMNOISE_CACHE", str(tmp_path / "cache"))
    native.save(network(), tmp_path / "run" / "autoencoder")
    old = tmp_path / "cache" / "latents" / f"{Autoencoded(network()).sha256[:16]}-before"
    old.mkdir(parents=True)
    (old / "latents.npy").touch()
    for said in (1, 0):
        latents_of(images(), tmp_path / "run", choose("fp32"), False)
        assert capsys.readouterr().err.count("are no longer read") == said


def model(net):
    torch.manual_seed(1)
    unet = fn.nn.UNet(in_channels=2, channels=8, mult=(1, 2), blocks=1, groups=4)
    torch.nn.init.normal_(unet.out.weight, std=0.1)
    return fn.Denoiser(unet, fn.schedules.Cosine(T=20), "v", shape=(2, 4, 4), codec=Autoencoded(net, 0.5))


def test_samples_are_decoded_and_the_model_is_saved_with_its_autoencoder(tmp_path):
    denoiser = model(network())
    assert denoiser.image_shape == (1, 8, 8)
    x = fn.sample(denoiser, 3, "ddim", steps=4)
    assert x.shape == (3, 1, 8, 8)
    plain = model(network())
    plain.codec = None
    torch.testing.assert_close(denoiser.codec.decode(fn.sample(plain, 3, "ddim", steps=4)), x)
    fn.save(denoiser, tmp_path / "m")
    torch.testing.assert_close(fn.sample(fn.load(tmp_path / "m"), 3, "ddim", steps=4), x)


def test_a_model_without_its_autoencoder_is_one_line(tmp_path):
    fn.save(model(network()), tmp_path / "m")
    (tmp_path / "m" / "autoencoder").rename(tmp_path / "away")
    with pytest.raises(fn.FromNoiseError, match="without its autoencoder: put the autoencoder's folder at"):
        fn.load(tmp_path / "m")
    native.save(network(seed=3), tmp_path / "m" / "autoencoder")
    with pytest.raises(fn.FromNoiseError, match="not the autoencoder that this model was trained with"):
        fn.load(tmp_path / "m")
    with pytest.raises(fn.FromNoiseError, match="holds no denoiser; it is of kind autoencoder"):
        fn.load(tmp_path / "m" / "autoencoder")


def test_editing_goes_through_the_codec():
    denoiser = model(network())
    x = torch.rand(2, 1, 8, 8) * 2 - 1
    edited = fn.editing.image_to_image(denoiser, x, 0.5, "ddim", 4)
    assert edited.shape == x.shape
    for refused in (
        lambda: fn.editing.Upscale(denoiser, x[0, :, ::2, ::2]),
        lambda: fn.editing.Inpaint(x[0], torch.ones(1, 8, 8), fn.samplers.DDIM()).check(denoiser),
    ):
        with pytest.raises(fn.FromNoiseError, match="a latent model"):
            refused()


def test_a_model_in_half_precision_is_saved_and_loaded(tmp_path):
    fn.save(model(network()), tmp_path / "m")
    half = fn.load(tmp_path / "m", precision="bf16")
    fn.save(half, tmp_path / "half")
    again = fn.load(tmp_path / "half")
    for key, value in half.codec.network.state_dict().items():
        torch.testing.assert_close(again.codec.network.state_dict()[key], value.float())
    opened = fn.runs.open_model(tmp_path / "m", "fp32")
    drawn = fn.runs.draw(opened, 2, opened.choice(fn.runs.SampleOptions(steps=2)), seed=0)  # clipped by nobody
    assert drawn.shape == (2, 1, 8, 8)
