"""What every coupling promises, and what the optimal one is."""

import itertools
import json
import sys

import pytest
import torch
from torch import nn

import fromnoise as fn
from fromnoise import rng
from fromnoise.train import Conditioning, Diffusion

NAMES = fn.couplings.names()
SHAPE = (1, 3, 2)


def batch(n=256, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.randn(n, *SHAPE, generator=generator) + 3 * torch.randint(0, 2, (n, 1, 1, 1), generator=generator)
    return x0 / 2, rng.normal(seed, range(n), 1, SHAPE, rng.Stream.TRAIN_NOISE)


def brought(coupling, eps):
    """What the examples bring for it: noise of their own."""
    return {name: eps.roll(1, 0) for name in coupling.takes}


def rows(x):
    return sorted(map(tuple, x.flatten(1).tolist()))


@pytest.mark.parametrize("name", NAMES)
def test_the_marginals_stay_as_they_are(name):
    """The noises of a group are those that were counted for it, or those that were given: none is made or lost."""
    coupling, (x0, eps) = fn.couplings.build(name), batch()
    before = x0.clone()
    paired = coupling.pair(x0, eps, brought(coupling, eps))
    assert torch.equal(x0, before)
    assert paired.dtype == eps.dtype
    whole = brought(coupling, eps).get("noise", eps)
    for start in range(0, len(x0), coupling.group):
        own = slice(start, start + coupling.group)
        assert rows(paired[own]) == rows(whole[own])


@pytest.mark.parametrize("name", NAMES)
def test_the_pairing_is_a_function_of_the_places_alone(name):
    """In whole batches, in the shares of processes, or in the parts of `accumulate`: the same noise for each place."""
    coupling, (x0, eps) = fn.couplings.build(name), batch()
    given = brought(coupling, eps) | {"label": torch.arange(len(x0)) % 3}
    whole = coupling.pair(x0, eps, given)
    for parts in (1, 2, 4):
        size = len(x0) // parts
        cuts = [slice(i * size, (i + 1) * size) for i in range(parts)]
        found = [coupling.pair(x0[c], eps[c], {k: v[c] for k, v in given.items()}) for c in cuts]
        assert torch.equal(torch.cat(found), whole)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_made_again_from_its_description(name):
    made = fn.registry.registering.spec(fn.couplings.build(name))
    assert fn.couplings.build(json.loads(json.dumps(made))) == fn.couplings.build(name)


def test_the_optimal_one_is_optimal():
    """Against every permutation of six places."""
    x0, eps = batch(6)
    paired = fn.couplings.OptimalTransport(group=6).pair(x0, eps, {})
    costs = [(x0 - eps[list(p)]).square().sum().item() for p in itertools.permutations(range(6))]
    assert (x0 - paired).square().sum().item() == pytest.approx(min(costs), rel=1e-6)
    assert min(costs) < costs[0]  # the first is the noise as it was counted


@pytest.mark.parametrize("seed", range(5))
def test_the_optimal_one_never_costs_more_than_none(seed):
    x0, eps = batch(200, seed)  # the last group is a rest, as of held-out examples
    paired = fn.couplings.OptimalTransport().pair(x0, eps, {})
    for start in range(0, 200, 64):
        own = slice(start, start + 64)
        assert (x0[own] - paired[own]).square().sum() <= (x0[own] - eps[own]).square().sum()


def test_on_a_line_the_optimal_one_sorts():
    generator = torch.Generator().manual_seed(2)
    x0, eps = (torch.randn(128, 1, generator=generator) for _ in range(2))
    paired = fn.couplings.OptimalTransport(group=64).pair(x0, eps, {})
    for own in (slice(0, 64), slice(64, 128)):
        order = x0[own, 0].argsort()
        assert torch.equal(paired[own][order, 0], eps[own, 0].sort().values)


def test_noise_says_nothing_of_the_label():
    """Two classes far apart: handed round among all, noise of a class would lean to it; within a label it does not."""
    label = torch.arange(64 * 40) % 2
    x0 = (8.0 * label - 4)[:, None] + 0.1 * torch.randn(len(label), 1, generator=torch.Generator().manual_seed(1))
    eps = rng.normal(3, range(len(label)), 1, (1,), rng.Stream.TRAIN_NOISE)
    for per_label, bias in ((True, 0.0), (False, 0.8)):  # half a normal has the mean sqrt(2 / pi)
        paired = fn.couplings.OptimalTransport(per_label=per_label).pair(x0, eps, {"label": label})
        assert paired[label == 1].mean().item() == pytest.approx(bias, abs=0.08)
        assert rows(paired) == rows(eps)


class Seen(nn.Module):
    """A network that remembers what it was told."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.told = []

    def forward(self, x, time, **told):
        self.told.append(told)
        return self.weight * x


class Spy(fn.objectives.get("simple")):
    """The loss of the coupling's noise, remembered."""

    def __call__(self, denoiser, x0, t, noise, cond=None, chain=None):
        SEEN.append((x0.clone(), noise.clone()))
        return super().__call__(denoiser, x0, t, noise, cond, chain)


SEEN = []


def fitted(data, coupling, **more):
    SEEN.clear()
    denoiser = fn.Denoiser(Seen(), fn.schedules.Rectified(), "flow")
    options = {"steps": 1, "batch_size": 8, "progress": False, "precision": "fp32"} | more
    fn.fit(denoiser, data, objective=Spy(), coupling=coupling, **options)
    return denoiser, torch.cat([x for x, _ in SEEN]), torch.cat([eps for _, eps in SEEN])


def test_training_pairs_what_the_loss_sees():
    """After mirroring, and equally for any `accumulate`; the objective gets the noise of the assignment."""
    data = torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(0))
    optimal = {"name": "optimal-transport", "group": 4}
    _, x0, eps = fitted(data, optimal, batch_size=16, flip=True)
    _, again, parted = fitted(data, optimal, batch_size=16, flip=True, accumulate=4)
    assert torch.equal(x0, again)
    assert torch.equal(eps, parted)
    counted = rng.normal(0, range(16), 1, SHAPE, rng.Stream.TRAIN_NOISE)
    assert torch.equal(fn.couplings.OptimalTransport(group=4).pair(x0, counted, {}), eps)
    assert not torch.equal(counted, eps)
    assert torch.equal(fitted(data, "independent", batch_size=16, flip=True)[2], counted)


