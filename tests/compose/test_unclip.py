"""unCLIP against exact truth: a prior and a decoder that are known in closed form, on a mixture of two dimensions."""

import dataclasses
import math

import pytest
import torch
from torch import nn

import fromnoise as fn
from fromnoise.compose import Stage, cascade, unclip
from fromnoise.data.embedded import Embedded, Embeddings, embeddings
from fromnoise.data.examples import Tensors
from fromnoise.system.disk import storage

SCHEDULE = fn.schedules.Cosine()
MEANS = torch.tensor([[-0.6, 0.2], [0.5, 0.6], [0.1, -0.7]], dtype=torch.float64)
SPREAD = 0.12
PLACES = unclip.on_sphere(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], dtype=torch.float64))
"""The embedding of each component: three points of the circle of radius sqrt(2)."""
WORDS = {"left": [0], "up": [0, 1], "": [0, 1, 2]}


class Exact(nn.Module):
    """E[x_0 | x_t] of points, or of normal distributions around them, weighted by what is shown."""

    def __init__(self, means, spread):
        super().__init__()
        self.means, self.spread = means, spread

    def posterior(self, x, time, weights):
        level = SCHEDULE.level(time[0].item())  # these networks are called at one level
        alpha, sigma = level.alpha, level.sigma
        variance = (alpha * self.spread) ** 2 + sigma**2
        distance = (x[:, None] - alpha * self.means).square().sum(2)
        r = torch.softmax(weights.log() - distance / (2 * variance), 1)
        whole = self.means + (alpha * self.spread**2 / variance) * (x[:, None] - alpha * self.means)
        return (r[..., None] * whole).sum(1)


class Prior(Exact):
    """Points of the circle, those that a word allows; numbers 0, 1, 2 are the words."""

    text = None

    def forward(self, x, time, text):
        allowed = torch.zeros(len(x), 3, dtype=x.dtype)
        for row, number in zip(allowed, text[:, 0].tolist(), strict=True):
            row[list(WORDS.values())[number]] = 1
        return self.posterior(x, time, allowed)


class Decoder(Exact):
    """The component whose embedding is shown; it keeps what it was shown."""

    image_embedding = 2
    seen: torch.Tensor

    def forward(self, x, time, image_embedding):
        self.seen = image_embedding
        nearest = torch.cdist(image_embedding.to(x.dtype), PLACES.to(x.dtype)).argmin(1)
        return self.posterior(x, time, nn.functional.one_hot(nearest, 3).to(x.dtype))


class Reader(fn.text.TextEncoder):
    """A word as its number."""

    options = {"width": 1, "length": 1}  # noqa: RUF012

    def encoded(self, texts):
        return torch.tensor([[list(WORDS).index(text)] for text in texts])

    def kept(self, text):
        return text


class Seer(fn.guidance.ImageText):
    """An image-text model that knows the embeddings: of a point that of the nearest component, of a word a direction."""

    def __init__(self):
        nn.Module.__init__(self)
        self.schedule, self.shape = SCHEDULE, (2,)
        self.network = nn.Linear(1, 1).double()

    def of_states(self, x_t, t):
        nearest = torch.cdist(x_t.double() / t.alpha, MEANS).argmin(1)
        return nn.functional.normalize(PLACES[nearest])

    def of_texts(self, texts):
        return torch.stack([torch.tensor({"a": [1.0, 0.0], "b": [0.0, 1.0]}[text]).double() for text in texts])


def denoiser(network, shape=(2,)):
    made = fn.Denoiser(network, SCHEDULE, "x0", shape=shape)
    made.state_dtype = torch.float64
    return made


def prior():
    made = denoiser(Prior(PLACES, 1e-3))
    made.text = Reader()
    return made


def decoder():
    return denoiser(Decoder(MEANS, SPREAD))


def stages():
    return [Stage(prior(), fn.samplers.DDIM(), 60), Stage(decoder(), fn.samplers.DDIM(), 100)]


