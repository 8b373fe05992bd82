"""A branch beside a frozen U-Net: fresh it is not there, trained it makes the image count, and the U-Net stays as it is."""

import json

import pytest
import torch
from torch import nn

import fromnoise as fn
from fromnoise.system.disk import storage

SMALL = {"in_channels": 2, "channels": 8, "mult": (1, 2), "blocks": 1, "groups": 4, "attention": (2,)}
KINDS = [
    {"skips": "blocks"},
    {"skips": "levels", "resample": "4x4"},
    {"skips": "blocks", "resample": "residual", "patch": 2, "classes": 3, "null_label": True},
    {"skips": "levels", "text": {"width": 8, "length": 4}},
    {"text": {"width": 8, "length": 4, "vocabulary": 20, "heads": 2}, "text_attention": "after", "out_channels": 4},
    {"dims": 1, "patch": 2},
    {"dims": 3},
]


def model(seed=0, **options):
    """A denoiser whose weights are anything, as if it had been trained."""
    torch.manual_seed(seed)
    network = fn.nn.UNet(**SMALL | options)
    for p in network.parameters():
        nn.init.normal_(p, std=0.2)
    shape = (2, *[8] * options.get("dims", 2))
    variance = "learned_range" if options.get("out_channels") else "fixed_large"
    return fn.Denoiser(network.requires_grad_(False), "cosine", "v", variance, shape).eval()


def states(denoiser, n=3, channels=1):
    """(x, what is given beside it, the image)."""
    x = torch.randn(n, *denoiser.shape)
    given = {"label": torch.arange(n) % 3} if denoiser.classes else {}
    text = denoiser.network.text
    if text is not None:
        given["text"] = torch.randint(1, 20, (n, 4)) if text.vocabulary else torch.randn(n, 5, 8)
    return x, given, {"image": torch.rand(n, channels, *denoiser.shape[1:]) * 2 - 1}


def some_data(denoiser, n=8):
    x, given, image = states(denoiser, n)
    return x, given | image


