"""A state is [B, ...]: points, signals, images and volumes go the whole way, through every network that takes them."""

import copy

import pytest
import torch
from conftest import student_for
from torch import Tensor

import fromnoise as fn
from fromnoise.bound import optimal_variance
from fromnoise.gaussian import diffuse
from fromnoise.system.hardware import Hardware

UNET = {"name": "unet", "channels": 8, "mult": (1, 2), "blocks": 1, "groups": 4, "attention": (2,)}
DIT = {"name": "dit", "depth": 1, "width": 8, "heads": 2}
MLP = {"name": "mlp", "width": 16, "depth": 2}
NETWORKS = [
    ((2,), MLP),
    ((1, 16), UNET | {"dims": 1}),
    ((1, 16), UNET | {"dims": 1, "resample": "residual", "scale_shift": True, "patch": 2}),
    ((1, 16), MLP | {"sides": (16,)}),
    ((1, 8, 8), UNET),
    ((1, 8, 8), DIT),
    ((1, 8, 8), MLP | {"sides": (8, 8)}),
    ((1, 4, 8, 8), UNET | {"dims": 3}),
    ((1, 4, 8, 8), UNET | {"dims": 3, "resample": "4x4", "skips": "levels", "patch": 2}),
    ((1, 4, 8, 8), MLP | {"sides": (4, 8, 8)}),
]
every_network = pytest.mark.parametrize(
    ("shape", "spec"), NETWORKS, ids=lambda v: v["name"] if isinstance(v, dict) else "x".join(map(str, v))
)


def made(shape: tuple[int, ...], spec: dict, seed: int = 0, size: float = 0.1, **options) -> torch.nn.Module:
    """The network for states of this shape, away from its start where its output is not to be zero."""
    torch.manual_seed(seed)
    network = fn.nn.build(spec, in_channels=shape[0], **options)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(size * torch.randn_like(p))
    return network


def model(shape: tuple[int, ...], spec: dict, variance: str = "learned_range", **options) -> fn.Denoiser:
    out = shape[0] * (2 if variance == "learned_range" else 1)
    network = made(shape, spec, out_channels=out, classes=3, null_label=True)
    return fn.Denoiser(network, fn.schedules.Cosine(T=12), "v", variance, shape, **options).eval()


@every_network
def test_a_network_keeps_the_shape_and_starts_at_zero(shape, spec):
    x, t = torch.randn(2, *shape), torch.tensor([0.0, 999.0])
    for channels in (shape[0], 2 * shape[0]):
        y = made(shape, spec, size=0.0, out_channels=channels)(x, t)
        assert y.shape == (2, channels, *shape[1:])
        assert not y.any()