@pytest.mark.parametrize("word", WORDS)
def test_the_two_together_draw_the_mixture_given_the_word(word):
    """p(x | word) = sum_z p(x | z) p(z | word): the share of each component, its mean and its spread."""
    n = 900
    x = cascade.draw(stages(), n, seed=1, cond={"text": [word] * n}, batch_size=n)
    component = torch.cdist(x, MEANS).argmin(1)
    allowed = WORDS[word]
    assert set(component.tolist()) == set(allowed)
    for k in allowed:
        share = (component == k).double().mean().item()
        own = x[component == k]
        error = math.sqrt(len(own))
        assert share == pytest.approx(1 / len(allowed), abs=0.06)
        torch.testing.assert_close(own.mean(0), MEANS[k], rtol=0, atol=4 * SPREAD / error)
        torch.testing.assert_close(own.std(0), torch.full((2,), SPREAD).double(), rtol=0.15, atol=0)


def test_what_the_prior_drew_is_brought_to_its_length():
    two = stages()
    two[0] = dataclasses.replace(two[0], steps=2)  # so few steps end inside the circle
    cascade.draw(two, 8, seed=2, cond={"text": ["up"] * 8})
    raw = fn.sample(two[0].denoiser, 8, two[0].sampler, 2, 2, {"text": ["up"] * 8})
    seen = two[1].denoiser.network.seen
    assert (raw.norm(dim=1) - math.sqrt(2)).abs().max() > 1e-3
    torch.testing.assert_close(seen.norm(dim=1).double(), torch.full((8,), math.sqrt(2)).double())
    torch.testing.assert_close(seen.double(), unclip.on_sphere(raw).double())


