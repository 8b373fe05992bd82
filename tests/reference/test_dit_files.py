"""Files of DiT and SiT: their arithmetic written down here a second time, and ours there and back."""

import argparse
import math

import pytest
import torch
import torch.nn.functional as F

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.nn.dit import positions
from fromnoise.weights import foreign, formats
from fromnoise.weights.formats.base import Card

WIDTH, DEPTH, HEADS, CLASSES, PATCH, SIDE = 32, 2, 4, 7, 2, 8
LIKE = {"network": {"heads": HEADS}}


def state(out, seed=0):
    """Names and shapes of their model, random but for the places, which are fixed."""
    shapes = {"x_embedder.proj": (WIDTH, 4, PATCH, PATCH), "t_embedder.mlp.0": (WIDTH, 256), "t_embedder.mlp.2": (WIDTH, WIDTH),
              "final_layer.linear": (PATCH**2 * out, WIDTH), "final_layer.adaLN_modulation.1": (2 * WIDTH, WIDTH)}  # fmt: skip
    for i in range(DEPTH):
        shapes |= {f"blocks.{i}.attn.qkv": (3 * WIDTH, WIDTH), f"blocks.{i}.attn.proj": (WIDTH, WIDTH),
                   f"blocks.{i}.mlp.fc1": (4 * WIDTH, WIDTH), f"blocks.{i}.mlp.fc2": (WIDTH, 4 * WIDTH),
                   f"blocks.{i}.adaLN_modulation.1": (6 * WIDTH, WIDTH)}  # fmt: skip
    g = torch.Generator().manual_seed(seed)
    found = {"pos_embed": positions(SIDE // PATCH, SIDE // PATCH, WIDTH).float()[None]}
    for name, shape in shapes.items():
        found[f"{name}.weight"] = torch.randn(shape, generator=g) / math.sqrt(math.prod(shape[1:]))
        found[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=g)
    found["y_embedder.embedding_table.weight"] = torch.randn(CLASSES + 1, WIDTH, generator=g)
    return found


def theirs(s, x, t, label):
    """F(x, t, y), t as their sinusoids see it."""

    def layer(name, h):
        return F.linear(h, s[f"{name}.weight"], s[f"{name}.bias"])

    angle = t[:, None] * torch.exp(-math.log(10000) * torch.arange(128) / 128)
    emb = layer("t_embedder.mlp.2", F.silu(layer("t_embedder.mlp.0", torch.cat([angle.cos(), angle.sin()], 1))))
    emb = F.silu(emb + s["y_embedder.embedding_table.weight"][label])
    n, side = len(x), x.shape[2] // PATCH
    h = F.conv2d(x, s["x_embedder.proj.weight"], s["x_embedder.proj.bias"], stride=PATCH).flatten(2).mT + s["pos_embed"]
    for i in range(DEPTH):
        b1, s1, g1, b2, s2, g2 = layer(f"blocks.{i}.adaLN_modulation.1", emb)[:, None].chunk(6, 2)
        q, k, v = layer(f"blocks.{i}.attn.qkv", F.layer_norm(h, (WIDTH,), eps=1e-6) * (1 + s1) + b1).chunk(3, 2)
        q, k, v = (part.view(n, -1, HEADS, WIDTH // HEADS).transpose(1, 2) for part in (q, k, v))
        share = torch.softmax(q @ k.mT / math.sqrt(WIDTH // HEADS), -1)
        h = h + g1 * layer(f"blocks.{i}.attn.proj", (share @ v).transpose(1, 2).reshape(h.shape))
        inner = F.gelu(
            layer(f"blocks.{i}.mlp.fc1", F.layer_norm(h, (WIDTH,), eps=1e-6) * (1 + s2) + b2), approximate="tanh"
        )
        h = h + g2 * layer(f"blocks.{i}.mlp.fc2", inner)
    shift, scale = layer("final_layer.adaLN_modulation.1", emb)[:, None].chunk(2, 2)
    h = layer("final_layer.linear", F.layer_norm(h, (WIDTH,), eps=1e-6) * (1 + scale) + shift)
    return h.view(n, side, side, PATCH, PATCH, -1).permute(0, 5, 1, 3, 2, 4).reshape(n, -1, *x.shape[2:])


def inputs(seed=3):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, SIDE, SIDE, generator=g), torch.tensor([5, CLASSES])  # a class, and none


def saved(path, what):
    torch.save(what, path)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder whose files are read without a process of their own, which costs seconds."""
    monkeypatch.setattr(foreign, "opened", foreign.unpacked)
    return tmp_path


@pytest.mark.parametrize("kind", ["released", "trained"])
def test_dit(here, kind):
    """The tensors alone, and the averaged ones of a training checkpoint."""
    s = state(8)
    what = s
    if kind == "trained":
        args = argparse.Namespace(model="DiT-S/2", global_batch_size=256, results_dir="results")
        what = {"model": state(8, seed=9), "ema": s, "opt": {"state": {}, "param_groups": []}, "args": args}
    denoiser = fn.load(saved(here / "dit.pt", what), like=LIKE, warn=lambda line: None)
    x, label = inputs()
    t = torch.tensor([3.0, 700.0])
    with torch.no_grad():
        found = denoiser.network(x, t, label)
    wanted = theirs(s, x, t, label)
    assert wanted.std() > 0.3
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())
    assert (denoiser.classes, denoiser.null_label, denoiser.shape) == (CLASSES, CLASSES, (4, SIDE, SIDE))
    assert type(denoiser.variance).__name__ == "LearnedRange"


def both_walks(denoiser, s):
    """x_0 of ten steps of Euler by their arithmetic, and of ours."""
    x, label = inputs()
    steps, y = 10, x
    chain = denoiser.schedule.steps(steps)
    for t, after in chain.pairs():  # x <- x + (u' - u) v on the same levels
        v = theirs(s, y, (1 - t.sigma).float().expand(2), label)[:, :4]
        y = y + (t.sigma - after.sigma).item() * v
    sampler = fn.samplers.DDIM()
    z, own = x, sampler.init(x)
    with torch.no_grad():
        for t, after in chain.pairs():
            z, own = sampler.step(denoiser, z, t, after, own, lambda: torch.zeros_like(x), {"label": label})
    return y, z


@pytest.mark.parametrize("out", [4, 8])
def test_sit_is_the_flow_of_the_straight_path(here, out):
    """Their velocity is ours with another sign, their time 1 - s; and a whole sampler: Euler's steps from noise."""
    s = state(out)
    denoiser = fn.load(saved(here / "SiT-XL-2-256x256.pt", s), like=LIKE, warn=lambda line: None)
    x, label = inputs()
    u = torch.tensor([0.13, 0.77])
    with torch.no_grad():
        found = denoiser.network(x, 1000 * (1 - u), label)
    wanted = theirs(s, x, u, label)[:, :4]
    torch.testing.assert_close(found, -wanted, rtol=0, atol=1e-5)

    wanted, found = both_walks(denoiser, s)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_what_a_file_does_not_say(here):
    said = []
    denoiser = fn.load(saved(here / "dit.pt", state(8)), like=LIKE, warn=said.append)
    assert denoiser.codec is None
    assert "a latent model without its autoencoder" in said[0]
    with pytest.raises(fn.FromNoiseError, match=r'give like=\{"network": \{"heads": 8\}\}'):
        fn.load(here / "dit.pt")
    with pytest.raises(fn.FromNoiseError, match="dit.pt: like must not have 'side' for this format"):
        fn.load(here / "dit.pt", like={"side": 3})
    torch.manual_seed(0)
    coder = fn.nn.KLAutoencoder(in_channels=3, channels=8, mult=(1, 1, 1, 1), blocks=1, latent=4, groups=4)
    fn.save(coder, here / "kl")
    denoiser = fn.load(here / "dit.pt", like=LIKE | {"autoencoder": here / "kl"}, warn=said.append)
    assert denoiser.image_shape == (3, 8 * SIDE, 8 * SIDE)
    assert denoiser.codec.scale == 0.18215


def test_ours_there_and_back_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    network = fn.nn.DiT(4, 8, depth=DEPTH, width=WIDTH, heads=HEADS, classes=CLASSES, null_label=True)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    denoiser = fn.Denoiser(network, "linear", "eps", "learned_range", (4, SIDE, SIDE))
    formats.build("dit").write(denoiser, tmp_path / "out", Card())
    written = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    assert {k: v.shape for k, v in written.items()} == {k: v.shape for k, v in state(8).items()}
    again = fn.load(tmp_path / "out" / "model.pt", warn=lambda line: None)
    assert all(torch.equal(again.network.state_dict()[key], value) for key, value in network.state_dict().items())
    x, label = inputs()
    t = torch.tensor([3.0, 700.0])
    with torch.no_grad():
        torch.testing.assert_close(theirs(written, x, t, label), network(x, t, label), rtol=0, atol=1e-5)
    compile((tmp_path / "out" / "README.md").read_text().split("```python")[1].split("```")[0], "README", "exec")
    for changed, says in (
        (fn.Denoiser(network, "cosine", "eps", "learned_range", (4, SIDE, SIDE)), "a schedule other than linear"),
        (fn.Denoiser(network, "linear", "v", "learned_range", (4, SIDE, SIDE)), "the parameterization v"),
        (fn.Denoiser(fn.nn.UNet(), "linear"), "cannot hold a UNet, only a dit"),
    ):
        with pytest.raises(fn.FromNoiseError, match=says):
            formats.build("dit").write(changed, tmp_path / "no", Card())


def test_published_sizes_by_their_number_of_parameters():
    """Table 1 of arXiv 2212.09748 in millions; of XL/2 the exact number is known."""
    for size, millions in (("S", 33), ("B", 130), ("L", 458), ("XL", 675)):
        with torch.device("meta"):
            network = fn.nn.DiT(4, 8, size=size, classes=1000, null_label=True)
        places = 256 * network.stem.out_channels  # parameters there, which are not trained
        count = sum(p.numel() for p in network.parameters()) + places
        assert abs(count / 1e6 - millions) < 1
    assert count == 675_129_632


KNOWN = {
    "lora.pt": ({"unet.lora_down.weight": torch.ones(2, 2)}, "holds a LoRA: small additions"),
    "v1-5.ckpt": ({"state_dict": {"model.diffusion_model.out.2.weight": torch.ones(2)}}, "from_single_file"),
    "checkpoint_8.pth": ({"model": {"module.all_modules.0.W": torch.ones(2)}, "ema": {"decay": 0.9, "shadow_params": []},
                          "optimizer": {}, "step": 8}, "score_sde"),
    "model-7.pt": ({"step": 7, "model": {"init_conv.weight": torch.ones(2)}, "opt": {}, "ema": {"step": torch.ones(1)},
                    "scaler": None, "version": "1.0"}, "denoising-diffusion-pytorch"),
    "edm2.pt": ({"unet.enc.64x64_block0.emb_gain": torch.ones(2)}, "EDM2, whose magnitude-preserving layers"),
    "text.pt": ({"down_blocks.0.attn2.to_q.weight": torch.ones(2)}, "text-conditional network"),
    "resnet.pt": ({"layer1.0.conv1.weight": torch.ones(2)}, "of no format that can be read .*layer1.0.conv1.weight"),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_strangers_are_called_by_their_names(here, name, capsys):
    what, says = KNOWN[name]
    path = saved(here / name, what)
    with pytest.raises(fn.FromNoiseError, match=says):
        fn.load(path)
    assert main(["sample", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_a_file_without_weights_is_one_line(tmp_path):
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(fn.FromNoiseError, match="text.pt: not a file of plain tensors"):
        fn.load(tmp_path / "text.pt")


def test_a_file_of_something_else_is_one_line(here):
    (here / "text.pt").write_text("no weights")
    (here / "empty.safetensors").write_bytes(b"")
    saved(here / "model.pt", state(8))
    (here / "model.json").write_text('{"network": {"heads": 4}, "heads": 4}')
    for name, says in (("empty.safetensors", "no intact safetensors file"),
                       ("model.pt", "model.json: unknown key of like .heads.")):  # fmt: skip
        with pytest.raises(fn.FromNoiseError, match=says):
            fn.load(here / name)
    (here / "model.json").write_text('{"architectures": ["X"], "heads": 2}')  # another program's
    assert fn.load(here / "model.pt", like=LIKE, warn=lambda line: None).classes == CLASSES
    with pytest.raises(fn.FromNoiseError, match="like: must be a Recipe, or options by part"):
        fn.load(here / "text.pt", like=3)
    fn.save(fn.Denoiser(fn.nn.MLP(2), "linear"), here / "ours")
    with pytest.raises(fn.FromNoiseError, match="describes itself: leave like out"):
        fn.load(here / "ours", like={"side": 3})


def test_what_is_said_is_held_against_the_file(here):
    quiet = {"warn": lambda line: None}
    path = saved(here / "dit.pt", state(8))
    for changes, says in (
        ({"parameterization": "v"}, "its parameterization must be eps .DiT. or flow .SiT., got v"),
        ({"network": {"depth": 9, "heads": HEADS}}, "depth is 2 in the file, but like says 9"),
        (
            {"variance": "fixed_small"},
            "the variance fixed_small does not fit its network, which returns 8 channels for 4",
        ),
        (
            {"parameterization": "flow", "schedule": "linear"},
            "its schedule must be rectified, got Linear",
        ),
        ({"autoencoder": "/nowhere"}, "autoencoder: /nowhere is no folder"),
    ):
        with pytest.raises(fn.FromNoiseError, match=says):
            fn.load(path, like=LIKE | changes, **quiet)
    for options, says in (
        ({"path_type": "GVP", "prediction": "velocity"}, "is a SiT whose path_type is GVP"),
        ({"path_type": "Linear", "prediction": "score"}, "is a SiT whose prediction is score"),
    ):
        what = {"ema": state(4), "args": argparse.Namespace(**options)}
        with pytest.raises(fn.FromNoiseError, match=says):
            fn.load(saved(here / "x.pt", what), like=LIKE, **quiet)
    for name, kind in (("SiT_XL_2", "flow"), ("my_sit", "flow"), ("SiTXL2", "flow"), ("sit-b-2", "flow"), ("DiT-XL-2-256x256", "eps"),
                       ("website", "eps"), ("sitting", "eps"), ("transit-dit", "eps")):  # fmt: skip
        said = []
        found = fn.load(saved(here / f"{name}.pt", state(8)), like=LIKE, warn=said.append)
        assert found.parameterization.name == kind, name
        assert any("is taken for a DiT" in line for line in said) == (name in ("website", "sitting"))
    empty = state(8) | {"y_embedder.embedding_table.weight": torch.zeros(1, WIDTH)}
    with pytest.raises(fn.FromNoiseError, match="its table of classes has 1 rows"):
        fn.load(saved(here / "dit.pt", empty), like=LIKE, **quiet)


def test_a_latent_models_scale_goes_with_it(here):
    torch.manual_seed(0)
    network = fn.nn.DiT(4, 8, depth=DEPTH, width=WIDTH, heads=HEADS, classes=CLASSES, null_label=True)
    coder = fn.nn.KLAutoencoder(in_channels=3, channels=8, mult=(1, 1), blocks=1, latent=4, groups=4)
    fn.save(coder, here / "kl")
    codec = fn.compose.autoencoded.Autoencoded(coder, 3.0)
    denoiser = fn.Denoiser(network, "linear", "eps", "learned_range", (4, SIDE, SIDE), codec=codec)
    formats.build("dit").write(denoiser, here / "out", Card())
    again = fn.load(here / "out" / "model.pt", like={"autoencoder": here / "kl"}, warn=lambda line: None)
    assert again.codec.scale == 3.0
    other = fn.nn.DiT(4, 8, depth=DEPTH, width=WIDTH, heads=HEADS, classes=CLASSES, mlp_eps=1e-2)
    with pytest.raises(fn.FromNoiseError, match="a dit with mlp_eps=0.01; it must equal eps"):
        formats.build("dit").write(fn.Denoiser(other, "linear", shape=(4, 8, 8)), here / "no", Card())
