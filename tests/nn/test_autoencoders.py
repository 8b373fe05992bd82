"""The autoencoders of latent diffusion and their discriminator: shapes, penalties, codes, gradients."""

import pytest
import torch

import fromnoise as fn

SMALL = {"channels": 8, "mult": (1, 2, 2), "blocks": 1, "groups": 4}
BOTH = pytest.mark.parametrize("kind", ["kl-autoencoder", "vq-autoencoder"])


def build(kind, **options):
    torch.manual_seed(0)
    return fn.nn.build({"name": kind, **SMALL, **options})


def disturbed(network):
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return network


@BOTH
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", [{}, {"mid_attention": False, "blocks": 2}, {"mult": (1, 2), "latent": 3}])
def test_shapes(kind, channels, options):
    network = build(kind, in_channels=channels, **options)
    x = torch.randn(2, channels, 12, 20)
    f = 2 if "mult" in options else 4
    shape = (options.get("latent", 4), 12 // f, 20 // f)
    assert network.factor == f
    assert network.latent_channels == shape[0]
    assert network.latent_shape(x.shape[1:]) == shape
    z = network.encode(x)
    assert z.shape == (2, *shape)
    assert network.decode(z).shape == x.shape
    reconstruction, penalty = network(x, torch.randn(2, *shape))
    assert reconstruction.shape == x.shape
    assert penalty.shape == (2,)
    assert penalty.dtype == torch.float32
    assert (penalty > 0).all()


@BOTH
def test_every_parameter_is_used_and_learns(kind):
    network = disturbed(build(kind))
    reconstruction, penalty = network(torch.randn(2, 3, 16, 16), torch.randn(2, 4, 4, 4))
    (reconstruction.square().sum() + penalty.sum()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@BOTH
def test_examples_do_not_mix(kind):
    network = disturbed(build(kind)).eval()
    x, noise = torch.randn(3, 3, 8, 16), torch.randn(3, 4, 2, 4)
    whole, penalty = network(x, noise)
    for i in range(3):
        one, alone = network(x[i : i + 1], noise[i : i + 1])
        torch.testing.assert_close(whole[i : i + 1], one, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(penalty[i : i + 1], alone, rtol=1e-4, atol=1e-5)


@BOTH
def test_channels_last_and_half_precision(kind):
    network = disturbed(build(kind)).eval()
    x, noise = torch.randn(2, 3, 16, 24), torch.randn(2, 4, 4, 6)
    expected, penalty = network(x, noise)
    with torch.autocast("cpu", torch.bfloat16):
        half, half_penalty = network(x, noise)
    assert half_penalty.dtype == torch.float32
    torch.testing.assert_close(half_penalty, penalty, rtol=0.05, atol=0.01)
    if kind == "kl-autoencoder":  # a rounded latent may choose another code
        torch.testing.assert_close(half.float(), expected, rtol=0, atol=0.1)
    last = network.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), noise)[0]
    torch.testing.assert_close(last, expected, rtol=0, atol=1e-4)
    whole = network.bfloat16()(x.bfloat16(), noise)
    assert whole[0].dtype == torch.bfloat16
    assert whole[1].dtype == torch.float32
    assert whole[0].isfinite().all()


@BOTH
def test_sizes_that_do_not_fit_name_the_one_that_does(kind):
    network = build(kind)
    for call in (network.encode, network.latent_shape, lambda x: network(x, torch.randn(1, 4, 7, 6))):
        with pytest.raises(fn.FromNoiseError, match=r"30x27 do not fit.*divisible by 4; 32x28 fits") as caught:
            call(torch.zeros(1, 3, 30, 27) if call != network.latent_shape else (3, 30, 27))
        assert "\n" not in str(caught.value)


@BOTH
def test_a_spec_builds_the_same_network(kind):
    from fromnoise.registry import spec

    network = build(kind, latent=3)
    again = fn.nn.build(spec(network))
    again.load_state_dict(network.state_dict())
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(again.eval().encode(x), network.eval().encode(x))


def test_kl_is_that_of_torchs_distributions():
    network = disturbed(build("kl-autoencoder")).eval()
    x, noise = torch.randn(2, 3, 8, 16), torch.randn(2, 4, 2, 4)
    mean, log_var = network.moments(x)
    reconstruction, penalty = network(x, noise)
    q = torch.distributions.Normal(mean, torch.exp(log_var / 2))
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0, 1)).sum((1, 2, 3)) / (3 * 8 * 16)
    torch.testing.assert_close(penalty, expected)
    assert torch.equal(network.encode(x), mean)
    torch.testing.assert_close(reconstruction, network.decode(q.mean + q.stddev * noise))


def test_variances_are_bounded():
    network = build("kl-autoencoder")
    with torch.no_grad():
        network.quant_conv.bias[4:] = torch.tensor([100.0, -100.0, 0.0, 0.0])
    _, log_var = network.moments(torch.randn(1, 3, 8, 8))
    assert log_var.amax() == 20
    assert log_var.amin() == -30


def test_the_nearest_code_is_the_nearest():
    network = disturbed(build("vq-autoencoder", codes=37))
    z = 2 * torch.randn(2, 4, 3, 5)
    found, codes = network.nearest(z), network.codebook()
    assert found.shape == (2, 3, 5)
    for n, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(5)):
        distance = (z[n, :, i, j] - codes).norm(dim=1)
        assert found[n, i, j] == distance.argmin()
        assert torch.equal(network.quantise(z)[n, :, i, j], codes[found[n, i, j]])


