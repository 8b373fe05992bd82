"""EDM's files opened here and ours written for EDM: outputs, a whole sampler, counts, names; and what is refused."""

import math

import numpy as np
import pytest
import torch
from edm_pickles import Net, snapshot

import fromnoise as fn
from fromnoise import registry, rng
from fromnoise.app.cli import main
from fromnoise.weights import edm, foreign, pickles
from fromnoise.weights.formats import build
from fromnoise.weights.formats.base import Card
from fromnoise.weights.formats.source import Source

WARNED = pytest.mark.filterwarnings("ignore:.*samples it without clipping")
NETS = {
    "ddpm++ with classes": Net(labels=5, augment=9, kwargs={"dropout": 0.13}),
    "ddpm++, two blocks, three levels": Net(side=12, seen=1, out=1, channels=24, mult=(2, 1, 2), blocks=2, attention=(12, 3)),
    "adm with classes": Net(plus=False, channels=32, mult=(1, 4), labels=4, augment=9),
    "adm, narrow and wide": Net(plus=False, channels=64, mult=(1, 3), emb=2, attention=(8, 4)),
    "adm without attention": Net(plus=False, seen=1, out=1, attention=()),
}  # fmt: skip


def here(path, like=None, warn=lambda line: None):
    """What the format makes of a pickle, or of what it wrote, read in this process."""
    values = torch.load(path) if path.suffix == ".pt" else pickles.read(path, 10**9, torch.load)
    source = Source(path, like or {}, warn)
    vars(source)["opened"] = foreign.Opened(values["ema"], "ema", tuple(values), values["init_kwargs"])
    return build("edm").read(source).eval()


def precond(net, weights, x, sigma, hot, data):
    """D(x, sigma) of Karras et al. 2022, table 1, float64 but for the network."""
    total = sigma**2 + data**2
    time = torch.full((len(x),), math.log(sigma) / 4)
    output = net(weights, (x / math.sqrt(total)).float(), time, hot).double()
    return data**2 / total * x + sigma * data / math.sqrt(total) * output


def inputs(net, n=3):
    g = torch.Generator().manual_seed(3)
    x, time = torch.randn(n, net.seen, net.side, net.side, generator=g), torch.tensor([-1.5, 0.1, 1.0])
    label = torch.arange(n) % net.labels if net.labels else None
    hot = torch.eye(net.labels)[label] if net.labels else None
    return x, time, {} if label is None else {"label": label}, hot, torch.randn(n, 9, generator=g)


@torch.no_grad()
@pytest.mark.parametrize("name", NETS)
def test_their_networks_give_the_same_here(tmp_path, name):
    net, weights = NETS[name], NETS[name].weights()
    denoiser = here(snapshot(tmp_path / "n.pkl", net, weights, sigma_data=0.4, sigma_min=0, sigma_max=math.inf))
    x, time, cond, hot, augment = inputs(net)
    wanted = net(weights, x, time, hot)
    assert wanted.std() > 0.05
    torch.testing.assert_close(denoiser.network(x, time, **cond), wanted, rtol=1e-5, atol=1e-5)
    if net.labels:
        nothing = net(weights, x, time, 0 * hot)
        torch.testing.assert_close(denoiser.network(x, time), nothing, rtol=1e-5, atol=1e-5)
        assert (nothing - wanted).abs().max() > 1e-3
        assert denoiser.null_label == net.labels
    if net.augment:
        told = net(weights, x, time, hot, augment)
        torch.testing.assert_close(denoiser.network(x, time, augment=augment, **cond), told, rtol=1e-5, atol=1e-5)
        assert (told - wanted).abs().max() > 1e-3
    assert denoiser.shape == (net.seen, net.side, net.side)
    assert fn.registry.spec(denoiser.network)["dropout"] == net.kwargs.get("dropout", 0.1)
    for sigma in (0.002, 0.5, 80.0):
        level = denoiser.schedule.at(-2 * math.log(sigma))
        found, d = denoiser(sigma * x, level, cond).x0, precond(net, weights, sigma * x.double(), sigma, hot, 0.4)
        torch.testing.assert_close(found.double(), d, rtol=1e-5, atol=1e-5)


