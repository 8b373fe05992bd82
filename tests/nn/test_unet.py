"""The U-Net: parameter counts of the papers, sizes, and what a fresh one does."""

import os
from pathlib import Path

import pytest
import torch

import fromnoise as fn

SMALL = {"channels": 8, "mult": (1, 2), "blocks": 1, "groups": 4, "attention": (2,)}


def count(**options) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in fn.nn.UNet(**options).parameters())


def test_parameter_counts_are_the_published_ones():
    assert count() == 35_746_307
    assert count(mult=(1, 1, 2, 2, 4, 4), attention=(16,)) == 113_673_219
    learned = {"out_channels": 6, "scale_shift": True}
    improved = count(blocks=3, attention=(2, 4), heads=4, resample="centered", **learned)
    assert improved == 52_546_438
    adm = learned | {"head_channels": 64, "resample": "residual", "classes": 1000}
    assert count(channels=192, mult=(1, 2, 3, 4), blocks=3, attention=(2, 4, 8), **adm) == 295_904_454
    assert count(channels=256, mult=(1, 1, 2, 2, 4, 4), attention=(8, 16, 32), **adm) == 553_838_086
    plus = {"mult": (2, 2, 2), "blocks": 4, "stem_channels": 128, "resample": "projected", "up_attention": "last"}
    assert count(**plus, augment=True) == 55_733_891  # EDM's DDPM++ for CIFAR-10
    assert count(**plus, augment=True, classes=10, null_label=True, label_features=True) == 55_735_299
    thesis = fn.recipes.load("thesis-mnist").network
    assert count(**{k: v for k, v in thesis.items() if k != "name"}, in_channels=1) == 7_339_297


def test_sums_are_scaled_after_blocks_and_attention():
    """And nothing else is: what a block gives is s times what it gives with s = 1."""
    torch.manual_seed(0)
    x, emb = torch.randn(2, 8, 6, 6), torch.randn(2, 5)
    for make, told in (
        (lambda **o: fn.nn.layers.ResidualBlock(8, 8, 5, 4, 1e-6, **o), (emb,)),
        (lambda **o: fn.nn.layers.SelfAttention(8, 2, 4, 1e-6, **o), ()),
    ):
        plain, scaled = make(), make(skip_scale=0.6)
        scaled.load_state_dict(plain.state_dict())
        torch.testing.assert_close(scaled(x, *told), 0.6 * plain(x, *told))


def test_narrow_layers_have_fewer_groups():
    network = fn.nn.UNet(channels=8, mult=(1, 2), blocks=1, groups=8, group_channels=4, attention=(2,))
    norms = [m for m in network.modules() if isinstance(m, fn.nn.norm.GroupNormSiLU)]
    assert {(len(n.weight), n.groups) for n in norms} == {(8, 2), (16, 4), (24, 6), (32, 8)}
    assert network(torch.randn(2, 3, 8, 8), torch.zeros(2)).shape == (2, 3, 8, 8)


def test_only_the_last_block_of_a_level_attends_on_the_way_up():
    network = fn.nn.UNet(channels=8, mult=(1, 2), blocks=2, groups=4, attention=(2,), up_attention="last")
    attends = [[type(a).__name__ == "SelfAttention" for a in level.attention] for level in (*network.down, *network.up)]
    assert attends == [[False] * 2, [True] * 2, [False, False, True], [False] * 3]


def test_labels_may_be_told_with_the_time():
    """emb = silu(W_2 silu(W_1 (sinusoidal(time) + E[label])))."""
    torch.manual_seed(0)
    network = fn.nn.UNet(**SMALL, classes=3, null_label=True, label_features=True)
    time, label = torch.tensor([1.0, 7.0]), torch.tensor([2, 0])
    for given, row in ((label, label), (None, torch.tensor([3, 3]))):
        wanted = network.time(network.sinusoidal(time) + network.label.weight[row])
        torch.testing.assert_close(network.embedding(time, given, torch.float32), wanted)
    with pytest.raises(fn.FromNoiseError, match="needs a label"):
        fn.nn.UNet(**SMALL, classes=3, label_features=True)(torch.randn(1, 3, 8, 8), torch.zeros(1))


@pytest.mark.parametrize("resample", ["ddpm", "centered", "residual", "projected", "4x4"])
@pytest.mark.parametrize("skips", ["blocks", "levels"])
@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_every_variant_keeps_the_shape(resample, skips, patch, channels):
    network = fn.nn.UNet(in_channels=channels, resample=resample, skips=skips, patch=patch, **SMALL)
    x = torch.randn(2, channels, 12, 20)
    assert network(x, torch.tensor([0.0, 999.0])).shape == x.shape
    assert (
        fn.nn.UNet(in_channels=3, out_channels=6, patch=patch, **SMALL)(torch.randn(1, 3, 8, 8), torch.zeros(1)).shape[
            1
        ]
        == 6
    )


def test_a_fresh_network_predicts_zero():
    assert not fn.nn.UNet(**SMALL)(torch.randn(2, 3, 8, 8), torch.zeros(2)).any()


def test_every_parameter_is_used_and_learns():
    adm = {"resample": "residual", "scale_shift": True, "classes": 7, "head_channels": 4}
    for options in ({}, {"resample": "4x4", "skips": "levels"}, {"patch": 2}, {"resample": "centered"}, adm):
        torch.manual_seed(0)
        network = fn.nn.UNet(**SMALL, **options)
        with torch.no_grad():
            for p in network.parameters():
                p.add_(0.1 * torch.randn_like(p))
        label = (torch.arange(7),) if "classes" in options else ()
        n = 7 if label else 2
        network(torch.randn(n, 3, 8, 8), torch.linspace(3.0, 700.0, n), *label).square().sum().backward()
        assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_time_matters_and_examples_do_not_mix():
    torch.manual_seed(0)
    network = fn.nn.UNet(**SMALL).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x, t = torch.randn(3, 3, 8, 8), torch.tensor([0.0, 10.0, 500.0])
    whole = network(x, t)
    for i in range(3):
        torch.testing.assert_close(whole[i : i + 1], network(x[i : i + 1], t[i : i + 1]), rtol=1e-4, atol=1e-5)
    assert (network(x, t + 50) - whole).abs().max() > 1e-3