def test_given_noise_reaches_the_loss_and_not_the_network():
    x, noise = batch(16)
    denoiser, x0, eps = fitted((x, {"noise": noise, "tone": torch.arange(16.0)}), "given", batch_size=16)
    order = [int((x.flatten(1) == row.flatten()).all(1).nonzero()) for row in x0]
    assert torch.equal(eps, noise[order])
    (told,) = denoiser.network.told
    assert set(told) == {"tone"}
    fitted((x, {"noise": noise}), "independent")  # without the coupling it is a condition as any other
    with pytest.raises(fn.FromNoiseError, match="the examples have no noise"):
        fitted(x, "given")
    with pytest.raises(fn.FromNoiseError, match=r"noise of 3 for examples of 1x3x2"):
        fitted((x, {"noise": noise[:, 0, :, 0]}), "given")


def test_mirrored_examples_bring_mirrored_noise():
    x, noise = batch(16)
    _, x0, eps = fitted((x, {"noise": noise}), "given", batch_size=16, flip=True)
    turned = 0
    for one, its in zip(x0, eps, strict=True):
        straight = [i for i in range(16) if torch.equal(x[i], one)]
        mirrored = [i for i in range(16) if torch.equal(x[i].flip(-1), one)]
        turned += bool(mirrored)
        assert torch.equal(its, noise[straight[0]] if straight else noise[mirrored[0]].flip(-1))
    assert 0 < turned < 16


def test_groups_must_fill_the_parts_of_a_batch():
    data = torch.randn(64, *SHAPE)
    for more in ({"batch_size": 32}, {"batch_size": 64, "accumulate": 2}, {"batch_size": 96}):
        with pytest.raises(fn.FromNoiseError, match="groups of 64 examples, but a part of a batch has"):
            fitted(data, "optimal-transport", **more)


def test_an_objective_of_many_draws_has_independent_noise():
    denoiser = fn.Denoiser(Seen(), fn.schedules.Linear(T=10))
    two = fn.objectives.build("two-draw")
    assert Diffusion(denoiser, two, Conditioning(denoiser)).coupling.many_draws
    for name in NAMES:
        if name != "independent":
            with pytest.raises(fn.FromNoiseError, match="draws 3 noises .* use coupling independent|draws 2 noises"):
                Diffusion(denoiser, two, Conditioning(denoiser), coupling=fn.couplings.build(name))


def test_wrong_options_and_what_is_missing_are_one_line(monkeypatch):
    with pytest.raises(fn.FromNoiseError, match="coupling optimal-transport: group must be at least 2, got 1"):
        fn.couplings.build({"name": "optimal-transport", "group": 1})
    with pytest.raises(fn.FromNoiseError, match="unknown coupling 'optimal' .*choose from given, independent"):
        fitted(torch.randn(8, 2), "optimal")
    with pytest.raises(fn.FromNoiseError, match="coupling is the class OptimalTransport"):
        fitted(torch.randn(8, 2), fn.couplings.OptimalTransport)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(fn.FromNoiseError, match=r'needs scipy: pip install "fromnoise\[transport\]"'):
        fitted(torch.randn(64, 2), "optimal-transport", batch_size=64)


def test_a_recipe_names_its_coupling():
    recipe = fn.recipes.load("digits").with_changes({"coupling": "optimal-transport", "coupling.group": 32})
    assert recipe.coupling == {"name": "optimal-transport", "group": 32}
    assert fn.recipes.load("digits").coupling == {"name": "independent"}