@every_network
def test_every_parameter_learns_and_time_and_label_matter(shape, spec):
    network = made(shape, spec, classes=3, null_label=True)
    x, t, label = torch.randn(4, *shape), torch.tensor([3.0, 50.0, 400.0, 999.0]), torch.arange(4)
    y = network(x, t, label)
    y.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert torch.equal(network(x, t), network(x, t, torch.full((4,), 3)))
    assert not torch.allclose(network(x, t + 30, label), y)
    assert not torch.allclose(network(x, t, (label + 1) % 4), y)
    alone = torch.cat([network(x[i : i + 1], t[i : i + 1], label[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone, y, rtol=1e-4, atol=1e-5)


@every_network
def test_blocks_that_are_computed_again_give_the_same_gradients(shape, spec):
    options = {} if spec["name"] == "dit" else {"dropout": 0.3}
    plain = made(shape, spec, **options)
    again = copy.deepcopy(plain)
    fn.nn.recompute_blocks(again)
    x, t = torch.randn(2, *shape), torch.tensor([3.0, 700.0])
    kept = []
    for network in (plain, again):
        held = 0

        def pack(v: Tensor) -> Tensor:
            nonlocal held
            held += v.numel() * (not isinstance(v, torch.nn.Parameter))
            return v

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda v: v):
            y = network(x, t)
        kept.append(held)
        y.square().sum().backward()
    assert kept[1] < kept[0]
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@every_network
def test_score_matching_differentiates_twice(shape, spec):
    """Its gradient is the slope of its loss, by a central difference along one direction."""
    denoiser = fn.Denoiser(made(shape, spec).double(), fn.schedules.Cosine(T=12), shape=shape)
    x0, noise = torch.randn(2, *shape).double(), torch.randn(2, 2, *shape).double()
    t = denoiser.schedule.level(torch.tensor([3, 9]))

    def loss():
        return fn.objectives.Sliced()(denoiser, x0, t, noise)["loss"].mean()

    loss().backward()
    parameters = list(denoiser.network.parameters())
    along = [torch.randn_like(p) for p in parameters]
    slope = sum((p.grad * d).sum() for p, d in zip(parameters, along, strict=True) if p.grad is not None)
    values, h = [], 1e-5
    for side in (1, -2):
        with torch.no_grad():
            for p, d in zip(parameters, along, strict=True):
                p.add_(side * h * d)
        values.append(loss().item())
    assert (values[0] - values[1]) / (2 * h) == pytest.approx(slope.item(), rel=1e-4)


@every_network
def test_a_saved_model_is_the_same_bit_for_bit(shape, spec, tmp_path):
    denoiser = model(shape, spec)
    fn.save(denoiser, tmp_path / "model")
    again = fn.load(tmp_path / "model")
    assert again.shape == shape
    x, t, cond = torch.randn(3, *shape), denoiser.schedule.level(7), {"label": torch.arange(3)}
    with torch.no_grad():
        one, other = denoiser(x, t, cond), again(x, t, cond)
    assert one.output.shape == one.variance.shape == x.shape
    assert torch.equal(one.output, other.output)
    assert torch.equal(one.variance, other.variance)


@every_network
def test_preparing_for_a_device_changes_the_layout_of_image_kernels_alone(shape, spec):
    network = made(shape, spec).eval()
    x, t = torch.randn(2, *shape), torch.tensor([3.0, 700.0])
    with torch.no_grad():
        before = network(x, t)
        strides = {n: p.stride() for n, p in network.named_parameters()}
        Hardware(torch.device("cpu"), torch.float32, "test").prepare(network, inference=False)
        torch.testing.assert_close(network(x, t), before, rtol=1e-4, atol=1e-5)
    for name, p in network.named_parameters():
        if p.dim() == 4:
            assert p.is_contiguous(memory_format=torch.channels_last)
        else:
            assert p.stride() == strides[name]
    half = Hardware(torch.device("cpu"), torch.bfloat16, "test").prepare(network, inference=True)
    assert (half(x.bfloat16(), t).float() - before).norm() < 0.1 * before.norm()


@every_network
@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "unipc", "heun", "predictor-corrector", "ode"])
def test_samples(shape, spec, sampler):
    denoiser = model(shape, spec)
    options = {"rtol": 1e-2, "atol": 1e-2} if sampler == "ode" else {}
    x = fn.sample(denoiser, 3, fn.samplers.build({"name": sampler, **options}), steps=4, seed=1, batch_size=2)
    assert x.shape == (3, *shape)
    assert x.dtype == torch.float32
    assert bool(torch.isfinite(x).all())
    if sampler != "ode":
        alone = fn.sample(denoiser, 1, sampler, steps=4, seed=1, first=2)
        torch.testing.assert_close(alone, x[2:], rtol=1e-3, atol=1e-4)


@every_network
def test_likelihoods(shape, spec):
    denoiser = model(shape, spec)
    x0, cond = torch.randint(256, (2, *shape)) / 127.5 - 1, {"label": torch.tensor([0, 2])}
    bound = fn.likelihood.vlb(denoiser, x0, cond=cond)
    assert bound.total.shape == (2,)
    assert bool(torch.isfinite(bound.total).all())
    flow = fn.likelihood.ode(denoiser, x0, cond=cond, rtol=1e-2, atol=1e-2)
    assert flow.latent.shape == x0.shape
    assert flow.dimensions == x0[0].numel()
    assert bool(torch.isfinite(flow.log_prob).all())


# The exact denoiser of a mixture, of states of every shape: what is a vector elsewhere in the tests, shaped.

