"""Optimisers of every origin: a name, a class, a function, an object; their state, and that it is all of it."""

import pytest
import torch

import fromnoise as fn
from fromnoise.system.disk import storage
from fromnoise.train.config import TrainConfig
from fromnoise.train.optimizers import AdamW, Optimizer, Wrapped, build

CONFIG = TrainConfig(lr=0.02, betas=(0.8, 0.95), weight_decay=0.1)


def network():
    torch.manual_seed(0)
    one, two = torch.nn.Conv2d(3, 5, 3), torch.nn.Linear(4, 2)
    return torch.nn.ModuleDict({"one": one, "two": two}).to(memory_format=torch.channels_last)


def gradients(weights, step):
    generator = torch.Generator().manual_seed(step)
    for p in weights.values():
        p.grad = torch.randn(p.shape, generator=generator).to(memory_format=torch.contiguous_format)
        p.grad = p.grad.contiguous(memory_format=torch.channels_last) if p.dim() == 4 else p.grad


def walk(optimizer, weights, steps):
    for step in steps:
        gradients(weights, step)
        optimizer.step(CONFIG.lr * min(1.0, step / 4))  # a warm-up


class Counting(torch.optim.Optimizer):
    """Keeps a whole number, a fraction and a flag for a parameter, a number and a tensor in its group."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr, "total": 0.0, "seen": torch.zeros(2), "fixed": (1, 2)})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["total"] += 0.1
            group["seen"] += 1
            for p in group["params"]:
                state = self.state[p]
                n, share, odd = state.get("n", 0), state.get("share", 1.0), state.get("odd", False)
                assert (type(n), type(share), type(odd)) == (int, float, bool)
                state |= {"n": n + 1, "share": share * 0.7, "odd": not odd, "nothing": None}
                factor = (1 + odd) * share / (n + 1 + group["total"] + group["seen"].sum().item())
                p.sub_(p.grad, alpha=group["lr"] * factor)


def groups(parameters):
    whole = [{"params": parameters[:2], "lr": 0.05, "momentum": 0.5}, {"params": parameters[2:]}]
    return torch.optim.SGD(whole, lr=0.01, momentum=0.9, weight_decay=0.01)


CHOICES = {
    "adamw": lambda weights: "adamw",
    "muon": lambda weights: "muon",
    "class SGD": lambda weights: torch.optim.SGD,
    "class Adam": lambda weights: torch.optim.Adam,
    "class RMSprop": lambda weights: torch.optim.RMSprop,
    "class NAdam": lambda weights: torch.optim.NAdam,
    "class ASGD": lambda weights: torch.optim.ASGD,
    "class Adafactor": lambda weights: torch.optim.Adafactor,
    "function SGD with momentum": lambda weights: lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True),
    "function RMSprop": lambda weights: lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.9, centered=True),
    "function with groups": lambda weights: groups,
    "object Adam": lambda weights: torch.optim.Adam(weights.values(), 1e-3, amsgrad=True),
    "object of some": lambda weights: torch.optim.SGD([weights["two.weight"]], 0.1, momentum=0.9),
    "numbers": lambda weights: Counting,
    "lr in a tensor": lambda weights: (
        lambda p: torch.optim.Adam(p, torch.tensor(1e-3), capturable=False, foreach=False)
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_six_steps_are_three_a_checkpoint_and_three(name, tmp_path):
    whole, weights = network(), {}
    weights = dict(whole.named_parameters())
    walk(build(CHOICES[name](weights), weights, CONFIG), weights, range(1, 7))

    before = dict(network().named_parameters())
    first = build(CHOICES[name](before), before, CONFIG)
    walk(first, before, range(1, 4))
    storage.write_folder(
        tmp_path / "c", {"optimizer": first.state(), "model": {k: p.data for k, p in before.items()}}, {}
    )

    after = dict(network().named_parameters())
    again = build(CHOICES[name](after), after, CONFIG)
    again.load(storage.read_tensors(tmp_path / "c", "optimizer"))
    for key, value in storage.read_tensors(tmp_path / "c", "model").items():
        after[key].data.copy_(value)
    walk(again, after, range(4, 7))
    assert all(torch.equal(after[key], p) for key, p in weights.items())
    start = dict(network().named_parameters())
    assert any(not torch.equal(start[key], p) for key, p in weights.items())
    assert all(isinstance(v, torch.Tensor) for v in again.state().values())


@pytest.mark.parametrize("name", sorted(set(CHOICES) - {"class SGD", "muon"}))
def test_without_its_state_it_would_go_elsewhere(name):
    """Which is what the test above would not notice, were the state not needed."""
    weights, fresh = dict(network().named_parameters()), dict(network().named_parameters())
    optimizer = build(CHOICES[name](weights), weights, CONFIG)
    walk(optimizer, weights, range(1, 4))
    with torch.no_grad():
        for key, p in weights.items():
            fresh[key].copy_(p)
    walk(optimizer, weights, [4])
    walk(build(CHOICES[name](fresh), fresh, CONFIG), fresh, [4])
    assert any(not torch.equal(fresh[key], p) for key, p in weights.items())


def test_what_was_loaded_is_a_copy():
    weights = dict(network().named_parameters())
    one, two = (build(torch.optim.Adam, weights, CONFIG) for _ in range(2))
    walk(one, weights, [1])
    two.load(one.state())
    kept = {k: v.clone() for k, v in two.state().items()}
    walk(one, weights, [2])
    assert all(torch.equal(v, kept[k]) for k, v in two.state().items())


def test_sgd_on_a_quadratic_is_its_closed_form():
    """f = a x^2 / 2: with a constant rate x_n = (1 - lr a)^n x_0, and x_n = x_0 prod (1 - lr_i a) as lr warms up."""
    a = torch.tensor([0.5, 2.0, -1.0], dtype=torch.float64)
    x = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.3], dtype=torch.float64))
    start, expected = x.detach().clone(), torch.ones(3, dtype=torch.float64)
    optimizer = build(torch.optim.SGD, {"x": x}, TrainConfig(lr=0.1))
    for lr in (0.025, 0.05, 0.075, *[0.1] * 20):
        x.grad = a * x.detach()
        optimizer.step(lr)
        expected = expected * (1 - lr * a)
    torch.testing.assert_close(x.detach(), expected * start, rtol=1e-12, atol=0)


def test_momentum_on_a_quadratic_is_its_closed_form():
    """m <- u m + a x, x <- x - lr m: powers of the matrix [[1 - lr a, -lr u], [a, u]] of (x, m)."""
    lr, u, a = 0.1, 0.9, 2.0
    x = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = build(lambda p: torch.optim.SGD(p, lr, momentum=u), {"x": x}, TrainConfig(lr=3.0))
    for _ in range(30):
        x.grad = a * x.detach()
        optimizer.step(3.0)  # what config.lr is: the object's own rate
    power = torch.linalg.matrix_power(torch.tensor([[1 - lr * a, -lr * u], [a, u]], dtype=torch.float64), 30)
    assert x.item() == pytest.approx(power[0, 0].item(), rel=1e-10)


def test_groups_keep_their_proportions_as_the_rate_warms_up():
    weights = dict(network().named_parameters())
    optimizer = build(groups, weights, CONFIG)
    walk(optimizer, weights, [2])  # half of the warm-up
    assert [g["lr"] for g in optimizer.torch.param_groups] == pytest.approx([0.025, 0.005])
    walk(optimizer, weights, [9])
    assert [g["lr"] for g in optimizer.torch.param_groups] == [0.05, 0.01]


def test_a_class_is_given_what_the_configuration_says():
    weights = dict(network().named_parameters())
    adam = build(torch.optim.Adam, weights, CONFIG).torch.defaults
    assert (adam["lr"], adam["betas"], adam["weight_decay"]) == (0.02, (0.8, 0.95), 0.1)
    sgd = build(torch.optim.SGD, weights, CONFIG).torch.defaults
    assert (sgd["lr"], sgd["momentum"], sgd["weight_decay"]) == (0.02, 0, 0.1)


def test_adamw_is_torchs():
    ours, theirs = (dict(network().named_parameters()) for _ in range(2))
    one = build("adamw", ours, CONFIG)
    two = torch.optim.AdamW(theirs.values(), CONFIG.lr, betas=CONFIG.betas, weight_decay=CONFIG.weight_decay)
    for step in range(1, 5):
        gradients(ours, step)
        gradients(theirs, step)
        one.step(CONFIG.lr)
        two.step()
    for key, p in ours.items():
        torch.testing.assert_close(p, theirs[key], rtol=1e-6, atol=1e-7)
    assert isinstance(one, AdamW)
    assert {k.split(".")[0] for k in one.state()} == {"step", "exp_avg", "exp_avg_sq"}
    assert "exp_avg_sq.one.weight" in one.state()  # as in the checkpoints of every run


def test_names_of_the_state():
    weights = dict(network().named_parameters())
    optimizer = build(Counting, weights, CONFIG)
    walk(optimizer, weights, [1])
    own = {f"#{key}.{name}" for key in ("n", "share", "odd") for name in weights}
    assert optimizer.state().keys() == own | {"#total.#0", "seen.#0"}


class Listing(torch.optim.SGD):
    def step(self, closure=None):
        super().step()
        self.state[self.param_groups[0]["params"][0]]["history"] = [torch.zeros(1)]


class Beside(torch.optim.SGD):
    def step(self, closure=None):
        super().step()
        self.state["all"]["count"] = 1


class Grouped(torch.optim.SGD):
    def step(self, closure=None):
        super().step()
        self.param_groups[0]["seen"] = [1]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Listing, "Listing keeps 'history' of one.weight, a list; a checkpoint can only hold tensors and numbers"),
        (Beside, "Beside keeps state for 'all'"),
        (Grouped, "Grouped keeps 'seen' of #0, a list"),
    ],
)
def test_what_no_checkpoint_could_hold_stops_at_the_first_step(kind, says):
    weights = dict(network().named_parameters())
    optimizer = build(kind, weights, CONFIG)
    gradients(weights, 1)
    with pytest.raises(fn.FromNoiseError, match=says):
        optimizer.step(0.1)


def test_what_is_no_optimizer_is_one_line():
    weights = dict(network().named_parameters())
    for wrong, says in [
        ("adam", r"unknown optimizer 'adam' \(did you mean adamw\?\); choose from adamw, muon"),
        (3, "optimizer must be a name .adamw, muon., a class or object of torch.optim, or a function.*got 3"),
        (lambda p: None, "returned a NoneType, not a torch.optim.Optimizer"),
        (torch.optim.Muon, "optimizer Muon cannot be made of these parameters: Muon only supports 2D"),
        (torch.optim.LBFGS, "LBFGS needs a closure .*choose another"),
        (
            torch.optim.SGD([torch.nn.Parameter(torch.ones(7))], 0.1),
            r"SGD holds a tensor of shape \(7,\) that is not trained",
        ),
    ]:
        with pytest.raises(fn.FromNoiseError, match=says):
            build(wrong, weights, CONFIG)
    with pytest.raises(ValueError, match="unknown optimizer 'moon'.*did you mean muon"):
        TrainConfig(optimizer="moon")


def test_the_state_of_another_network_is_refused():
    weights = dict(network().named_parameters())
    with pytest.raises(fn.FromNoiseError, match="of another network or optimizer: optimizer AdamW has no three.bias"):
        build("adamw", weights, CONFIG).load({"exp_avg.three.bias": torch.ones(2)})


class Sign(Optimizer):
    """Of one's own, without torch's class."""

    def __init__(self, parameters, config):
        self.parameters = parameters

    def step(self, lr):
        for p in self.parameters.values():
            p.data.sub_(p.grad.sign(), alpha=lr)

    def state(self):
        return {}

    def load(self, state):
        pass


def test_an_optimizer_of_ones_own():
    weights = dict(network().named_parameters())
    own = Sign(weights, CONFIG)
    assert build(own, weights, CONFIG) is own
    assert isinstance(build(Sign, weights, CONFIG), Sign)
    assert isinstance(build(lambda p: Sign(dict(enumerate(p)), CONFIG), weights, CONFIG), Sign)
    assert isinstance(build(torch.optim.SGD, weights, CONFIG), Wrapped)


class Fails(torch.optim.SGD):
    error: RuntimeError

    def step(self, closure=None):
        raise self.error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "CUDA out of memory"),
        (RuntimeError("[/b/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer"), "closed by peer"),
        (RuntimeError("aten.pow_: no sharding"), "optimizer Fails cannot step weights that are sharded"),
    ],
)
def test_what_fails_in_the_first_step_of_sharded_weights_is_blamed_on_its_cause(error, says):
    weight = torch.nn.Parameter(torch.ones(2))
    weight.to_local = lambda: weight.detach()  # as a sharded one has it
    Fails.error = error
    wrapped = Wrapped(Fails([weight], lr=0.1), {"weight": weight}, 0.1)
    with pytest.raises(RuntimeError if "cannot step" not in says else fn.FromNoiseError, match=says):
        wrapped.step(0.1)