def heun(denoised, x, steps=18, low=0.002, high=80.0, rho=7):
    """Karras et al. 2022, algorithm 2 without churn, at the levels of its eq. 5, float64."""
    sigma = [
        (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(steps)
    ]
    for t, s in zip(sigma, [*sigma[1:], 0.0], strict=True):
        slope = (x - denoised(x, t)) / t
        ahead = x + (s - t) * slope
        x = ahead if s == 0 else x + (s - t) * (slope + (ahead - denoised(ahead, s)) / s) / 2
    return x


@torch.no_grad()
def both_samplers(denoiser, net, weights):
    """x_0 of 18 steps of Heun by their arithmetic, and of ours, from the same noise."""
    labels = torch.tensor([4, 0, 2])
    found = fn.sample(denoiser, 3, "heun", steps=18, seed=7, cond={"label": labels})
    x_T = 80 * rng.normal(7, range(3), 0, denoiser.shape).double()
    hot = torch.eye(net.labels)[labels]
    return heun(lambda x, sigma: precond(net, weights, x, sigma, hot, 0.5), x_T), found


@WARNED
@torch.no_grad()
def test_a_pickle_is_opened_and_a_whole_sampler_gives_the_same(tmp_path):
    """By `fn.load`, in a process of its own, and the command; nothing beside the weights is run."""
    net, marker = NETS["ddpm++ with classes"], tmp_path / "ran"
    weights = net.weights()
    path = snapshot(tmp_path / "edm-cifar10-32x32-cond-vp.pkl", net, weights, marker=marker, sigma_data=np.float64(0.5))
    denoiser = fn.load(path)
    wanted, found = both_samplers(denoiser, net, weights)
    assert wanted.std() > 0.3
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-4)
    assert not marker.exists()
    out = tmp_path / "x.npz"
    assert (
        main(["sample", str(path), "--n", "2", "--sampler", "heun", "--steps", "2", "--class", "3", "--out", str(out)])
        == 0
    )
    assert np.load(out)["arr_0"].shape == (2, 8, 8, 3)


@torch.no_grad()
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols_of_every_age(tmp_path, protocol):
    net = Net(seen=1, out=1, attention=())
    path = snapshot(tmp_path / "n.pkl", net, net.weights(), protocol=protocol, sigma_data=np.float64(0.3))
    denoiser, (x, time, *_) = here(path), inputs(net)
    torch.testing.assert_close(denoiser.network(x, time), net(net.weights(), x, time), rtol=1e-5, atol=1e-5)
    assert denoiser.parameterization == fn.parameterizations.EDM(data_std=0.3)


@torch.no_grad()
def test_improved_ddpm_s_preconditioning_is_our_chain(tmp_path):
    """D = x - sigma F_1(x / sqrt(sigma^2 + 1), 999 - j) at the levels u_j of Karras et al. 2022, table 1."""
    net = Net(plus=False, out=6, labels=3)
    weights = net.weights()
    j, u = np.arange(1000, 0, -1), np.zeros(1001)
    alpha_bar = lambda j: np.sin(np.pi / 2 * j / 1000 / 1.008) ** 2  # noqa: E731
    for i in j:
        u[i - 1] = np.sqrt((u[i] ** 2 + 1) / max(alpha_bar(i - 1) / alpha_bar(i), 0.001) - 1)
    path = snapshot(tmp_path / "n.pkl", net, weights, "iDDPMPrecond", tensors={"u": torch.from_numpy(u)})
    denoiser, (x, _, cond, hot, _) = here(path), inputs(net)
    assert isinstance(denoiser.variance, fn.variances.LearnedRange)
    for t in (1, 40, 700, 1000):
        level, sigma = denoiser.schedule.level(t), u[1000 - t]
        assert (level.sigma / level.alpha).item() == pytest.approx(sigma, rel=1e-9)
        output = net(weights, (x / math.sqrt(sigma**2 + 1)), torch.full((3,), float(t - 1)), hot)
        found = denoiser(level.alpha.item() * x, level, cond)
        torch.testing.assert_close(found.x0, x - sigma * output[:, :3], rtol=1e-5, atol=1e-5 * max(sigma, 1))
        torch.testing.assert_close(found.variance, (output[:, 3:] + 1) / 2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("net", "count"), [
    (Net(side=32, channels=128, mult=(2, 2, 2), blocks=4, attention=(16,), augment=9), 55_733_891),  # edm-cifar10, vp
    (Net(side=32, channels=128, mult=(2, 2, 2), blocks=4, attention=(16,), augment=9, labels=10), 55_735_299),
    (Net(side=64, channels=128, mult=(1, 2, 2, 2), blocks=4, attention=(16,), augment=9), 61_805_571),  # edm-ffhq, vp
    (Net(False, side=64, channels=192, mult=(1, 2, 3, 4), blocks=3, attention=(32, 16, 8), labels=1000), 295_899_267),
])  # fmt: skip
def test_published_configurations_have_their_count(net, count):
    """By their own classes; ADM's table has a row more here, for no label."""
    state = {name: torch.empty(shape, device="meta") for name, shape in net.shapes().items()}
    assert sum(value.numel() for value in state.values()) == count
    with torch.device("meta"):
        ours = fn.nn.UNet(**edm.options_of(state, edm.layout_of(state)))
    row = 0 if net.plus or not net.labels else 4 * net.channels
    assert sum(p.numel() for p in ours.parameters()) == count + row