def test_sizes_that_do_not_fit_name_the_one_that_does():
    network = fn.nn.UNet(mult=(1, 2, 2), channels=8, groups=4, attention=())
    with pytest.raises(fn.FromNoiseError, match=r"30x27 do not fit.*divisible by 4; 32x28 fits"):
        network(torch.zeros(1, 3, 30, 27), torch.zeros(1))


def test_sinusoidal_has_both_denominators():
    from fromnoise.nn.layers import Sinusoidal

    t = torch.tensor([7.0])
    ddpm, thesis = Sinusoidal(8)(t), Sinusoidal(8, endpoint=False)(t)
    assert torch.equal(Sinusoidal(8).bfloat16()(t), ddpm)  # as exact beside weights in half precision
    for i in range(4):
        assert ddpm[0, i].item() == pytest.approx(torch.sin(t / 10000 ** (i / 3)).item(), abs=1e-6)
        assert ddpm[0, 4 + i].item() == pytest.approx(torch.cos(t / 10000 ** (i / 3)).item(), abs=1e-6)
        assert thesis[0, i].item() == pytest.approx(torch.sin(t / 10000 ** (2 * i / 8)).item(), abs=1e-6)


def test_recipes_build_with_the_published_counts():
    for name, shape, expected in [("ddpm-cifar10", None, 35_746_307), ("ddpm-celebahq-256", None, 113_673_219),
                                  ("thesis-mnist", None, 7_339_297), ("improved-ddpm-cifar10", None, 52_546_438),
                                  ("improved-ddpm-cifar10-vlb", None, 52_546_438), ("ddim-cifar10", None, 35_746_307),
                                  ("adm-imagenet-64", None, 295_904_454), ("adm-imagenet-256", None, 553_838_086),
                                  ("ddpm-lsun-bedroom-256", None, 113_673_219), ("ddpm-lsun-cat-256", None, 113_673_219),
                                  ("ddpm-lsun-church-256", None, 113_673_219)]:  # fmt: skip
        with torch.device("meta"):
            denoiser = fn.recipes.load(name).build(shape)
        assert sum(p.numel() for p in denoiser.parameters()) == expected
        assert denoiser.schedule.level(1000).alpha.device.type == "cpu"


def test_labels_matter_and_are_asked_for():
    torch.manual_seed(0)
    network = fn.nn.UNet(**SMALL, classes=3)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x, t = torch.randn(1, 3, 8, 8).expand(2, -1, -1, -1), torch.ones(2)
    first, second = network(x, t, torch.tensor([0, 2]))
    assert not torch.allclose(first, second)
    with pytest.raises(fn.FromNoiseError, match="needs a label"):
        network(x, t)
    with pytest.raises(fn.FromNoiseError, match="takes no label"):
        fn.nn.UNet(**SMALL)(x, t, torch.tensor([0, 2]))


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_a_transform_is_added_to_the_times_features_and_zeros_are_nothing(name):
    """EDM's map_augment: a linear map without bias, before the first layer that the time goes through."""
    options = SMALL if name == "unet" else {"depth": 1, "width": 16, "heads": 2}
    torch.manual_seed(0)
    network = fn.nn.build({"name": name, **options, "augment": True})
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x, t, told = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 500.0]), torch.randn(2, 9)
    plain = network(x, t)
    assert torch.equal(network(x, t, augment=torch.zeros(2, 9)), plain)
    assert (network(x, t, augment=told) - plain).abs().amax((1, 2, 3)).min() > 1e-3
    weight = network.augment.weight
    assert network.augment.bias is None
    seen = []
    network.time[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(x, t, augment=told).square().sum().backward()
    torch.testing.assert_close(seen[0], network.sinusoidal(t) + told @ weight.T)
    assert weight.grad.abs().amin() > 0
    without = fn.nn.build({"name": name, **options})
    state = {k: v for k, v in network.state_dict().items() if k != "augment.weight"}
    without.load_state_dict(state)  # all else has the same names and shapes
    torch.testing.assert_close(without(x, t), plain)
    with pytest.raises(fn.FromNoiseError, match="takes no augment: .*augment=True"):
        without(x, t, augment=told)


def test_a_blank_network_takes_no_memory_until_weights_are_put_into_it():
    """Not filled with first weights: a file's take their place, and both are never in memory at once."""

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    options = {"name": "unet", "channels": 256, "mult": (1, 2), "blocks": 2, "attention": ()}
    fn.nn.blank(options | {"channels": 32})  # what is imported for the first time
    before = resident()
    network = fn.nn.blank(options)
    size = sum(p.numel() * p.element_size() for p in network.parameters())
    assert size > 1e8
    assert resident() - before < size / 5
    built = fn.nn.build(options)
    assert [(k, v.shape, v.dtype) for k, v in network.state_dict().items()] == [
        (k, v.shape, v.dtype) for k, v in built.state_dict().items()
    ]
    network.load_state_dict(built.state_dict(), assign=True)
    x, t = torch.randn(1, 3, 8, 8), torch.tensor([3.0])
    with torch.no_grad():
        assert torch.equal(network(x, t), built(x, t))