SHAPES = [(4,), (1, 4), (2, 2), (1, 2, 2), (1, 2, 1, 2)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
SCHEDULE = fn.schedules.Cosine(T=20)


def mixtures(shape: tuple[int, ...]) -> tuple[fn.oracle.GaussianMixture, fn.oracle.GaussianMixture]:
    """The same distribution of vectors of four numbers, and of states."""
    g = torch.Generator().manual_seed(0)
    means = torch.randn(2, 4, generator=g, dtype=torch.float64)
    roots = 0.4 * torch.randn(2, 4, 4, generator=g, dtype=torch.float64)
    parts = torch.tensor([0.3, 0.7]), means, roots @ roots.mT + 0.05 * torch.eye(4)
    return fn.oracle.GaussianMixture(*parts), fn.oracle.GaussianMixture(parts[0], means.view(2, *shape), parts[2])


@every_shape
def test_a_mixture_of_states_is_that_of_their_vectors(shape):
    flat, shaped = mixtures(shape)
    x, t = torch.randn(5, *shape, dtype=torch.float64), SCHEDULE.level(torch.tensor([0, 1, 5, 10, 20]))
    for one, other in zip(shaped.moments(x, t), flat.moments(x.flatten(1), t), strict=True):
        assert torch.equal(one.flatten(1), other.flatten(1))
    assert shaped.moments(x, t)[0].shape == x.shape
    noisy = t[1:]
    assert torch.equal(shaped.log_prob(x[1:], noisy), flat.log_prob(x[1:].flatten(1), noisy))
    assert torch.equal(shaped.score(x[1:], noisy).flatten(1), flat.score(x[1:].flatten(1), noisy))
    assert shaped.score(x[1:], noisy).shape == x[1:].shape
    draws = [m.sample(7, torch.Generator().manual_seed(3)) for m in (shaped, flat)]
    assert draws[0].shape == (7, *shape)
    assert torch.equal(draws[0].flatten(1), draws[1])
    mean, cov = shaped.mean_and_covariance()
    assert mean.shape == shape
    assert torch.equal(cov, flat.mean_and_covariance()[1])
    assert shaped.given([1]).shape == shape
    assert torch.equal(shaped.log_class(x[1:], noisy, [0]), flat.log_class(x[1:].flatten(1), noisy, [0]))


@every_shape
@pytest.mark.parametrize("sampler", fn.samplers.names())
def test_every_sampler_draws_the_same_numbers_in_every_shape(shape, sampler):
    """Those of vectors are held to the truth elsewhere."""
    flat, shaped = (student_for(sampler, m.denoiser(SCHEDULE)) for m in mixtures(shape))
    x = fn.sample(shaped, 6, sampler, steps=5, seed=2)
    assert x.shape == (6, *shape)
    # the solver measures its error over all that it is given: by the example, whatever its shape
    torch.testing.assert_close(x.flatten(1), fn.sample(flat, 6, sampler, steps=5, seed=2), rtol=1e-9, atol=1e-9)


@every_shape
def test_the_density_by_the_ode_is_the_mixtures(shape):
    _, truth = mixtures(shape)
    denoiser, level = truth.denoiser(SCHEDULE), SCHEDULE.level(3)
    x = diffuse(truth.sample(4, torch.Generator().manual_seed(0)), torch.randn(4, *shape).double(), level)
    flow = fn.likelihood.ode(denoiser, x, start=level, divergence="exact", rtol=1e-7, atol=1e-7)
    end = SCHEDULE.chain[0]  # where the latent is not yet the prior's, the truth is
    exact = truth.log_prob(flow.latent, end) + flow.volume
    torch.testing.assert_close(exact, truth.log_prob(x, level), rtol=0, atol=1e-4)


@every_shape
def test_bounds_and_the_optimal_variance_do_not_depend_on_the_shape(shape):
    flat, shaped = (m.denoiser(SCHEDULE) for m in mixtures(shape))
    x0 = torch.randint(256, (3, *shape), generator=torch.Generator().manual_seed(0)).double() / 127.5 - 1
    one, other = fn.likelihood.vlb(shaped, x0), fn.likelihood.vlb(flat, x0.flatten(1))
    torch.testing.assert_close(one.total, other.total)
    t = SCHEDULE.level(torch.tensor([1, 7.5]))
    found = [optimal_variance(d, x).spread(t) for d, x in ((shaped, x0), (flat, x0.flatten(1)))]
    torch.testing.assert_close(*found)


@every_shape
def test_every_objective_sees_the_same_losses_in_every_shape(shape):
    x0 = torch.randint(256, (3, *shape), generator=torch.Generator().manual_seed(0)).double() / 127.5 - 1
    for name in fn.objectives.names():
        objective = fn.objectives.build(name)
        variance = "learned_range" if name == "hybrid" else "fixed_large"
        noise = torch.randn(3, objective.draws, 4, generator=torch.Generator().manual_seed(1)).double()
        found = []
        for s in (shape, (4,)):
            denoiser = fn.Denoiser(Doubled(variance), SCHEDULE, "eps", variance, s)
            eps = noise.view(3, objective.draws, *s) if objective.draws > 1 else noise.view(3, *s)
            t = SCHEDULE.level(torch.tensor([2, 5, 11]))
            found.append(objective(denoiser, x0.view(3, *s), t, eps, None, SCHEDULE.chain)["loss"])
        torch.testing.assert_close(*found)


class Doubled(torch.nn.Module):
    """A simple function of each number, with as many again for a variance."""

    def __init__(self, variance: str):
        super().__init__()
        self.again = variance == "learned_range"

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = torch.tanh(x) * 0.7
        return torch.cat([y, 0.1 * y], 1) if self.again else y


@every_shape
def test_guidance_in_every_shape(shape):
    flat, shaped = mixtures(shape)
    x = torch.randn(5, *shape, dtype=torch.float64)
    t, label = SCHEDULE.level(torch.full((5,), 9)), {"label": torch.tensor([0, 1, 0, 1, 1])}
    found = []
    for truth, state in ((shaped, x), (flat, x.flatten(1))):
        free = truth.conditional_denoiser(SCHEDULE, [[0], [1]])
        null = {"label": torch.tensor(-1)}
        guided = fn.guidance.Clip(fn.guidance.ClassifierFree(free, null, 2.0, rescale=0.5))
        by_class = fn.guidance.Classifier(
            truth.denoiser(SCHEDULE), lambda v, at, cond, truth=truth: truth.log_class(v, at, [0]), 3.0
        )
        auto = fn.guidance.Auto(truth.denoiser(SCHEDULE), truth.given([1]).denoiser(SCHEDULE), 1.5)
        found.append([d(state, t, label).x0 for d in (free, guided, by_class, auto)])
    for one, other in zip(*found, strict=True):
        assert one.shape == x.shape
        torch.testing.assert_close(one.flatten(1), other)


def test_there_is_no_deviation_of_one_number():
    lone = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.ones(1, 1, 1)).denoiser(SCHEDULE)
    with pytest.raises(fn.FromNoiseError, match="these states have one number: leave it at 0"):
        fn.guidance.ClassifierFree(lone, {}, 2.0, rescale=0.5)


