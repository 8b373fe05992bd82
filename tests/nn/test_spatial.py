"""One axis more or less: what signals, images and volumes have in common, proved from one to the other."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

import fromnoise as fn
from fromnoise.nn.layers import NEAREST_UP, STRIDED_DOWN, SelfAttention, double, doubled_conv, half
from fromnoise.nn.norm import GroupNormSiLU
from fromnoise.nn.spatial import CONVOLVED, averaged, folded, repeated, unfolded

SIZE = {1: (6,), 2: (4, 6), 3: (2, 4, 6)}
OPTIONS = {"channels": 8, "mult": (1, 2), "blocks": 1, "groups": 4, "attention": (2,), "heads": 2}


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return network.double()


def with_an_axis(name: str, value: torch.Tensor, patch: int, transposed: bool) -> torch.Tensor:
    """A parameter of the network with one axis more, whose kernels look along the new, first axis at one place only.

    On states that are constant along that axis it is then the same network: every kernel sees what the smaller one
    sees, and moments, means and the softmax over keys that are all repeated equally often stay what they were.
    """
    if value.dim() < 3:
        if name == "out.bias" and patch > 1:  # channel (c, j) of a piece is channel (c, i, j) of a square for every i
            inside = len(value) // OUT
            return value.view(OUT, 1, inside).expand(OUT, patch, inside).flatten()
        return value
    kernel = value.shape[2]
    wide = value.new_zeros(*value.shape[:2], kernel, *value.shape[2:])
    places = {1: [0], 3: [1], 4: [1, 2] if transposed else [1]}[kernel]
    for place in places:
        wide[:, :, place] = value
    if patch > 1 and name == "stem.weight":
        inside = wide.shape[1] // IN
        split = wide.view(len(wide), IN, 1, inside, *wide.shape[2:])
        zero = torch.zeros_like(split).expand(-1, -1, patch - 1, *split.shape[3:])
        return torch.cat([split, zero], 2).flatten(1, 3)
    if patch > 1 and name == "out.weight":
        inside = len(wide) // OUT
        return wide.view(OUT, 1, inside, *wide.shape[1:]).expand(OUT, patch, inside, *wide.shape[1:]).flatten(0, 2)
    return wide


IN, OUT = 5, 4  # two channels and three of what is enlarged; a mean and a variance of the two


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize(
    ("resample", "skips", "scale_shift", "patch"),
    [
        ("ddpm", "blocks", False, 1),
        ("ddpm", "levels", True, 2),
        ("centered", "blocks", True, 1),
        ("residual", "blocks", True, 1),
        ("residual", "levels", False, 2),
        ("4x4", "blocks", False, 2),
        ("4x4", "levels", True, 1),
    ],
)
def test_a_network_of_one_axis_more_is_the_same_on_what_is_constant_along_it(dims, resample, skips, scale_shift, patch):
    """Signals and images; images and volumes: the whole U-Net, exactly."""
    made = {"in_channels": 2, "out_channels": OUT, "image_channels": 3, "resample": resample, "skips": skips,
            "scale_shift": scale_shift, "patch": patch, "classes": 3, **OPTIONS}  # fmt: skip
    small, large = randomised(fn.nn.UNet(**made, dims=dims)), fn.nn.UNet(**made, dims=dims + 1).double()
    assert list(large.state_dict()) == list(small.state_dict())
    lifted = {
        name: with_an_axis(name, value, patch, resample == "4x4" and name.startswith("up."))
        for name, value in small.state_dict().items()
    }
    large.load_state_dict(lifted)
    size = (8, 12)[:dims]
    x, image = torch.randn(3, 2, *size, dtype=torch.float64), torch.randn(3, 3, *size, dtype=torch.float64)
    t, label, strength = torch.tensor([0.0, 30.0, 999.0]), torch.tensor([0, 2, 1]), torch.tensor([0.0, 10.0, 500.0])
    y = small(x, t, label, image=image, strength=strength)
    times = 2 * 2 * patch
    wide = [v.unsqueeze(2).repeat_interleave(times, 2) for v in (x, image)]
    z = large(wide[0], t, label, image=wide[1], strength=strength)
    torch.testing.assert_close(z, y.unsqueeze(2).repeat_interleave(times, 2), rtol=1e-9, atol=1e-9)
    assert y.std() > 0.1


@pytest.mark.parametrize("dims", [1, 2])
def test_so_is_the_classifiers_network(dims):
    made = {"outputs": 3, "in_channels": 2, **OPTIONS}
    small, large = randomised(fn.nn.HalfUNet(**made, dims=dims)), fn.nn.HalfUNet(**made, dims=dims + 1).double()
    large.load_state_dict({k: with_an_axis(k, v, 1, False) for k, v in small.state_dict().items()})
    x, t = torch.randn(3, 2, *(8, 12)[:dims], dtype=torch.float64), torch.tensor([0.0, 30.0, 999.0])
    torch.testing.assert_close(
        large(x.unsqueeze(2).repeat_interleave(4, 2), t), small(x, t), rtol=1e-9, atol=1e-9
    )  # fmt: skip


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_folding_puts_every_place_of_a_cube_into_a_channel_of_its_own(dims):
    p, size = 2, SIZE[dims]
    x = torch.randn(2, 3, *size)
    y = folded(x, p)
    assert y.shape == (2, 3 * p**dims, *(s // p for s in size))
    for c, *inside in product(range(3), *[range(p)] * dims):
        channel = c
        for i in inside:
            channel = channel * p + i
        assert torch.equal(y[:, channel], x[(slice(None), c, *(slice(i, None, p) for i in inside))])
    assert torch.equal(unfolded(y, p), x)
    assert folded(x, 1) is unfolded(x, 1) is x


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_means_and_repetitions(dims):
    x = torch.randn(2, 3, *SIZE[dims], dtype=torch.float64)
    corners = [x[(..., *(slice(i, None, 2) for i in inside))] for inside in product(range(2), repeat=dims)]
    torch.testing.assert_close(averaged(x, 2), torch.stack(corners).mean(0))
    assert torch.equal(half(x), averaged(x, 2))
    wide = x
    for axis in range(dims):
        wide = wide.repeat_interleave(3, 2 + axis)
    assert torch.equal(repeated(x, 3), wide)
    torch.testing.assert_close(averaged(double(x), 2), x)


def test_points_have_no_neighbours():
    with pytest.raises(fn.FromNoiseError, match=r"only signals, images and volumes .* got \[2, 3\]"):
        averaged(torch.zeros(2, 3), 2)


@pytest.mark.parametrize("size", [(3,), (700,), (1, 1, 3), (5, 11, 13)])
def test_a_convolution_of_the_doubled_signal_or_volume_with_its_gradients(size):
    """Few places and many: the plain way and the short one."""
    dims = len(size)
    g = torch.Generator().manual_seed(0)
    shapes = (1, 3, *size), (4, 3, *(3,) * dims), (4,)
    inputs = [torch.randn(s, generator=g, dtype=torch.float64) for s in shapes]

    def plain(x, weight, bias):
        for axis in range(dims):
            x = x.repeat_interleave(2, 2 + axis)
        return CONVOLVED[dims](x, weight, bias, padding=1)

    found = []
    for function in (doubled_conv, plain):
        leaves = [v.clone().requires_grad_() for v in inputs]
        y = function(*leaves)
        y.backward(torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape))
        found.append([y.detach(), *(v.grad for v in leaves)])
    for own, theirs in zip(*found, strict=True):
        torch.testing.assert_close(own, theirs, atol=1e-10, rtol=1e-10)
    layer = NEAREST_UP[dims](3, 4).double()
    torch.testing.assert_close(layer(inputs[0]), plain(inputs[0], layer.weight, layer.bias))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_strided_convolution_looks_ahead_as_tensorflow_does(dims):
    """y_i = sum_k w_k x_(2i + k), k = 0, 1, 2, along every axis, with zeros behind the last place."""
    layer = STRIDED_DOWN[dims](1, 1).double()
    x = torch.randn(1, 1, *SIZE[dims], dtype=torch.float64)
    padded = F.pad(x, (0, 2) * dims)
    for place in product(range(3), repeat=dims):
        with torch.no_grad():
            layer.weight.zero_()[(0, 0, *place)] = 1
            layer.bias.zero_()
        seen = tuple(slice(k, k + length, 2) for k, length in zip(place, SIZE[dims], strict=True))
        assert torch.equal(layer(x), padded[(..., *seen)])


@pytest.mark.parametrize("dims", [1, 3])
def test_normalisation_and_attention_do_not_ask_how_places_are_arranged(dims):
    """The same places as an image of one row."""
    x = torch.randn(2, 8, *SIZE[dims], dtype=torch.float64)
    for layer in (GroupNormSiLU(4, 8), SelfAttention(8, 2, 4, 1e-6)):
        randomised(layer)
        torch.testing.assert_close(layer(x).flatten(2), layer(x.flatten(2)[:, :, None]).flatten(2))
    torch.testing.assert_close(GroupNormSiLU(4, 8).double()(x), F.silu(F.group_norm(x, 4, eps=1e-6)))


@pytest.mark.parametrize(
    ("dims", "shape", "said"),
    [
        (1, (2, 3, 9), "signals of 9 do not fit: the network needs sides divisible by 2; 8 fits"),
        (3, (2, 3, 4, 6, 7), "volumes of 4x6x7 do not fit: the network needs sides divisible by 2; 4x6x8 fits"),
        (1, (2, 3, 8, 8), r"for signals \(C, L\), and the data have sides 8x8: a unet with dims=2 is for those"),
        (2, (2, 3, 8), r"for images \(C, H, W\), and the data have sides 8: a unet with dims=1 is for those"),
        (3, (2, 3, 8, 8), r"for volumes \(C, D, H, W\), and the data have sides 8x8: a unet with dims=2"),
        (2, (2, 3), "the data have no sides: an mlp takes any shape"),
        (2, (2, 3, 2, 2, 2, 2), "the data have sides 2x2x2x2: an mlp takes any shape"),
    ],
)
def test_what_does_not_fit_is_named_as_what_it_is(dims, shape, said):
    with pytest.raises(fn.FromNoiseError, match=said):
        fn.nn.UNet(**OPTIONS, dims=dims)(torch.zeros(shape), torch.zeros(2))


def test_what_is_to_be_enlarged_is_named_as_what_it_is():
    x, t = torch.zeros(1, 3, 8), torch.zeros(1)
    with pytest.raises(fn.FromNoiseError, match="needs a signal beside x: give image="):
        fn.nn.UNet(**OPTIONS, dims=1, image_channels=1)(x, t)
    with pytest.raises(fn.FromNoiseError, match="takes no signal beside x: leave image= out"):
        fn.nn.UNet(**OPTIONS, dims=1)(x, t, image=x)


@pytest.mark.parametrize("kind", ["strided", "centered", "residual", "4x4"])
def test_a_file_without_dims_is_of_images(kind):
    """What was saved before there were others."""
    resample = "ddpm" if kind == "strided" else kind
    made = fn.nn.build({"name": "unet", "resample": resample, **OPTIONS})
    assert made.dims == 2
    assert {p.dim() for p in made.parameters()} == {1, 2, 4}