def test_an_embedding_is_of_the_cleanest_level_and_has_the_length_of_noise():
    x = MEANS + 0.01
    seer, seen = Seer(), []
    seer.of_states = lambda x_t, t: seen.append((x_t, t)) or PLACES
    torch.testing.assert_close(unclip.embed(seer, x), PLACES)
    (x_t, t), = seen  # fmt: skip
    assert t.log_snr == SCHEDULE.chain[-2].log_snr
    torch.testing.assert_close(x_t, SCHEDULE.chain[-2].alpha * x, rtol=1e-7, atol=0)
    z = unclip.on_sphere(torch.randn(5, 64, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(z.square().mean(1), torch.ones(5))


def test_variations_keep_the_component_and_vary_inside_it():
    x = MEANS[1] + torch.tensor([0.03, -0.02])
    back = unclip.variations(decoder(), Seer(), x, 3, eta=0.0, steps=400)
    torch.testing.assert_close(back, x.expand(3, 2), rtol=0, atol=2e-3)
    made = unclip.variations(decoder(), Seer(), x, 600, eta=1.0, steps=100, seed=3)
    torch.testing.assert_close(made.mean(0), MEANS[1], rtol=0, atol=0.02)
    torch.testing.assert_close(made.std(0), torch.full((2,), SPREAD).double(), rtol=0.15, atol=0)
    again = unclip.variations(decoder(), Seer(), x, 2, eta=1.0, steps=100, seed=3)
    torch.testing.assert_close(again, made[:2])


def test_an_interpolation_starts_and_ends_at_the_images():
    a, b = MEANS[0] + 0.02, MEANS[1] - 0.02
    model = decoder()
    made = unclip.interpolate(model, Seer(), a, b, 5)
    torch.testing.assert_close(made[[0, -1]], torch.stack([a, b]), rtol=0, atol=5e-3)
    halfway = unclip.on_sphere((PLACES[0] + PLACES[1])[None])[0]
    torch.testing.assert_close(model.network.seen[2].double(), halfway)


def test_a_text_difference_moves_the_embedding_on_its_arc():
    """From z towards (b - a)/|b - a|: at the share s of the angle w between them sin((1-s)w) z + sin(s w) d, / sin w."""
    x, model = MEANS[0] + 0.01, decoder()
    made = unclip.text_difference(model, Seer(), x, "b", "a", n=3, most=0.5)
    torch.testing.assert_close(made[0], x, rtol=0, atol=5e-3)
    z, d = PLACES[0], torch.tensor([-1.0, 1.0], dtype=torch.float64)
    w = 3 * math.pi / 4
    expected = torch.stack([(math.sin((1 - s) * w) * z + math.sin(s * w) * d) / math.sin(w) for s in (0, 0.25, 0.5)])
    torch.testing.assert_close(model.network.seen.double(), expected)


def test_the_text_is_for_the_stage_that_reads_it():
    two = stages()
    assert cascade.reader(two) is two[0].denoiser
    assert cascade.reader(two[1:]) is two[1].denoiser
    with pytest.raises(fn.FromNoiseError, match="network takes image_embedding"):
        fn.sample(two[1].denoiser, 1, steps=2, cond={"text": torch.zeros(1, 1), "image_embedding": PLACES[:1]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda two: [two[1], two[1]], "takes an embedding of 2 numbers, but the one before it draws"),
        (lambda two: [two[0], dataclasses.replace(two[1], strength=0.1)], "strength and truncated apply to an image"),
        (lambda two: [two[0], two[0]], "must be a super-resolution model .low=., or a decoder of embeddings"),
    ],
)
def test_stages_that_do_not_follow_are_refused(change, message):
    two = stages()
    two[1].denoiser.shape = (3,) if "draws" in message else (2,)
    with pytest.raises(fn.FromNoiseError, match=message):
        cascade.check(change(two))


def test_stages_that_read_words_differently_are_refused():
    two = stages()
    other = fn.text.Learned(vocabulary=300, length=4).fitted(["left", "up"])
    two[1].denoiser.text = other
    with pytest.raises(fn.FromNoiseError, match="they have different text encoders"):
        cascade.check(two)
    two[0].denoiser.text = other
    cascade.check(two)


def test_embeddings_of_two_image_text_models_are_not_mixed(tmp_path):
    """A decoder knows whose embeddings it learned, in its file and behind guidance too."""
    seer = Seer()
    own = storage.fingerprint(seer.network.state_dict())
    made = fn.Denoiser(fn.nn.MLP(2, width=8, depth=1, image_embedding=2), "cosine", "v", shape=(2,))
    whole = Embedded(Tensors(MEANS.float()), PLACES.float(), own)
    model = fn.fit(made, whole, steps=1, batch_size=2, progress=False).model
    fn.save(model, tmp_path / "decoder")
    model = fn.load(tmp_path / "decoder")
    assert model.embeddings == own
    unclip.variations(model, seer, MEANS[0].float(), 1, steps=2)
    with torch.no_grad():
        seer.network.weight.add_(1)
    with pytest.raises(fn.FromNoiseError, match="image_text: is not the one whose embeddings the decoder learned"):
        unclip.variations(fn.guidance.steer(model, 2.0), seer, MEANS[0].float(), 1, steps=2)
    two = stages()
    two[0].denoiser.embeddings, two[1].denoiser.embeddings = own, "other"
    with pytest.raises(fn.FromNoiseError, match="their embeddings come from two image-text models"):
        cascade.check(two)
    two[0].denoiser.embeddings = None  # nobody said
    cascade.check(two)


def test_mistakes_are_one_line():
    for call, message in [
        (lambda: unclip.variations(prior(), Seer(), MEANS[0]), "decoder: takes no embedding"),
        (lambda: unclip.text_difference(decoder(), Seer(), MEANS[0], "a", "a"), "are the same to the image-text model"),
        (lambda: unclip.text_difference(decoder(), Seer(), MEANS[0], "a", "b", most=1.5), r"most must lie in \(0, 1\]"),
        (lambda: unclip.interpolate(decoder(), Seer(), MEANS[0], MEANS), "must have one shape"),
        (lambda: unclip.variations(decoder(), Seer(), MEANS[0], eta=1.5), r"eta.* must lie in .0, 1., got 1.5"),
        (lambda: unclip.variations(decoder(), Seer(), MEANS[0], eta="a"), "eta.* must lie in .0, 1., got 'a'"),
        (lambda: unclip.text_difference(decoder(), Seer(), MEANS[0], "a", "b", most="a"), "most must lie in"),
        (lambda: cascade.draw([], 2), "stages: none given"),
        (lambda: Embedded([1], PLACES), "whole must be an Examples"),
        (lambda: Embedded(Tensors(MEANS), PLACES.numpy()), "table must be a tensor"),
        (lambda: embeddings([1], Seer()), "examples must be an Examples"),
        (
            lambda: unclip.interpolate(decoder(), Seer(), MEANS[0], MEANS[1], 1),
            "n must be a whole number of at least 2",
        ),
    ]:
        with pytest.raises(fn.FromNoiseError, match=message) as error:
            call()
        assert "\n" not in str(error.value)
    wide = decoder()
    wide.network.image_embedding = 3
    with pytest.raises(fn.FromNoiseError, match="takes embeddings of 3 numbers, and the image-text model's have 2"):
        unclip.variations(wide, Seer(), MEANS[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda **more: fn.nn.UNet(2, channels=8, mult=(1, 2), blocks=1, attention=(2,), groups=4, **more),
        lambda **more: fn.nn.DiT(2, depth=1, width=16, heads=2, patch=2, **more),
        lambda **more: fn.nn.MLP(2, sides=(4, 4), width=16, depth=1, **more),
    ],
    ids=["unet", "dit", "mlp"],
)
def test_networks_take_an_embedding_and_zeros_mean_none(make):
    torch.manual_seed(0)
    network = make(image_embedding=6)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    x, time, z = torch.randn(3, 2, 4, 4), torch.tensor([1.0, 2.0, 3.0]), torch.randn(3, 6)
    none = network(x, time)
    torch.testing.assert_close(network(x, time, image_embedding=torch.zeros(3, 6)), none)
    assert (network(x, time, image_embedding=z) - none).abs().amax((1, 2, 3)).min() > 1e-4
    one = network(x[:1], time[:1], image_embedding=z[:1])
    torch.testing.assert_close(network(x, time, image_embedding=z)[:1], one, rtol=1e-4, atol=1e-5)
    assert torch.equal(network.null_cond["image_embedding"], torch.zeros(6))
    with pytest.raises(fn.FromNoiseError, match=r"image_embedding must be \[N, 6\], got \[3, 5\]"):
        network(x, time, image_embedding=z[:, :5])
    with pytest.raises(fn.FromNoiseError, match="takes no image_embedding"):
        make()(x, time, image_embedding=z)


def test_examples_carry_their_embeddings():
    x = (MEANS + 0.01).float()
    whole = Tensors(x)
    whole.captions = ["a", "b", "c"]
    table = embeddings(whole, Seer())
    torch.testing.assert_close(table, PLACES)
    shown, alone = Embedded(whole, table), Embeddings(whole, table)
    states, conditions = shown.examples([2, 0])
    assert torch.equal(states, x[[2, 0]])
    torch.testing.assert_close(conditions["image_embedding"], PLACES[[2, 0]])
    states, conditions = alone.examples([1])
    torch.testing.assert_close(states, PLACES[[1]])
    assert (alone.shape, conditions, list(alone.captions), len(alone)) == ((2,), {}, ["a", "b", "c"], 3)
    assert shown.content() == alone.content() == whole.content()
    with pytest.raises(fn.FromNoiseError, match="has 3 examples, but the embeddings are"):
        Embedded(whole, table[:2])
    with pytest.raises(fn.FromNoiseError, match="is for images"):
        embeddings(Tensors(torch.zeros(2, 3)), Seer())