def settled(denoiser):
    """Its branch as if it were trained: nothing is zero."""
    for p in denoiser.network.parameters():
        if p.requires_grad:
            nn.init.normal_(p, std=0.2)
    return denoiser


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_fresh_branch_changes_nothing(options, channels):
    """Bit for bit, with a gradient and without, in training and in evaluation."""
    denoiser = model(**options)
    steered = fn.compose.controlled(denoiser, channels)
    x, given, image = states(denoiser, channels=channels)
    theirs, own = denoiser.network.state_dict(), steered.network.state_dict()
    assert all(
        torch.equal(value, theirs[name.split(".", 1)[1]]) for name, value in own.items() if name[:2] in ("of", "co")
    )
    for training in (False, True):
        steered.train(training)
        with torch.no_grad():
            assert torch.equal(steered(x, 300, given | image).x0, denoiser(x, 300, given).x0)
        assert torch.equal(steered(x, 300, given | image).eps, denoiser(x, 300, given).eps)
    with torch.no_grad():
        settled(steered)
        assert (steered(x, 300, given | image).x0 - denoiser(x, 300, given).x0).abs().amax(
            tuple(range(1, x.dim()))
        ).min() > 0
        assert not torch.equal(
            steered(x, 300, given | image).x0, steered(x, 300, given | {"image": -image["image"]}).x0
        )


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_what_a_branch_adds_is_what_the_paper_says(options):
    """The way down of a second network that has the copy's weights, and its stem's output plus the read image."""
    steered = settled(fn.compose.controlled(model(**options)))
    network, second = steered.network, model(**options).network
    of = network.of
    second.load_state_dict(of.state_dict() | network.copy.state_dict())
    x, given, image = states(steered)
    time = torch.tensor([10.0, 300.0, 900.0])
    fold = fn.nn.spatial.folded
    with torch.no_grad():
        words = of.words(given.get("text"), 3)
        emb = of.embedding(time, given.get("label"), torch.float32, words=words)
        hook = second.stem.register_forward_hook(lambda *_: _[2] + network.reader(fold(image["image"], of.patch)))
        middle, skips = second.walk_down(fold(x, of.patch), emb, of.skip_blocks, words)
        hook.remove()
        h, own = of.walk_down(fold(x, of.patch), emb, of.skip_blocks, words)
        for i, skip in enumerate(skips):
            mixed = torch.einsum("oc,nc...->no...", network.zeros[i].weight.flatten(1), skip)
            own[i] = own[i] + mixed + network.zeros[i].bias.view(-1, *[1] * (x.dim() - 2))
        h = h + network.zeros[-1](middle)
        torch.testing.assert_close(
            network(x, time, **given, **image), of.walk_up(h, own, emb, words), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_the_gradient_reaches_the_branch_and_nothing_else(options):
    """The zero layers at once, the copy behind them after one step, the reader behind its own after two."""
    steered = fn.compose.controlled(model(**options)).train()
    x, given, image = states(steered)
    network = steered.network
    of = {name: value.clone() for name, value in network.of.state_dict().items()}
    reached = []
    for _ in range(3):
        steered(x, 300, given | image).x0.square().mean().backward()
        moved = {name: p for name, p in network.named_parameters() if p.grad is not None}
        assert {name.split(".")[0] for name in moved} == {"copy", "reader", "zeros"}
        reached.append({name for name, p in moved.items() if p.grad.count_nonzero()})
        with torch.no_grad():
            for p in moved.values():
                p -= 0.1 * p.grad
                p.grad = None
    assert {name.split(".")[0] for name in reached[0]} == {"zeros"}
    assert any(name.startswith("copy.stem") for name in reached[1])
    assert not any(name.startswith("reader.0") for name in reached[1])
    unreached = moved.keys() - reached[2]
    assert not {name for name in unreached if not name.endswith(".kv.bias")}  # which softmax may not see
    assert all(torch.equal(value, of[name]) for name, value in network.of.state_dict().items())


def test_the_u_net_is_always_in_evaluation_mode():
    """Its dropout is off, the copy's is on."""
    steered = settled(fn.compose.controlled(model(dropout=0.5)))
    x, _, image = states(steered)
    steered.train()
    assert steered.network.training
    assert steered.network.copy.training
    assert not any(module.training for module in steered.network.of.modules())
    outputs = [steered(x, 300, image).x0 for _ in range(2)]
    assert not torch.equal(*outputs)
    for zero in steered.network.zeros:
        nn.init.zeros_(zero.weight), nn.init.zeros_(zero.bias)
    assert torch.equal(steered(x, 300, image).x0, steered(x, 300, image).x0)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", torch.optim.SGD])
def test_fit_trains_the_branch_alone(optimizer, tmp_path):
    denoiser = model(classes=3, null_label=True)
    steered = fn.compose.controlled(denoiser)
    before = {name: value.clone() for name, value in steered.network.state_dict().items()}
    data = some_data(denoiser)
    fn.fit(steered, data, steps=4, batch_size=8, lr=1e-2, ema=0.5, optimizer=optimizer, out=tmp_path, progress=False)
    after = steered.network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in moved} == {"copy", "reader", "zeros"}
    held = fn.load(tmp_path)
    assert all(torch.equal(value, after[name]) for name, value in held.network.state_dict().items())
    live = fn.load(tmp_path, ema=False).network.state_dict()
    assert all(torch.equal(live[name], value) for name, value in before.items() if name.startswith("of."))
    assert not torch.equal(live["zeros.0.weight"], after["zeros.0.weight"])
    checkpoint = next((tmp_path / "checkpoints").iterdir())
    averages = storage.read_tensors(checkpoint, "ema")  # a whole model, frozen part included
    assert averages.keys() == dict(steered.network.named_parameters()).keys()
    assert all(torch.equal(value, before[name]) for name, value in averages.items() if name.startswith("of."))