def test_decode_quantises_and_encode_does_not():
    network = disturbed(build("vq-autoencoder", codes=16)).eval()
    x = torch.randn(2, 3, 8, 8)
    z = network.encode(x)
    assert (network.quantise(z) - z).abs().max() > 1e-2
    torch.testing.assert_close(network.decode(z), network.decode(network.quantise(z)))
    torch.testing.assert_close(network(x, z)[0], network.decode(z))


def test_the_gradient_passes_straight_through_the_codes():
    network = disturbed(build("vq-autoencoder", codes=16))
    x, heard = torch.randn(2, 3, 8, 8), {}
    network.quant_conv.register_full_backward_hook(lambda module, into, out: heard.update(z=out[0]))
    network.post_quant_conv.register_full_backward_hook(lambda module, into, out: heard.update(e=into[0]))
    network(x, x)[0].square().sum().backward()
    torch.testing.assert_close(heard["z"], heard["e"])
    assert network.book.grad is None  # the reconstruction says nothing to the codes


def test_the_penalty_pulls_the_codes_and_more_weakly_the_latents():
    network = disturbed(build("vq-autoencoder", codes=16))
    x = torch.randn(2, 3, 8, 8)
    z = network.encode(x)
    e, codes = network.quantise(z), network.codebook()
    stray = torch.stack([(torch.cdist(codes, p.flatten(1).T) ** 2).amin(1).mean() / 4 for p in z])
    _, penalty = network(x, x)
    torch.testing.assert_close(penalty, 1.25 * (z - e).square().mean((1, 2, 3)) + 0.1 * stray)
    heard = {}
    network.quant_conv.register_full_backward_hook(lambda module, into, out: heard.update(z=out[0]))
    network(x, x)[1].sum().backward()
    torch.testing.assert_close(heard["z"], 0.25 * 2 * (z - e) / z[0].numel())
    used = (z.detach() - network.quantise(z)).square().mean((1, 2, 3)).sum()
    every = torch.stack(
        [torch.cdist(network.codebook(), p.detach().flatten(1).T).square().amin(1).mean() / 4 for p in z]
    )
    expected = torch.autograd.grad(used + 0.1 * every.sum(), network.book)[0]
    torch.testing.assert_close(network.book.grad, expected, rtol=1e-4, atol=1e-6)
    assert (network.book.grad != 0).any(1).all()  # no code is lost


def test_usage_is_the_perplexity_of_the_codes():
    network = build("vq-autoencoder", codes=8)
    x = torch.randn(4, 3, 8, 8)
    share = torch.bincount(network.nearest(network.encode(x)).flatten(), minlength=8) / 16
    expected = torch.distributions.Categorical(share).entropy().exp()
    torch.testing.assert_close(network.usage(x), expected)
    with torch.no_grad():
        network.book.copy_(100 + torch.arange(8.0)[:, None].expand(8, 4))
    assert network.usage(x).item() == pytest.approx(1)


@pytest.mark.parametrize("away", [False, True])
def test_most_codes_are_used(away):
    """Pixels of 32 gray values need 32 codes: of 64, most of that number are used, wherever they started."""

    def draw(step):
        gray = torch.randint(0, 32, (16, 1, 4, 4), generator=torch.Generator().manual_seed(step)) / 15.5 - 1
        return gray.repeat_interleave(2, 2).repeat_interleave(2, 3)

    network = build("vq-autoencoder", in_channels=1, mult=(1, 2), codes=64, mid_attention=False)
    if away:
        with torch.no_grad():
            network.book.mul_(0.1).add_(0.3)
        assert network.usage(draw(1000)) < 3
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(150):
        x = draw(step)
        reconstruction, penalty = network(x, x)
        optimizer.zero_grad()
        ((reconstruction - x).abs().mean() + penalty.mean()).backward()
        optimizer.step()
    with torch.no_grad():
        x = draw(1000)
        assert network.usage(x) > 24
        assert (network.decode(network.encode(x)) - x).abs().mean() < 0.2


def test_the_discriminator_gives_one_logit_for_each_patch():
    network = fn.nn.PatchDiscriminator(in_channels=1, channels=8, groups=4)
    x = torch.randn(2, 1, 32, 48)
    assert network(x).shape == (2, 1, 2, 4)
    network(x).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    whole, one = network(x), network(x[1:])
    torch.testing.assert_close(whole[1:], one, rtol=1e-4, atol=1e-5)  # no statistics of the batch
    assert fn.nn.PatchDiscriminator(channels=8, groups=4)(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    with pytest.raises(fn.FromNoiseError, match="23x32 are too small: the discriminator needs sides of 24 or more"):
        network(torch.zeros(1, 1, 23, 32))
    assert fn.nn.PatchDiscriminator(channels=8, layers=2, groups=4)(torch.zeros(1, 3, 12, 23)).shape == (1, 1, 1, 3)


def test_a_logit_sees_seventy_pixels():
    torch.manual_seed(0)
    network = fn.nn.PatchDiscriminator(in_channels=1, channels=4, groups=1)
    for module in network.body:
        if hasattr(module, "groups") and not isinstance(module, torch.nn.Conv2d):
            module.forward = lambda h: h  # its moments see the whole image
    x = torch.randn(1, 1, 128, 128, requires_grad=True)
    network(x)[0, 0, 7, 7].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 == 70


@pytest.mark.parametrize("name", ["kl-autoencoder", "vq-autoencoder"])
def test_a_strangers_number_of_blocks_is_refused_before_it_takes_memory(name):
    with pytest.raises(fn.FromNoiseError, match="more than 10,000 tensors of weights"):
        fn.nn.build({"name": name, "channels": 8, "groups": 4, "blocks": 10**9})