def written(denoiser, path):
    build("edm").write(denoiser, path, Card("Trained on nothing."))
    saved = torch.load(path / "model.pt")  # plain tensors and values: torch's restricted reader takes them
    return saved["ema"], saved["init_kwargs"]


@WARNED
@pytest.mark.parametrize("name", NETS)
def test_what_was_read_is_written_under_their_names(tmp_path, name):
    net, weights = NETS[name], NETS[name].weights()
    denoiser = here(snapshot(tmp_path / "n.pkl", net, weights, sigma_data=0.4))
    state, kwargs = written(denoiser, tmp_path / "out")
    theirs = {f"model.{key}": value for key, value in (weights | net.filters()).items()}
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in theirs.items()}
    for key, value in theirs.items():
        if net.plus and key == "model.map_label.weight":
            torch.testing.assert_close(state[key], value, rtol=1e-6, atol=1e-7)
        else:
            assert torch.equal(state[key], value), key
    assert kwargs["model_type"] == ("SongUNet" if net.plus else "DhariwalUNet")
    assert (kwargs["img_resolution"], kwargs["img_channels"], kwargs["label_dim"]) == (net.side, net.seen, net.labels)
    assert (kwargs["model_channels"], kwargs["channel_mult"]) == (net.channels, list(net.mult))
    assert (kwargs["num_blocks"], kwargs["channel_mult_emb"]) == (net.blocks, net.emb)
    assert kwargs["attn_resolutions"] == [
        side for side in net.attention if f"enc.{side}x{side}_block0.qkv.weight" in weights
    ]
    assert (kwargs["sigma_data"], kwargs["sigma_min"], kwargs["sigma_max"]) == (0.4, 0.002, 80.0)
    assert (kwargs["augment_dim"], kwargs["dropout"]) == (net.augment, net.kwargs.get("dropout", 0.1))


@WARNED
@pytest.mark.parametrize("plus", [True, False])
def test_ours_come_back_bit_for_bit(tmp_path, plus):
    """But for DDPM++'s labels, which are sums there: those have rounding, once."""
    torch.manual_seed(0)
    options = edm.kind(plus) | {"channels": 64, "mult": (1, 2), "blocks": 1, "dropout": 0.05}
    network = fn.nn.UNet(**options, classes=6, null_label=True)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
        if not plus:
            network.label.weight[-1] = 0
    schedule = fn.schedules.EDM(sigma_min=0.01, sigma_max=40.0)
    denoiser = fn.Denoiser(network, schedule, {"name": "edm", "data_std": 0.7}, shape=(3, 8, 8))
    written(denoiser, tmp_path / "out")
    again = fn.load(tmp_path / "out" / "model.pt") if plus else here(tmp_path / "out" / "model.pt")
    own, back = network.state_dict(), again.network.state_dict()
    assert [key for key in own if not torch.equal(own[key], back[key])] == (["label.weight"] if plus else [])
    torch.testing.assert_close(back["label.weight"], own["label.weight"], rtol=1e-6, atol=1e-7)
    written(again, tmp_path / "twice")
    twice = here(tmp_path / "twice" / "model.pt").network.state_dict()
    assert all(torch.equal(twice[key], back[key]) for key in back)
    assert again.parameterization == denoiser.parameterization
    assert fn.registry.spec(again.schedule) == fn.registry.spec(schedule)