def test_a_branch_is_saved_and_goes_on_exactly(tmp_path):
    denoiser, options = model(), {"batch_size": 4, "lr": 1e-2, "ema": 0.9, "progress": False, "optimizer": "muon"}
    data = some_data(denoiser)
    whole, parts = fn.compose.controlled(denoiser), fn.compose.controlled(denoiser)
    fn.fit(whole, data, steps=5, out=tmp_path / "whole", **options)
    fn.fit(parts, data, steps=2, out=tmp_path / "parts", **options)
    again = fn.compose.controlled(model(seed=1))  # whatever it holds, the checkpoint's weights take its place
    fn.fit(again, data, steps=5, out=tmp_path / "parts", resume=True, **options)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    fn.save(whole, tmp_path / "saved")
    found = fn.load(tmp_path / "saved")
    assert isinstance(found.network, fn.nn.Control)
    assert json.loads((tmp_path / "saved" / "denoiser.json").read_text())["network"]["of"]["name"] == "unet"
    x, _, image = states(denoiser)
    with torch.no_grad():
        torch.testing.assert_close(found(x, 300, image).x0, whole(x, 300, image).x0)  # laid out in another way
    assert all(
        torch.equal(value, whole.network.state_dict()[name]) for name, value in found.network.state_dict().items()
    )
    assert [p.requires_grad for p in found.network.parameters()] == [
        p.requires_grad for p in whole.network.parameters()
    ]
    assert fn.sample(found, 2, "ddim", steps=2, cond={"image": image["image"][:2]}).shape == (2, 2, 8, 8)


class _Gaussians:
    """x_0 = s + tau n in every place, s = 1 or -1 for the whole signal, and the image is s."""

    def __init__(self, tau=0.3, length=8):
        self.tau, self.length = tau, length

    def draw(self, n, seed):
        generator = torch.Generator().manual_seed(seed)
        s = torch.randint(0, 2, (n, 1, 1), generator=generator) * 2.0 - 1
        return s + self.tau * torch.randn(n, 1, self.length, generator=generator), s.expand(n, 1, self.length)

    def floors(self, level):
        """E |x_0 - E[x_0 | x_t, image]|^2 / L, and the same without the image."""
        alpha, sigma = level.alpha.item(), level.sigma.item()
        noise = alpha**2 * self.tau**2 + sigma**2
        within = self.tau**2 * sigma**2 / noise
        # s given x_t: the mean over the signal is alpha s + sqrt(noise / L) n, and E[s | x_t] = tanh
        z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
        snr = self.length * alpha**2 / noise
        weight = torch.exp(-z.square() / 2)
        unsure = (weight * (1 - torch.tanh(snr + snr**0.5 * z).square())).sum() / weight.sum()
        return within, within + (sigma**2 / noise) ** 2 * unsure.item()


def test_what_the_image_says_is_learned_to_the_last():
    """Where the U-Net can only guess the mode, the branch is told: the error falls to what is known of it, and no more."""
    world = _Gaussians()
    network = fn.nn.UNet(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, attention=(), dims=1)
    denoiser = fn.Denoiser(network, fn.schedules.Cosine(T=100), "x0", shape=(1, 8))
    x, image = world.draw(4096, 0)
    options = {
        "batch_size": 64,
        "precision": "fp32",
        "lr": 5e-3,
        "ema": 0.95,
        "progress": False,
        "lr_schedule": "cosine",
        "seed": 1,
    }
    fn.fit(denoiser, x, steps=250, **options)
    steered = fn.compose.controlled(denoiser)
    fn.fit(steered, (x, {"image": image}), steps=150, **options)

    level = denoiser.schedule.level(80)
    conditional, marginal = world.floors(level)
    assert marginal > 3 * conditional
    fresh, told = world.draw(4096, 5)
    noisy = fn.gaussian.diffuse(fresh, torch.randn(fresh.shape, generator=torch.Generator().manual_seed(6)), level)

    def error(of, cond=None):
        with torch.no_grad():
            return (of(noisy, level, cond).x0 - fresh).square().mean().item()

    assert error(denoiser) == pytest.approx(marginal, rel=0.1)
    assert error(steered, {"image": told}) == pytest.approx(conditional, rel=0.1)
    assert error(steered, {"image": -told}) > 2 * marginal