@every_shape
def test_editing_in_every_shape(shape):
    from fromnoise import editing

    flat, shaped = mixtures(shape)
    x0 = shaped.sample(2, torch.Generator().manual_seed(1))
    known = torch.tensor([1.0, 0.0, 0.0, 1.0])
    found = []
    for truth, s in ((shaped, shape), (flat, (4,))):
        denoiser, x = truth.denoiser(SCHEDULE), x0.view(2, *s)
        part = editing.Inpaint(x[0], known.view(s), fn.samplers.Ancestral(), 2)
        found.append(
            [
                editing.encode(denoiser, x),
                editing.decode(denoiser, x),
                editing.interpolate(denoiser, x[0], x[1], 3),
                editing.image_to_image(denoiser, x, 0.6, steps=5),
                fn.sample(denoiser, 2, part, steps=5),
            ]
        )
    for one, other in zip(*found, strict=True):
        assert one.shape[1:] == shape
        torch.testing.assert_close(one.flatten(1), other, rtol=1e-8, atol=1e-8)


# What has sides can be enlarged: on what is constant along a new axis, as without it.


def wide(x: Tensor) -> Tensor:
    return x.unsqueeze(2).repeat_interleave(4, 2)


@pytest.mark.parametrize("size", [(8,), (8, 12)])
@pytest.mark.parametrize("augmentation", ["none", "noise", "blur"])
def test_small_signals_and_volumes_are_shown_as_small_images_are(size, augmentation):
    from fromnoise import augmentations
    from fromnoise.augmentations.low_res import LowResolution

    low = LowResolution(2, augmentations.build(augmentation))
    x0 = torch.rand(3, 2, *size) * 2 - 1
    small = low.shrunk(x0)
    assert small.shape[1:] == low.shape(tuple(x0.shape[1:]))
    torch.testing.assert_close(low.shrunk(wide(x0)), small.unsqueeze(2).repeat_interleave(2, 2))
    noise, strength = torch.randn_like(small), torch.tensor([0.0, 0.3, 0.5])
    shown = low.condition(small, strength, noise)["image"]
    assert shown.shape == x0.shape
    both = [v.unsqueeze(2).repeat_interleave(2, 2) for v in (small, noise)]
    torch.testing.assert_close(low.condition(both[0], strength, both[1])["image"], wide(shown), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 2, 2)])
def test_a_small_signal_or_volume_is_kept(shape):
    from fromnoise.editing import Upscale
    from fromnoise.nn.spatial import averaged

    size = torch.Size(shape).numel()
    truth = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, *shape), torch.eye(size)[None])
    small = averaged(torch.randn(1, *shape).double(), 2)[0]
    x = fn.sample(Upscale(truth.denoiser(SCHEDULE), small), 3, "ancestral", steps=5)
    torch.testing.assert_close(averaged(x, 2), small.expand(3, *small.shape))
    assert x.std(0).min() > 0.01


def test_points_have_no_sides_to_enlarge():
    from fromnoise import augmentations
    from fromnoise.augmentations.low_res import LowResolution
    from fromnoise.editing import Upscale

    with pytest.raises(fn.FromNoiseError, match="points of 4 numbers, which have no sides to enlarge"):
        Upscale(mixtures((4,))[0].denoiser(SCHEDULE), torch.zeros(2))
    with pytest.raises(fn.FromNoiseError, match="only signals, images and volumes"):
        LowResolution(2, augmentations.build("none")).shrunk(torch.zeros(3, 4))