@WARNED
@torch.no_grad()
def test_a_vector_of_no_label_and_a_table_without_one_go_with_it(tmp_path):
    for plus, null in ((False, True), (False, False), (True, False)):
        torch.manual_seed(0)
        network = fn.nn.UNet(**edm.kind(plus) | {"channels": 64, "mult": (1,), "blocks": 1}, attention=(), classes=3,
                             null_label=null)  # fmt: skip
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
        denoiser = fn.Denoiser(network, fn.schedules.EDM(), "edm", shape=(3, 8, 8))
        state, kwargs = written(denoiser, tmp_path / "out")
        net = Net(plus, channels=64, mult=(1,), labels=3, attention=())
        x, time, cond, hot, _ = inputs(net)
        inner = {name.removeprefix("model."): value for name, value in state.items()}
        torch.testing.assert_close(net(inner, x, time, hot), network(x, time, **cond), rtol=1e-5, atol=1e-5)
        if null:
            torch.testing.assert_close(net(inner, x, time, 0 * hot), network(x, time), rtol=1e-5, atol=1e-5)
        assert kwargs["label_dim"] == 3


def refused(act, *words):
    with pytest.raises(fn.FromNoiseError) as caught:
        act()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), caught.value


def test_what_is_not_ours_is_refused_in_a_line(tmp_path):
    path, net = tmp_path / "n.pkl", Net(attention=())
    weights = net.weights()

    def opening(changes=None, without=(), **options):
        left = {key: value for key, value in (weights | (changes or {})).items() if key not in without}
        return lambda: here(snapshot(path, net, left, **options))

    wide = torch.zeros(1, 1, 4, 4)
    for act, words in (
        (opening({"enc.4x4_aux_residual.weight": torch.ones(1)}), ["n.pkl: its network is NCSN++"]),
        (opening({"map_noise.freqs": torch.ones(8)}), ["its network is NCSN++", "Fourier"]),
        (opening({"enc.4x4_down.conv0.resample_filter": wide}), ["is not the mean of 2x2 pixels"]),
        (opening(kind="VPPrecond"), ["n.pkl: is of VPPrecond", "999 t"]),
        (opening(kind="VEPrecond"), ["is of VEPrecond", "ln(sigma / 2)"]),
        (opening(kind="iDDPMPrecond", M=500), ["its chain has 500 steps"]),
        (opening(kind="iDDPMPrecond"), ["returns 3 channels for images of 3"]),
        (opening(kind="Precond"), ["is of Precond; it must be EDMPrecond or iDDPMPrecond"]),
        (opening(without=["dec.8x8_aux_norm.weight"]), ["its network must be a SongUNet"]),
        (opening(without=["enc.4x4_block0.conv0.weight"]), ["enc.4x4_block0.conv0.weight is missing"]),
        (opening(without=["dec.4x4_in1.conv1.bias"]), ["do not fit", "mid.1.conv2.bias"]),
        (opening({"enc.8x8_block0.qkv.weight": torch.ones(48, 16, 1, 1)}), ["dec.8x8_block1 has no attention"]),
        (opening({"dec.8x8_block0.qkv.weight": torch.ones(48, 16, 1, 1)}), ["dec.8x8_block0 has an attention"]),
        (opening({"enc.8x8_extra.weight": torch.ones(1)}), ["'enc.8x8_extra.weight' is no parameter of SongUNet"]),
        (opening({"enc.4x4_block0.conv0.weight": torch.ones(17, 16, 3, 3)}), ["no multiples of 16"]),
        (opening({"map_layer0.weight": torch.ones(3)}), ["n.pkl: it builds no model"]),
    ):  # fmt: skip
        refused(act, *words)
    heard = []
    here(snapshot(path, Net(augment=11), Net(augment=11).weights()), warn=heard.append)
    assert "conditioned on 11 numbers of its augmentation" in heard[0]
    assert "sigma_data 0.5, is assumed" in heard[1]
    assert "without clipping" in heard[2]
    denoiser = here(path, {"parameterization": {"name": "edm", "data_std": 0.2}, "schedule": {"name": "edm", "T": 9}})
    assert (denoiser.parameterization.data_std, denoiser.schedule.T) == (0.2, 9)
    refused(lambda: here(path, {"side": 3}), "like must not have 'side'")


