"""Files of improved- and guided-diffusion: their names, shapes and arithmetic, written down here a second time."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.weights import foreign, formats, opening
from fromnoise.weights.formats.base import Card
from fromnoise.weights.formats.openai import PUBLISHED

SMALL = {"mc": 32, "mult": (1, 2, 2), "blocks": 2, "attention": (2, 4), "residual": False, "shift": False, "classes": None,
         "seen": 3, "out": 6}  # fmt: skip
CONFIGS = {
    "improved": {},
    "guided": {"residual": True, "shift": True},
    "classes": {"classes": 7, "shift": True},
    "fixed variance, no attention": {"out": 3, "attention": ()},
    "three blocks": {"blocks": 3, "residual": True, "mult": (1, 2)},
    "narrow first level": {"mc": 64, "mult": (0.5, 1, 1), "residual": True},
    "gray": {"seen": 1, "out": 2},
}


def shapes(c, way_up=True, places=None):
    """Names and shapes of their UNetModel (or EncoderUNetModel), in the order of its making."""
    found, emb = {}, 4 * c["mc"]

    def linear(name, rows, columns, *more):
        found[f"{name}.weight"], found[f"{name}.bias"] = (rows, columns, *more), (rows,)

    def norm(name, n):
        found[f"{name}.weight"] = found[f"{name}.bias"] = (n,)

    def block(name, a, b):
        norm(f"{name}.in_layers.0", a)
        linear(f"{name}.in_layers.2", b, a, 3, 3)
        linear(f"{name}.emb_layers.1", 2 * b if c["shift"] else b, emb)
        norm(f"{name}.out_layers.0", b)
        linear(f"{name}.out_layers.3", b, b, 3, 3)
        if a != b:
            linear(f"{name}.skip_connection", b, a, 1, 1)

    def attention(name, n):
        norm(f"{name}.norm", n)
        linear(f"{name}.qkv", 3 * n, n, 1)
        linear(f"{name}.proj_out", n, n, 1)

    linear("time_embed.0", emb, c["mc"])
    linear("time_embed.2", emb, emb)
    if c["classes"]:
        found["label_emb.weight"] = (c["classes"], emb)
    ch = int(c["mult"][0] * c["mc"])
    linear("input_blocks.0.0", ch, c["seen"], 3, 3)
    kept, n = [ch], 1
    for level, mult in enumerate(c["mult"]):
        for _ in range(c["blocks"]):
            block(f"input_blocks.{n}.0", ch, int(mult * c["mc"]))
            ch = int(mult * c["mc"])
            if 2**level in c["attention"]:
                attention(f"input_blocks.{n}.1", ch)
            kept.append(ch)
            n += 1
        if level + 1 < len(c["mult"]):
            if c["residual"]:
                block(f"input_blocks.{n}.0", ch, ch)
            else:
                linear(f"input_blocks.{n}.0.op", ch, ch, 3, 3)
            kept.append(ch)
            n += 1
    block("middle_block.0", ch, ch)
    attention("middle_block.1", ch)
    block("middle_block.2", ch, ch)
    if not way_up:
        norm("out.0", ch)
        found["out.2.positional_embedding"] = (ch, places + 1)
        linear("out.2.qkv_proj", 3 * ch, ch, 1)
        linear("out.2.c_proj", c["out"], ch, 1)
        return found
    n = 0
    for level, mult in reversed(list(enumerate(c["mult"]))):
        for i in range(c["blocks"] + 1):
            block(f"output_blocks.{n}.0", ch + kept.pop(), int(mult * c["mc"]))
            ch, k = int(mult * c["mc"]), 1
            if 2**level in c["attention"]:
                attention(f"output_blocks.{n}.1", ch)
                k = 2
            if level and i == c["blocks"]:
                if c["residual"]:
                    block(f"output_blocks.{n}.{k}", ch, ch)
                else:
                    linear(f"output_blocks.{n}.{k}.conv", ch, ch, 3, 3)
            n += 1
    norm("out.0", ch)
    linear("out.2", c["out"], ch, 3, 3)
    return found


def weights(found, seed=0):
    g = torch.Generator().manual_seed(seed)

    def one(name, shape):
        if len(shape) == 1:
            return torch.randn(shape, generator=g) * 0.1 + (1.0 if name.endswith("weight") else 0.0)
        return torch.randn(shape, generator=g) / math.sqrt(math.prod(shape[1:]))

    return {name: one(name, shape) for name, shape in found.items()}


class Theirs:
    """Their forward pass, on their tensors by name."""

    def __init__(self, state, c, heads, by_head=True):
        self.s, self.c, self.heads, self.by_head = state, c, heads, by_head

    def layer(self, name, x, **options):
        w, b = self.s[f"{name}.weight"], self.s[f"{name}.bias"]
        return {2: F.linear, 3: F.conv1d, 4: F.conv2d}[w.dim()](x, w, b, **options)

    def norm(self, name, x):
        return F.group_norm(x, 32, self.s[f"{name}.weight"], self.s[f"{name}.bias"], 1e-5)

    def block(self, name, x, emb, resize=lambda x: x):
        h = resize(F.silu(self.norm(f"{name}.in_layers.0", x)))
        h, x = self.layer(f"{name}.in_layers.2", h, padding=1), resize(x)
        told = self.layer(f"{name}.emb_layers.1", F.silu(emb))[..., None, None]
        if self.c["shift"]:
            scale, shift = told.chunk(2, 1)
            h = F.silu(self.norm(f"{name}.out_layers.0", h) * (1 + scale) + shift)
        else:
            h = F.silu(self.norm(f"{name}.out_layers.0", h + told))
        h = self.layer(f"{name}.out_layers.3", h, padding=1)
        return h + (self.layer(f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in self.s else x)

    def attended(self, qkv, heads):
        n, rows, places = qkv.shape
        d = rows // 3 // heads
        if self.by_head:
            q, k, v = qkv.view(n, heads, 3, d, places).unbind(2)
        else:
            q, k, v = qkv.view(n, 3, heads, d, places).unbind(1)
        share = torch.softmax(torch.einsum("nhdi,nhdj->nhij", q, k) / math.sqrt(d), -1)
        return torch.einsum("nhij,nhdj->nhdi", share, v).reshape(n, rows // 3, places)

    def attention(self, name, x):
        if f"{name}.qkv.weight" not in self.s:
            return x
        flat = x.flatten(2)
        qkv = self.layer(f"{name}.qkv", self.norm(f"{name}.norm", flat))
        return (flat + self.layer(f"{name}.proj_out", self.attended(qkv, self.heads(x.shape[1])))).view(x.shape)

    def down(self, x, t, label=None):
        half = self.c["mc"] // 2
        angle = t[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)
        emb = self.layer("time_embed.0", torch.cat([angle.cos(), angle.sin()], 1))
        emb = self.layer("time_embed.2", F.silu(emb))
        if label is not None:
            emb = emb + self.s["label_emb.weight"][label]
        h = self.layer("input_blocks.0.0", x, padding=1)
        kept = [h]
        for n in itertools.count(1):
            name = f"input_blocks.{n}"
            if f"{name}.0.op.weight" in self.s:
                h = self.layer(f"{name}.0.op", h, stride=2, padding=1)
            elif f"{name}.0.in_layers.0.weight" in self.s:
                step = self.c["residual"] and n % (self.c["blocks"] + 1) == 0
                h = self.block(f"{name}.0", h, emb, (lambda x: F.avg_pool2d(x, 2)) if step else (lambda x: x))
                h = self.attention(f"{name}.1", h)
            else:
                break
            kept.append(h)
        h = self.attention("middle_block.1", self.block("middle_block.0", h, emb))
        return self.block("middle_block.2", h, emb), kept, emb

    def double(self, x):
        return F.interpolate(x, scale_factor=2, mode="nearest")

    def __call__(self, x, t, label=None):
        h, kept, emb = self.down(x, t, label)
        for n in itertools.count():
            name = f"output_blocks.{n}"
            if f"{name}.0.in_layers.0.weight" not in self.s:
                break
            h = self.attention(f"{name}.1", self.block(f"{name}.0", torch.cat([h, kept.pop()], 1), emb))
            for k in (1, 2):
                if f"{name}.{k}.conv.weight" in self.s:
                    h = self.layer(f"{name}.{k}.conv", self.double(h), padding=1)
                elif f"{name}.{k}.in_layers.0.weight" in self.s:
                    h = self.block(f"{name}.{k}", h, emb, self.double)
        return self.layer("out.2", F.silu(self.norm("out.0", h)), padding=1)

    def classify(self, x, t):
        h = F.silu(self.norm("out.0", self.down(x, t)[0])).flatten(2)
        h = torch.cat([h.mean(2, keepdim=True), h], 2) + self.s["out.2.positional_embedding"]
        qkv = self.layer("out.2.qkv_proj", h)
        was, self.by_head = self.by_head, False  # the pool is always queries, keys, values
        h = self.layer("out.2.c_proj", self.attended(qkv, self.heads(h.shape[1])))
        self.by_head = was
        return h[:, :, 0]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder whose files are read without a process of their own, which costs seconds."""
    monkeypatch.setattr(foreign, "opened", foreign.unpacked)
    return tmp_path