def test_what_cannot_be_steered_is_one_line():
    def refused(denoiser, says, **options):
        with pytest.raises(fn.FromNoiseError, match=says) as caught:
            fn.compose.controlled(denoiser, **options)
        assert "\n" not in str(caught.value)

    plain = model()
    refused(fn.compose.controlled(plain), "has a branch already")
    refused(model(image_channels=1, image_strength=False), "is shown an image beside x already")
    refused(fn.Denoiser(fn.nn.MLP(), "cosine", shape=(2,)), "its network is of class MLP")
    refused(plain, "image_channels must be a whole number of at least 1", image_channels=0)
    student = model()
    student.student = fn.students.build("consistency")
    refused(student, "take its teacher")
    refused(fn.Denoiser(fn.nn.UNet(**SMALL), fn.schedules.build("learned")), "has a learned schedule")
    with pytest.raises(fn.FromNoiseError, match="denoiser must be a Denoiser"):
        fn.compose.controlled(plain.network)
    for of, says in (({"name": "mlp"}, "got 'mlp'"), ({"name": "unet", "image_channels": 1}, "without an image as condition"),
                     ({}, "got None"), ({"name": "control", "of": {}}, "got 'control'")):  # fmt: skip
        with pytest.raises(fn.FromNoiseError, match=says):
            fn.nn.build({"name": "control", "of": of})
    with pytest.raises(fn.FromNoiseError, match="image_channels must be a whole number from 1 to 4,096"):
        fn.nn.build({"name": "control", "of": {"name": "unet", "channels": 32}, "image_channels": 0})


def test_what_is_shown_must_be_an_image_of_the_size_of_x():
    for dims, kind in ((2, "an image"), (1, "a signal")):
        steered = fn.compose.controlled(model(dims=dims))
        x, _, image = states(steered)
        with pytest.raises(fn.FromNoiseError, match=f"needs {kind} beside x: give image="):
            steered(x, 300)
        for wrong in (image["image"][..., :4], image["image"].repeat_interleave(2, 1), image["image"][:1]):
            with pytest.raises(fn.FromNoiseError, match="image"):
                steered.network(x, torch.zeros(3), image=wrong)
        with pytest.raises(fn.FromNoiseError, match="divisible by 2"):
            steered.network(x[..., :7], torch.zeros(3), image=image["image"][..., :7])


def test_a_steered_model_is_what_it_was_to_everyone_else():
    """Classes, words and guidance are those of the model; its guidance is left out."""
    denoiser = model(classes=3, null_label=True, text={"width": 8, "length": 4})
    denoiser.class_names, denoiser.null = ("a", "b", "c"), {"where": torch.zeros(2)}
    steered = fn.compose.controlled(fn.guidance.steer(denoiser, 2.0))
    assert (steered.classes, steered.null_label, steered.class_names) == (3, 3, ("a", "b", "c"))
    assert steered.null_cond.keys() == denoiser.null_cond.keys() == {"label", "text", "where"}
    assert steered.schedule is denoiser.schedule
    assert steered.network.of is not denoiser.network
    x, given, image = states(denoiser)
    guided = fn.guidance.steer(steered, 2.0)
    wanted = fn.guidance.steer(denoiser, 2.0)
    with torch.no_grad():
        assert torch.equal(guided(x, 300, given | image).x0, wanted(x, 300, given).x0)