@pytest.mark.parametrize(("low", "high", "wanted"), [
    (0, math.inf, (0.002, 80)), (1e-5, 1000.0, (0.002, 80)), (0.01, 50.0, (0.01, 50)), (0.0, 200, (0.002, 80)),
])  # fmt: skip
def test_levels_lie_where_their_sampler_stays(tmp_path, low, high, wanted):
    """EDM's generate takes max(0.002, sigma_min) and min(80, sigma_max), and a file that says more is warned of."""
    net, heard = Net(), []
    path = snapshot(tmp_path / "n.pkl", net, net.weights(), sigma_data=0.5, sigma_min=low, sigma_max=high)
    chain = fn.load(path, warn=heard.append).schedule.level(torch.tensor([1000.0, 1e-3], dtype=torch.float64))
    assert chain.sigma[0] == pytest.approx(wanted[1])
    assert registry.spec(fn.load(path, warn=lambda text: None).schedule)["sigma_min"] == wanted[0]
    assert any("of which EDM samples 0.002 to 80" in text for text in heard) == (high in (1000.0, 200))


@pytest.mark.parametrize(("key", "values"), [
    ("sigma_data", (math.nan, math.inf, -0.5, 0, None, "a", True, [0.5], 1e300)),
    ("sigma_min", (math.nan, math.inf, -1, "a", 100)),
    ("sigma_max", (math.nan, -math.inf, 0, 0.001)),
    ("C_1", (math.nan, -1, 1, 2)),
    ("C_2", (math.nan, -1, 1e9)),
    ("dropout", (math.nan, 2.0, -1)),
])  # fmt: skip
def test_a_number_that_means_nothing_is_refused_and_not_left_out(tmp_path, key, values):
    """Above all one that is not finite, which JSON does not hold; in a pickle as in a file of tensors."""
    kind = "iDDPMPrecond" if key.startswith("C_") else "EDMPrecond"
    net = Net(out=6 if key.startswith("C_") else 3)
    for value in values:
        path = snapshot(tmp_path / "n.pkl", net, net.weights(), kind, **{key: value})
        with pytest.raises(fn.FromNoiseError, match=f"{key} ") as caught:
            here(path)
        assert "\n" not in str(caught.value)
        saved = {"ema": {"model.w": torch.ones(1)}, "init_kwargs": {key: value}}
        torch.save(saved, tmp_path / "n.pt")
        assert key in foreign.unpacked(tmp_path / "n.pt").options


def test_what_they_cannot_hold_is_refused_with_the_reason(tmp_path):
    def net(**options):
        return fn.nn.UNet(**edm.kind(False) | {"channels": 64, "mult": (1,), "blocks": 1, "attention": ()} | options)

    def model(network, **parts):
        return fn.Denoiser(
            network, **{"schedule": fn.schedules.EDM(), "parameterization": "edm", "shape": (3, 8, 8)} | parts
        )

    for denoiser, words in (
        (model(net(patch=2)), "a U-Net with patch=2; DhariwalUNet has 1"),
        (model(net(resample="ddpm")), "resample=ddpm; DhariwalUNet has residual"),
        (model(net(scale_shift=False)), "scale_shift=False; DhariwalUNet has True"),
        (model(net(**edm.kind(True), stem_channels=32)), "stem_channels=32; SongUNet has 64"),
        (model(net(**edm.kind(True) | {"skip_scale": 1.0})), "skip_scale=1.0; SongUNet has 0.707"),
        (model(net(groups=8)), "groups=8; DhariwalUNet has 32"),
        (model(net(time_width=100)), "time_width=100, no multiple of channels=64"),
        (model(net(), schedule=fn.schedules.VE()), "this one's are ve and edm"),
        (model(net(), parameterization="v", schedule=fn.schedules.EDM()), "this one's are edm and v"),
        (model(net(), shape=(3, 8, 16)), "square images"),
        (model(net(), shape=None), "of no size of its own"),
        (model(torch.nn.Linear(1, 1)), "a Linear"),
    ):
        refused(lambda: build("edm").write(denoiser, tmp_path / "out", Card()), words)
    assert not (tmp_path / "out").exists()
    (tmp_path / "letter").write_text("dear")
    refused(
        lambda: build("edm").write(model(net()), tmp_path, Card()),
        "holds letter, which would be lost: name a new folder",
    )
    refused(lambda: build("edm").write(model(net()), tmp_path / "letter" / "out", Card()), "cannot be written")