def four(width):
    return 4


def inputs(channels=3, seed=3):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, 16, 16, generator=g), torch.tensor([7.0, 901.0])


def saved(path, state):
    torch.save(state, path)
    return path


LIKE = {"network": {"heads": 4}, "schedule": "linear", "side": 16}


@pytest.mark.parametrize("by_head", [True, False], ids=["by head", "new order"])
@pytest.mark.parametrize("name", CONFIGS)
def test_their_networks_open_here(here, name, by_head):
    c = SMALL | CONFIGS[name]
    state = weights(shapes(c))
    denoiser = fn.load(saved(here / "model.pt", state), like=LIKE | {"by_head": by_head})
    x, t = inputs(c["seen"])
    label = torch.tensor([5, 0]) if c["classes"] else None
    wanted = Theirs(state, c, four, by_head)(x, t, label)
    with torch.no_grad():
        found = denoiser.network(x, t, **({} if label is None else {"label": label}))
    assert wanted.std() > 0.1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * max(1.0, wanted.abs().max().item()))
    assert denoiser.shape == (c["seen"], 16, 16)
    assert denoiser.variance.outputs == c["out"] // c["seen"]


def test_heads_by_their_width(here):
    state = weights(shapes(SMALL))
    denoiser = fn.load(saved(here / "model.pt", state), like=LIKE | {"network": {"head_channels": 16}})
    x, t = inputs()
    with torch.no_grad():
        found = denoiser.network(x, t)
    torch.testing.assert_close(found, Theirs(state, SMALL, lambda w: w // 16)(x, t), rtol=0, atol=2e-5)


def test_super_resolution_and_classifiers(here):
    c = SMALL | {"seen": 6}
    state = weights(shapes(c))
    denoiser = fn.load(saved(here / "up.pt", state), like=LIKE | {"factor": 4})
    x, t = inputs()
    small = torch.rand(2, 3, 4, 4) * 2 - 1
    large = F.interpolate(small, (16, 16), mode="bilinear")
    with torch.no_grad():
        found = denoiser.network(x, t, **denoiser.low.condition(small, torch.zeros(2), torch.zeros_like(small)))
    torch.testing.assert_close(found, Theirs(state, c, four)(torch.cat([x, large], 1), t), rtol=0, atol=2e-5)
    fn.save(denoiser, here / "saved")  # and what is saved of it is the same
    again = fn.load(here / "saved")
    assert (again.low.factor, again.low.tells) == (4, False)
    with pytest.raises(fn.FromNoiseError, match=r'give the factor by which it enlarges, like=\{"factor": 4\}'):
        fn.load(here / "up.pt", like=LIKE)

    c = SMALL | {"out": 9, "residual": True, "shift": True}
    state = weights(shapes(c, way_up=False, places=16))
    path = saved(here / "classifier.pt", state)
    classifier = opening.read(path, print, LIKE | {"side": 16, "network": {"head_channels": 16}})
    wanted = Theirs(state, c, lambda w: w // 16).classify(x, t)
    with torch.no_grad():
        found = classifier.network(x, t)
    assert wanted.std() > 0.1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert classifier.class_names == tuple(map(str, range(9)))
    with pytest.raises(
        fn.FromNoiseError, match="states of 32x32 do not fit: this network has learned the places of 16x16"
    ):
        classifier.network(torch.zeros(1, 3, 32, 32), t[:1])


def both_samplers(folder, variance):
    """x_0 of theirs and of ours after all steps of a chain of 20, the same noise: their formulas written down here."""
    T = 20
    c = SMALL | {"out": 6 if variance == "learned_range" else 3}
    state = weights(shapes(c))
    like = LIKE | {"schedule": {"name": "linear", "T": T, "beta_start": 0.005, "beta_end": 0.4}}
    denoiser = fn.load(saved(folder / "chain.pt", state), like=like)
    beta = np.linspace(0.005, 0.4, T)
    bar = np.cumprod(1 - beta)
    before = np.append(1.0, bar[:-1])
    posterior = beta * (1 - before) / (1 - bar)
    low = np.log(np.append(posterior[1], posterior[1:]))
    theirs, g = Theirs(state, c, four), torch.Generator().manual_seed(5)
    x = x_T = torch.randn(2, 3, 16, 16, generator=g)
    noise = [torch.randn(2, 3, 16, 16, generator=g) for _ in range(T)]
    for i in reversed(range(T)):
        out = theirs(x, torch.full((2,), i * 1000 / T))
        eps, raw = out[:, :3], out[:, 3:]
        x0 = ((x - math.sqrt(1 - bar[i]) * eps) / math.sqrt(bar[i])).clamp(-1, 1)
        mean = x0 * (math.sqrt(before[i]) * beta[i] / (1 - bar[i])) + x * (
            (1 - before[i]) * math.sqrt(1 - beta[i]) / (1 - bar[i])
        )
        if variance == "learned_range":
            log_var = (raw + 1) / 2 * math.log(beta[i]) + (1 - raw) / 2 * low[i]
        else:
            log_var = torch.tensor(math.log(np.append(posterior[1], beta[1:])[i]))
        x = mean + (i > 0) * torch.exp(log_var / 2) * noise[T - 1 - i]

    sampler, steered = fn.samplers.Ancestral(), fn.guidance.Clip(denoiser)
    y, state_, drawn = x_T, sampler.init(x_T), iter(noise)
    chain = denoiser.schedule.chain
    with torch.no_grad():
        for t, s in chain.pairs():
            y, state_ = sampler.step(steered, y, t, s, state_, lambda: next(drawn), None)
    return x, y


@pytest.mark.parametrize("variance", ["learned_range", "fixed_large"])
def test_their_sampler_and_ours(here, variance):
    wanted, found = both_samplers(here, variance)
    assert wanted.std() > 0.1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


FLAGS = {  # of the two READMEs: what their create_model makes of them, and how many parameters that has
    "cifar10_uncond_50M_500K": {"mc": 128, "mult": (1, 2, 2, 2), "blocks": 3, "attention": (2, 4), "count": 52_546_438},
    "imagenet64_uncond_100M_1500K": {"mc": 128, "mult": (1, 2, 3, 4), "blocks": 3, "attention": (4, 8), "count": 121_063_942},
    "imagenet64_cond_270M_250K": {"mc": 192, "mult": (1, 2, 3, 4), "blocks": 3, "attention": (4, 8), "classes": 1000},
    "upsample_cond_500K": {"mc": 192, "mult": (1, 1, 2, 2, 4, 4), "attention": (16, 32), "classes": 1000, "seen": 6},
    "lsun_uncond_100M_1200K_bs128": {"mc": 128, "mult": (1, 1, 2, 2, 4, 4), "attention": (16,), "shift": False, "count": 113_676_678},
    "64x64_diffusion": {"mc": 192, "mult": (1, 2, 3, 4), "blocks": 3, "attention": (2, 4, 8), "classes": 1000,
                        "residual": True, "count": 295_904_454},
    "128x128_diffusion": {"mc": 256, "mult": (1, 1, 2, 3, 4), "attention": (4, 8, 16), "classes": 1000, "residual": True},
    "256x256_diffusion": {"mc": 256, "mult": (1, 1, 2, 2, 4, 4), "attention": (8, 16, 32), "classes": 1000,
                          "residual": True, "count": 553_838_086},
    "512x512_diffusion": {"mc": 256, "mult": (0.5, 1, 1, 2, 2, 4, 4), "attention": (16, 32, 64), "classes": 1000, "residual": True},
    "64_256_upsampler": {"mc": 192, "mult": (1, 1, 2, 2, 4, 4), "attention": (8, 16, 32), "classes": 1000, "residual": True, "seen": 6},
    "64x64_classifier": {"mc": 128, "mult": (1, 2, 3, 4), "blocks": 4, "attention": (2, 4, 8), "residual": True, "out": 1000},
    "256x256_classifier": {"mc": 128, "mult": (1, 1, 2, 2, 4, 4), "attention": (8, 16, 32), "residual": True, "out": 1000},
    "512x512_classifier": {"mc": 128, "mult": (0.5, 1, 1, 2, 2, 4, 4), "attention": (16, 32, 64), "residual": True, "out": 1000},
}  # fmt: skip


@pytest.mark.parametrize("name", FLAGS)
def test_published_files_by_name_and_number_of_parameters(here, monkeypatch, name):
    """Every layout is found from names and shapes alone; heads, schedule and size by the file's name. Without memory."""
    c = SMALL | {"shift": True, "blocks": 2} | FLAGS[name]
    classifier = name.endswith("classifier")
    side = PUBLISHED[name]["side"]
    places = (side // 2 ** (len(c["mult"]) - 1)) ** 2
    found = shapes(c, not classifier, places if classifier else None)
    count = sum(math.prod(shape) for shape in found.values())
    assert c.get("count", count) == count
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in found.items()}
        monkeypatch.setattr(foreign, "opened", lambda path: foreign.Opened(state))
        monkeypatch.setattr(torch.nn.Module, "load_state_dict", _fits)
        said = []
        model = opening.read(saved(here / f"{name}.pt", {}), said.append)
    assert not said  # nothing was assumed
    assert sum(p.numel() for p in model.parameters()) == count
    assert model.shape == (3, side, side)
    assert PUBLISHED[name]["schedule"].get("T", 1000) == model.schedule.T


def _fits(network, state, assign):
    assert {k: v.shape for k, v in network.state_dict().items()} == {k: v.shape for k, v in state.items()}


OURS = {
    "improved": {"resample": "centered"},
    "guided": {"resample": "residual", "scale_shift": True, "head_channels": 16},
    "classes and none": {"resample": "centered", "classes": 5, "null_label": True},
    "first width": {"resample": "residual", "time_features": 64, "time_width": 256},
}


@pytest.mark.parametrize("name", OURS)
def test_ours_there_and_back_bit_for_bit(here, name):
    options = {"channels": 32, "mult": (1, 2), "blocks": 1, "attention": (2,), "eps": 1e-5, "time_endpoint": False}
    torch.manual_seed(0)
    network = fn.nn.UNet(**(options | {"heads": 2} | OURS[name]), out_channels=6)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    schedule = fn.schedules.Cosine(T=400)
    names = ("a", "b", "c", "d", "e") if network.classes else ()
    denoiser = fn.Denoiser(network, schedule, "eps", "learned_range", (3, 16, 16), names)
    formats.build("openai").write(denoiser, here / "out", Card("Of a test."))
    written = torch.load(here / "out" / "model.pt", weights_only=True)
    compile((here / "out" / "README.md").read_text().split("```python")[1].split("```")[0], "README", "exec")
    again = fn.load(here / "out" / "model.pt")  # model.json beside it says the rest
    for key, value in network.state_dict().items():
        assert torch.equal(again.network.state_dict()[key], value), key
    assert again.class_names == names
    assert (again.null_label, again.shape, type(again.schedule)) == (
        denoiser.null_label,
        (3, 16, 16),
        fn.schedules.Cosine,
    )
    c = {"mc": network.time[0].in_features, "shift": network.mid[0].scale_shift, "blocks": 1}
    c["residual"] = name in ("guided", "first width")
    x, t = inputs()
    label = torch.tensor([1, 4]) if names else None
    heads = (lambda w: w // 16) if name == "guided" else (lambda w: 2)
    with torch.no_grad():
        ours = network(x, t, **({"label": label} if names else {}))
    torch.testing.assert_close(Theirs(written, c, heads)(x, t, label), ours, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network": {"eps": 1e-6}}, "a unet with eps=1e-06; it must be 1e-05"),
        ({"network": {"patch": 2}}, "a unet with patch=2; it must be 1"),
        ({"network": {"resample": "ddpm"}}, "resample=ddpm; it must be centered or residual"),
        ({"network": {"time_width": 64}}, "time_width is not four times"),
        ({"schedule": "scaled-linear"}, "the schedule scaled-linear"),
        ({"schedule": {"name": "linear", "T": 500}}, "betas from 0.1/T to 20/T"),
        ({"schedule": {"name": "cosine", "shift": -1.0}}, "the schedule cosine with these options"),
        ({"parameterization": "v"}, "the parameterization v"),
    ],
)
def test_what_they_cannot_hold_is_refused_with_the_reason(here, changes, says):
    options = {"channels": 32, "mult": (1, 2), "blocks": 1, "attention": (), "eps": 1e-5, "time_endpoint": False,
               "resample": "centered"} | changes.get("network", {})  # fmt: skip
    schedule = fn.schedules.build(changes.get("schedule", "linear"))
    denoiser = fn.Denoiser(fn.nn.UNet(**options), schedule, changes.get("parameterization", "eps"))
    with pytest.raises(fn.FromNoiseError, match=says):
        formats.build("openai").write(denoiser, here / "out", Card())
    assert not (here / "out").exists()


def test_a_command_reads_and_writes_them(tmp_path, capsys):
    """A file of theirs -> one of ours -> theirs again, and sampled as it is."""
    state = weights(shapes(SMALL))
    path = saved(tmp_path / "model.pt", state)
    assert main(["convert", str(path), str(tmp_path / "a"), "--to", "openai"]) == 0
    said = capsys.readouterr().err
    assert "4 are assumed" in said
    assert "linear with 1000 steps is assumed" in said
    assert "the size of its images" not in said or 'like={"side": 64}' in said
    back = torch.load(tmp_path / "a" / "model.pt", weights_only=True)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    (tmp_path / "model.json").write_text('{"network": {"heads": 4}, "schedule": "cosine", "side": 16}')
    assert main(["convert", str(path), str(tmp_path / "ours"), "--to", "fromnoise"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert main(["sample", str(path), "--n", "2", "--steps", "2", "--out", str(tmp_path / "a.npz")]) == 0
    assert main(["sample", str(tmp_path / "ours"), "--n", "2", "--steps", "2", "--out", str(tmp_path / "b.npz")]) == 0
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert a["arr_0"].shape == (2, 16, 16, 3)
        assert np.array_equal(a["arr_0"], b["arr_0"])
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "x"), "--to", "opanai"]) == 2
    assert "openai" in capsys.readouterr().err


def test_what_is_said_is_held_against_the_file(here):
    """Merged key by key, refused where it contradicts or means nothing, and never dropped without a word."""
    table = weights(shapes(SMALL | {"classes": 8}))
    path = saved(here / "imagenet64_cond_270M_250K.pt", table)
    denoiser = fn.load(path, like={"network": {"heads": 2}})  # the rest of the published entry stays
    assert (denoiser.network.time_scale, denoiser.shape, denoiser.schedule.T) == (4.0, (3, 64, 64), 4000)
    assert denoiser.network.mid_attention.heads == 2
    path = saved(here / "model.pt", table)
    (here / "model.json").write_text('{"network": {"heads": 2, "null_label": true, "time_scale": 4.0}, "side": 16}')
    denoiser = fn.load(path, like={"network": {"heads": 4}, "schedule": "linear"})
    assert (denoiser.classes, denoiser.null_label, denoiser.network.time_scale) == (7, 7, 4.0)
    (here / "model.json").unlink()
    for changes, says in (
        ({"network": 5}, "like: network must be options of a network"),
        ({"network": {"heads": "4"}}, "model.pt: heads must be a whole number, got '4'"),
        ({"network": {"hats": 4}}, "model.pt: unknown option of its network 'hats' .did you mean heads"),
        ({"network": {"channels": 64}}, "model.pt: channels is 32 in the file, but like says 64"),
        ({"network": {"heads": 5}}, "96 rows of queries, keys and values cannot be split into 5 heads|heads"),
        ({"network": {"time_scale": 0}}, "time_scale must be a positive number, got 0"),
        ({"side": "16"}, "like: side must be the number of pixels"),
        ({"side": 15}, "images of 15x15 do not fit"),
        ({"by_head": "no"}, "like: by_head must be true or false, got 'no'"),
        (
            {"variance": "fixed_small"},
            "the variance fixed_small does not fit its network, which returns 6 channels for 3",
        ),
        ({"class_names": ["a"]}, "class_names has 1 names for 8 classes"),
        ({"class_names": ["a"] * 8}, "class_names must be"),
        ({"schedule": "cosin"}, "model.pt: unknown schedule"),
        ({"scale": 2.0}, "model.pt: like must not have 'scale' for this format"),
    ):
        with pytest.raises(fn.FromNoiseError, match=says) as caught:
            fn.load(path, like=LIKE | changes)
        assert "\n" not in str(caught.value)
    two = saved(here / "two.pt", weights(shapes(SMALL | {"seen": 2, "out": 2})))
    with pytest.raises(fn.FromNoiseError, match="as a super-resolution model has: give the factor"):
        fn.load(two, like=LIKE)
    assert fn.load(two, like=LIKE | {"factor": 1}).shape == (2, 16, 16)
    assert fn.load(two, like=LIKE | {"factor": 2}).variance.outputs == 2
    recipe = fn.recipes.load("improved-ddpm-cifar10").with_changes({"network.heads": 2, "network.blocks": 2})
    with pytest.raises(fn.FromNoiseError, match="channels is 32 in the file, but like says 128"):
        fn.load(path, like=recipe)


def test_damaged_weights_are_named_as_they_are_there(here):
    for name, change, says in (
        ("time_embed.2.weight", None, "time_embed.2.weight"),
        ("middle_block.1.qkv.weight", None, "middle_block.1.qkv"),
        ("out.2.bias", torch.zeros(7), "out.2.bias has the shape .7., expected .6."),
        ("input_blocks.1.0.in_layers.2.weight", torch.full((32, 32, 3, 3), torch.nan), "in_layers.2.weight holds infinity or NaN"),
        ("out.0.bias", torch.zeros(32, dtype=torch.int32), "out.0.bias is of type int32"),
    ):  # fmt: skip
        state = weights(shapes(SMALL))
        if change is None:
            del state[name]
        else:
            state[name] = change
        with pytest.raises(fn.FromNoiseError, match=says) as caught:
            fn.load(saved(here / "model.pt", state), like=LIKE)
        assert str(caught.value).startswith(str(here))


def test_what_happens_to_a_file_afterwards_is_nothing_to_the_model(here):
    from safetensors.torch import save_file

    path = here / "model.safetensors"
    save_file(weights(shapes(SMALL)), path)
    denoiser, (x, t) = fn.load(path, like=LIKE), inputs()
    with torch.no_grad():
        before = denoiser.network(x, t)
        path.write_bytes(b"")
        assert torch.equal(denoiser.network(x, t), before)
