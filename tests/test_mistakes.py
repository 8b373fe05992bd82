"""First mistakes in Python: each is one line that names the argument, what was given and the way out."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import plane_mixture
from torch import nn

import fromnoise as fn
from fromnoise import editing

SRC = Path(__file__).parents[1] / "src" / "fromnoise"
X = torch.zeros(3, 1, 8, 8)
BYTES = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)


class Labelled(nn.Module):
    """Remembers its conditions; the eps of N(0, 1) at every level, so that samplers can walk."""

    classes, null_label = 10, 10

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 1)
        self.seen = []

    def forward(self, x, time, label):
        self.seen.append(label)
        return 0.1 * x + 0 * self.table(label).view(-1, 1, 1, 1)


class Plain(nn.Module):
    def forward(self, x, time):
        return 0.1 * x


class Timeless(nn.Module):
    def forward(self, x):
        return x


class Double(nn.Module):
    def forward(self, x, time):
        return torch.cat([x, x], 1)


def labelled():
    return fn.Denoiser(Labelled(), fn.schedules.Linear(), shape=(1, 8, 8)).eval()


def plain(network=None):
    return fn.Denoiser(network or Plain(), fn.schedules.Linear(), shape=(1, 8, 8)).eval()


def call(x=X, t=500, cond=None, denoiser=None):
    return (denoiser or plain())(x, t, cond)


def far(denoiser):
    denoiser.network.to("meta")
    return denoiser


def point():
    return plane_mixture().denoiser(fn.schedules.Linear())


def conditional():
    return plane_mixture().conditional_denoiser(fn.schedules.Linear(), [[0], [1]])


def level(t=500):
    return fn.schedules.Linear().level(t)


MISTAKES = {
    # times
    "t is a word": (lambda: call(t="500"), r"t must be a time or a level, e\.g\. schedule\.level\(500\), got '500'"),
    "t is nothing": (lambda: call(t=None), r"t must be a time or a level.*, got NoneType"),
    "t beyond the end": (lambda: call(t=2000), r"t must lie in \[0, 1000\], got 2000"),
    "two times of three": (lambda: call(t=torch.tensor([1.0, 2.0])), r"t has 2 levels for 3 examples: give one for each"),
    "marginal at a time": (lambda: fn.gaussian.marginal(X, 500), r"t must be a Level: schedule\.level\(500\)"),
    "diffuse to a time": (lambda: fn.gaussian.diffuse(X, X, 500), r"t must be a Level: schedule\.level\(500\)"),
    "diffuse to times": (lambda: fn.gaussian.diffuse(X, X, X[:, 0, 0, 0]), r"t must be a Level: schedule\.level\(t\), got torch\.Tensor"),
    "forward to a time": (lambda: fn.gaussian.forward(X, level(1), 2), r"t must be a Level: schedule\.level\(2\)"),
    "posterior at a time": (lambda: fn.gaussian.posterior(X, X, level(2), 1), r"s must be a Level: schedule\.level\(1\)"),
    "step up": (lambda: fn.gaussian.posterior(X, X, level(1), level(2)), r"a step needs s < t"),
    "reverse at a time": (lambda: fn.reverse(call(), 500, 499, plain().variance), r"t must be a Level: schedule\.level\(500\)"),
    "density at a time": (lambda: plane_mixture().log_prob(torch.zeros(1, 2), 500), r"level must be a Level: schedule\.level\(500\)"),
    "chain below a time": (lambda: fn.schedules.Linear().chain.below(500), r"t must be a Level: schedule\.level\(500\)"),
    # classes in place of objects
    "sampler class": (lambda: fn.sample(plain(), 4, fn.samplers.DDIM), r"sampler is the class DDIM: give an object: DDIM\(\)"),
    "schedule class": (lambda: fn.Denoiser(Plain(), fn.schedules.Linear), r"schedule is the class Linear: give an object: Linear\(\)"),
    "schedule class with arguments": (lambda: fn.Denoiser(Plain(), fn.schedules.Chain), r"schedule is the class Chain: give an object: Chain\(\.\.\.\)"),
    "network class": (lambda: fn.Denoiser(fn.nn.UNet, "linear"), r"network is the class UNet: give an object: UNet\(\)"),
    "variance class": (lambda: fn.Denoiser(Plain(), "linear", variance=type(plain().variance)), r"variance is the class FixedLarge: give an object"),
    "parameterization class": (lambda: fn.Denoiser(Plain(), "linear", type(plain().parameterization)), r"parameterization is the class Eps: give an object"),
    "oracle's schedule class": (lambda: plane_mixture().denoiser(fn.schedules.Cosine), r"schedule is the class Cosine: give an object"),
    "denoiser class": (lambda: fn.sample(fn.Denoiser, 4), r"denoiser is the class Denoiser: give an object: Denoiser\(\.\.\.\)"),
    "editing's sampler class": (lambda: editing.image_to_image(plain(), X, sampler=fn.samplers.DDIM), r"sampler is the class DDIM"),
    # other things than the right ones
    "a network sampled": (lambda: fn.sample(Plain(), 4), r"denoiser must be a Denoiser, got .*Plain: fn\.Denoiser\(network, schedule\)"),
    "a network guided": (lambda: fn.guidance.Clip(Plain()), r"denoiser must be a Denoiser, got .*Plain"),
    "a function as network": (lambda: fn.Denoiser(lambda x, t: x, "linear"), r"network must be a Module, got function"),
    "a number as sampler": (lambda: fn.sample(plain(), 4, 50), r"sampler must be a Sampler, got 50: samplers\.DDIM\(\)"),
    "a number as schedule": (lambda: fn.Denoiser(Plain(), 1000), r"schedule must be a Schedule, got 1000"),
    "unknown sampler": (lambda: fn.sample(plain(), 4, "dimm"), r"unknown sampler 'dimm' \(did you mean ddim\?\)"),
    "unknown schedule": (lambda: fn.Denoiser(Plain(), "linaer"), r"unknown schedule 'linaer' \(did you mean linear\?\)"),
    "unknown spacing": (lambda: fn.sample(plain(), 4, spacing="unifrom"), r"unknown spacing 'unifrom' \(did you mean uniform\?\)"),
    # conditions
    "cond is a number": (lambda: call(cond=3), r"cond must be a dict such as \{'label': 3\}, got 3"),
    "cond is a tensor": (lambda: fn.sample(labelled(), 4, cond=torch.zeros(4)), r"cond must be a dict such as .*, got torch\.Tensor"),
    "label is a word": (lambda: fn.sample(labelled(), 4, cond={"label": "cat"}), r"cond\['label'\] must be a tensor or a number, got 'cat'"),
    "labels of another length": (lambda: fn.sample(labelled(), 4, cond={"label": torch.zeros(2).long()}), r"cond\['label'\] has 2 entries for 4 examples: give one for each, or a number for all"),
    "labels of another length, called": (lambda: call(cond={"label": torch.zeros(1).long()}, denoiser=labelled()), r"cond\['label'\] has 1 entries for 3 examples"),
    "labels of another length, bound": (lambda: fn.likelihood.vlb(labelled(), X + 1, cond={"label": [1]}), r"cond\['label'\] has 1 entries for 3"),
    "labels of another length, density": (lambda: fn.likelihood.ode(labelled(), X, cond={"label": [1]}), r"cond\['label'\] has 1 entries for 3"),
    "labels of another length, editing": (lambda: editing.encode(labelled(), X, {"label": [1]}), r"cond\['label'\] has 1 entries for 3"),
    "label too large": (lambda: fn.sample(labelled(), 4, cond={"label": 11}), r"cond\['label'\] must lie in 0\.\.9, and 10 stands for none, got 11"),
    "label below zero": (lambda: fn.sample(labelled(), 2, cond={"label": [0, -1]}), r"cond\['label'\] must lie in 0\.\.9, .*got -1"),
    "label too large, called": (lambda: call(cond={"label": 12}, denoiser=labelled()), r"cond\['label'\] must lie in 0\.\.9, .*got 12"),
    "label too large, likelihood": (lambda: fn.likelihood.vlb(labelled(), X + 1, cond={"label": 12}), r"must lie in 0\.\.9"),
    "label too large, oracle": (lambda: call(torch.zeros(3, 2), cond={"label": 2}, denoiser=conditional()), r"cond\['label'\] must lie in 0\.\.1, or be -1 for none, got \[2, 2, 2\]"),
    "label of floats": (lambda: fn.sample(labelled(), 2, cond={"label": torch.tensor([1.0, 2.0])}), r"cond\['label'\] must be whole numbers, got torch\.float32: give it \.long\(\)"),
    "unknown condition": (lambda: call(cond={"lable": 3}, denoiser=labelled()), r"cond has 'lable' \(did you mean label\?\), and the network takes label"),
    "condition of a plain network": (lambda: call(cond={"label": 3}), r"cond has 'label', and the network takes none"),
    "unknown condition, oracle": (lambda: call(torch.zeros(3, 2), cond={"class": 1}, denoiser=conditional()), r"cond has 'class', and this denoiser takes label"),
    "condition left out": (lambda: call(denoiser=labelled()), r"the network needs label: give cond=\{'label': \.\.\.\}"),
    "condition elsewhere": (lambda: far(labelled())(X.to("meta"), 5, {"label": torch.zeros(3).long()}), r"cond\['label'\] is on cpu and the network on meta: give it \.to\(denoiser\.device\)"),
    # states
    "images of bytes": (lambda: call(BYTES), r"x_t must be floating-point, got torch\.uint8: give x_t / 127\.5 - 1"),
    "images of bytes, bound": (lambda: fn.likelihood.vlb(plain(), BYTES), r"x0 must be floating-point, got torch\.uint8"),
    "images of bytes, density": (lambda: fn.likelihood.ode(plain(), BYTES), r"x0 must be floating-point, got torch\.uint8"),
    "images of bytes, editing": (lambda: editing.image_to_image(plain(), BYTES), r"x0 must be floating-point, got torch\.uint8"),
    "images of bytes, encoded": (lambda: editing.encode(plain(), BYTES), r"x0 must be floating-point, got torch\.uint8"),
    "images of bytes, between": (lambda: editing.interpolate(plain(), BYTES[0], BYTES[1]), r"a must be floating-point, got torch\.uint8"),
    "images of bytes, diffused": (lambda: fn.gaussian.marginal(BYTES, level()), r"x0 must be floating-point, got torch\.uint8"),
    "images of bytes, trained": (lambda: fn.objectives.Simple()(plain(), BYTES, level(), X), r"x0 must be floating-point, got torch\.uint8"),
    "whole numbers": (lambda: call(X.long()), r"x_t must be floating-point, got torch\.int64: give x_t\.float\(\)"),
    "an array": (lambda: call(np.zeros((3, 1, 8, 8))), r"x_t must be a tensor, got numpy\.ndarray: give torch\.from_numpy\(x_t\)"),
    "a list": (lambda: call([[0.0]]), r"x_t must be a tensor, got list: give torch\.as_tensor\(x_t\)"),
    "no batch": (lambda: call(X[0]), r"x_t must be \[B, 1, 8, 8\], got \[1, 8, 8\]: give x_t\[None\] for a batch of one"),
    "other channels": (lambda: call(torch.zeros(2, 3, 8, 8)), r"x_t must be \[B, 1, 8, 8\], got \[2, 3, 8, 8\]$"),
    "other points": (lambda: point()(torch.zeros(4, 3), 500), r"x_t must be \[B, 2\], got \[4, 3\]"),
    "other channels, bound": (lambda: fn.likelihood.vlb(plain(), torch.ones(2, 3, 8, 8)), r"x0 must be \[B, 1, 8, 8\]"),
    "another device": (lambda: far(labelled())(X, 500, {"label": 1}), r"x_t is on cpu and the network on meta: give x_t\.to\(denoiser\.device\)"),
    "a network without time": (lambda: call(denoiser=plain(Timeless())), r"network is called as network\(x, time\), and Timeless takes \(x\)"),
    "an output of another shape": (lambda: call(denoiser=plain(Double())), r'network gives \[3, 2, 8, 8\] for x_t of \[3, 1, 8, 8\].*variance="learned_range"'),
    # numbers
    "no samples": (lambda: fn.sample(plain(), 0), r"n_or_shape must be a whole number of at least 1, got 0"),
    "negative samples": (lambda: fn.sample(plain(), -4), r"n_or_shape must be a whole number of at least 1, got -4"),
    "half a sample": (lambda: fn.sample(plain(), 2.5), r"n_or_shape must be a whole number of at least 1, got 2\.5"),
    "a word of samples": (lambda: fn.sample(plain(), "4"), r"n_or_shape must be a whole number of at least 1, got '4'"),
    "a shape without a batch": (lambda: fn.sample(plain(), (1, 8, 8)), r"n_or_shape must be \[B, 1, 8, 8\], got \[1, 8, 8\]"),
    "a shape of halves": (lambda: fn.sample(plain(), (2, 1, 8.0, 8)), r"n_or_shape must be a whole number of at least 1, got 8\.0"),
    "no shape": (lambda: fn.sample(fn.Denoiser(Plain(), "linear"), 4), r"this denoiser has no shape of its own"),
    "half a step": (lambda: fn.sample(plain(), 4, steps=2.5), r"steps must be a whole number, got 2\.5"),
    "half a step of a schedule": (lambda: fn.schedules.Cosine().steps(2.5), r"steps must be a whole number, got 2\.5"),
    "spacing class": (lambda: fn.sample(plain(), 4, spacing=fn.spacings.Uniform), r"spacing is the class Uniform: give an object: Uniform\(\)"),
    "no steps": (lambda: fn.sample(plain(), 4, steps=0), r"steps must lie between 1 and 1000"),
    "too many steps": (lambda: fn.sample(plain(), 4, steps=1001), r"steps must lie between 1 and 1000, .*got 1001"),
    "half a seed": (lambda: fn.sample(plain(), 4, seed=0.5), r"seed must be a whole number, got 0\.5"),
    "a word as seed": (lambda: fn.likelihood.vlb(plain(), X + 1, seed="0"), r"seed must be a whole number, got '0'"),
    "no batch size": (lambda: fn.sample(plain(), 4, batch_size=0), r"batch_size must be a whole number of at least 1, got 0"),
    "half a row": (lambda: fn.schedules.Linear(T=10.5), r"T must be a whole number of at least 1, got 10\.5"),
    "no rows": (lambda: fn.schedules.VP(T=0), r"T must be a whole number of at least 1, got 0"),
    "eta": (lambda: fn.samplers.DDIM(eta=2), r"eta must lie in \[0, 1\], got 2"),
    "no rows, by name": (lambda: fn.schedules.build({"name": "linear", "T": 0}), r"schedule linear: T must be a whole number of at least 1, got 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name):
    make, expected = MISTAKES[name]
    with pytest.raises(fn.FromNoiseError, match=expected) as caught:
        make()
    message = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in message
    assert "--" not in message


@pytest.mark.parametrize("t", [500, 500.0, torch.tensor(500), torch.tensor([500.0, 500.0, 500.0]), np.float64(500)])
def test_a_time_is_a_level_to_a_denoiser(t):
    x, denoiser = torch.randn(3, 2, dtype=torch.float64), point()
    assert torch.equal(denoiser(x, t).x0, denoiser(x, denoiser.schedule.level(500)).x0)


def test_a_time_is_a_level_to_guidance_and_likelihood():
    x, denoiser = torch.randn(3, 2, dtype=torch.float64), point()
    assert torch.equal(fn.guidance.Clip(denoiser)(x, 300).x0, denoiser(x, 300).x0.clamp(-1, 1))
    network = fn.nn.HalfUNet(in_channels=1, channels=8, mult=(1,), blocks=1, groups=4, attention=(), outputs=2)
    classifier = fn.guidance.NoisyClassifier(network, denoiser.schedule, (1, 8, 8), ("a", "b")).eval()
    assert torch.equal(classifier(X, 300), classifier(X, denoiser.schedule.level(300)))
    pytest.importorskip("torchdiffeq")
    rough = {"rtol": 1e-2, "atol": 1e-2}
    one, two = (fn.likelihood.ode(denoiser, x, start=t, **rough) for t in (30, denoiser.schedule.level(30)))
    assert torch.equal(one.log_prob, two.log_prob)
    assert torch.equal(
        fn.flow.solve(denoiser, x, 900, 30, **rough),
        fn.flow.solve(denoiser, x, *map(denoiser.schedule.level, (900, 30)), **rough),
    )


@pytest.mark.parametrize(
    "label",
    [
        3,
        np.int64(3),
        torch.tensor(3),
        [3, 3, 3],
        np.array([3, 3, 3]),
        torch.tensor([3, 3, 3]),
        torch.tensor([3, 3, 3], dtype=torch.uint8),
    ],
    ids=str,
)
def test_a_label_for_every_sample(label):
    denoiser = labelled()
    for act in (
        lambda: denoiser(X, 500, {"label": label}),
        lambda: fn.sample(denoiser, 3, "ddim", steps=1, cond={"label": label}),
        lambda: editing.image_to_image(denoiser, X, 1.0, "ddim", 1, cond={"label": label}),
        lambda: fn.likelihood.vlb(denoiser, X + 1, chain=denoiser.schedule.steps(1), cond={"label": label}),
    ):
        denoiser.network.seen.clear()
        act()
        assert [seen.tolist() for seen in denoiser.network.seen] == [[3, 3, 3]]


def test_a_number_reaches_every_batch_of_samples():
    denoiser = labelled()
    fn.sample(denoiser, 5, "ddim", steps=1, cond={"label": 7}, batch_size=2)
    assert [seen.tolist() for seen in denoiser.network.seen] == [[7, 7], [7, 7], [7]]


def test_the_null_label_is_a_label():
    denoiser = labelled()
    fn.sample(denoiser, 2, "ddim", steps=1, cond={"label": 10})
    assert denoiser.network.seen[0].tolist() == [10, 10]


def test_a_networks_own_errors_are_its_own():
    class Broken(nn.Module):
        def __init__(self, error):
            super().__init__()
            self.error = error

        def forward(self, x, time):
            raise self.error

    for error in (TypeError("mine"), IndexError("mine")):
        with pytest.raises(type(error), match="^mine$"):
            call(denoiser=plain(Broken(error)))


def test_a_network_that_takes_every_size_may_be_shown_another():
    assert fn.sample(plain(), (2, 1, 16, 4), "ddim", steps=2).shape == (2, 1, 16, 4)


def test_python_messages_name_no_flag_of_the_command_line():
    """`--class` and its like belong to the commands; what all else raises is read by people who write Python, too."""
    found = []
    for path in sorted(SRC.rglob("*.py")):
        raised = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Raise))
        if not path.is_relative_to(SRC / "app" / "cli"):
            found += [f"{path.relative_to(SRC)}:{node.lineno}: {flags(node)}" for node in raised if flags(node)]
    assert not found


def flags(node):
    texts = (c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str))
    return [text for text in texts if re.search(r"(^|[\s,;(])--[a-z]", text)]
