"""Folders of diffusers' pipelines: theirs opened here, ours opened there, by their own classes and back again."""

import functools
import itertools
import json
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.weights import edm, formats
from fromnoise.weights.formats.base import Card
from fromnoise.weights.pipeline_writing import write

SMALL = {"sample_size": 16, "block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 8,
         "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}  # fmt: skip
NETWORKS = {
    "their defaults": {},
    "google's": {"flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6, "downsample_padding": 0, "attention_head_dim": None},
    "cosines first, with an end point": {"freq_shift": 1},
    "sines first, without": {"flip_sin_to_cos": False},
    "scale and shift": {"resnet_time_scale_shift": "scale_shift", "attention_head_dim": 16, "attn_norm_num_groups": 8},
    "resampling inside blocks": {"down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"), "downsample_type": "resnet",
                                 "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"), "upsample_type": "resnet"},
    "no attention in the middle": {"add_attention": False},
    "wide time": {"time_embedding_dim": 96},
    "gray, learned variance": {"in_channels": 1, "out_channels": 2},
    "classes": {"num_class_embeds": 5},
}  # fmt: skip
SCHEDULERS = {
    "linear": {},
    "other ends": {"beta_start": 2e-4, "beta_end": 0.01},
    "scaled": {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "a long chain": {"num_train_timesteps": 4000, "beta_end": 0.005},
    "a short chain": {"num_train_timesteps": 200, "beta_end": 0.1},
    "betas of its own": {"trained_betas": [0.001 * (1 + i % 7) for i in range(1000)]},
    "v": {"prediction_type": "v_prediction"},
    "x0": {"prediction_type": "sample"},
    "no signal at the end": {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
}


def shaken(network):
    torch.manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():  # also those that start at zero or one
            p.add_(0.05 * torch.randn_like(p))
    return network.eval()


def theirs(folder, network=None, scheduler=None, kind=diffusers.DDPMPipeline):
    unet = shaken(diffusers.UNet2DModel(**(SMALL | (network or {}))))
    learned = {"variance_type": "learned_range"} if unet.config.out_channels == 2 * unet.config.in_channels else {}
    made = diffusers.DDPMScheduler if kind is diffusers.DDPMPipeline else diffusers.DDIMScheduler
    pipeline = kind(unet, made(**({} if made is diffusers.DDIMScheduler else learned), **(scheduler or {})))
    pipeline.save_pretrained(folder)
    return pipeline


def inputs(channels=3, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, 16, 16, generator=generator), torch.tensor([7, 901])


@torch.no_grad()
def apart(unet, denoiser):
    """The largest difference of the two networks' outputs."""
    x, t = inputs(unet.config.in_channels)
    labels = torch.tensor([4, 1]) if unet.config.num_class_embeds else None
    wanted = unet(x, t, labels).sample
    cond = {} if labels is None else {"label": labels}
    time = t.float() / getattr(denoiser.network, "time_scale", 1.0)
    return (denoiser.network(x, time, **cond) - wanted).abs().max().item(), wanted.std().item()


@torch.no_grad()
def walks(unet, scheduler, denoiser, clip=True):
    """x_0 of DDIM without noise, from the same x_T: theirs and ours."""
    scheduler = diffusers.DDIMScheduler.from_config(scheduler.config)
    scheduler.set_timesteps(10)
    x_T = inputs(unet.config.in_channels)[0]
    x = x_T
    for t in scheduler.timesteps:
        output = unet(x, t).sample
        x = scheduler.step(output[:, : x.shape[1]], t, x, eta=0.0, use_clipped_model_output=True).prev_sample
    levels = [denoiser.schedule.level(float(t) + 1) for t in scheduler.timesteps] + [denoiser.schedule.level(0.0)]
    steered, sampler, y = fn.guidance.Clip(denoiser) if clip else denoiser, fn.samplers.DDIM(), x_T
    state = sampler.init(y)
    for t, s in itertools.pairwise(levels):
        y, state = sampler.step(steered, y, t, s, state, lambda: torch.zeros_like(x_T), None)
    return x, y


@pytest.mark.parametrize("name", NETWORKS)
def test_their_networks_open_here(tmp_path, name):
    pipeline = theirs(tmp_path / "a", NETWORKS[name])
    denoiser = fn.load(tmp_path / "a")
    far, size = apart(pipeline.unet, denoiser)
    assert far < 1e-5 * max(1, size)
    assert size > 0.05
    assert denoiser.shape == (pipeline.unet.config.in_channels, 16, 16)
    assert type(denoiser.variance).__name__ == ("LearnedRange" if name.startswith("gray") else "FixedSmall")


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("kind", [diffusers.DDPMPipeline, diffusers.DDIMPipeline])
def test_their_schedules_come_along(tmp_path, name, kind):
    """The whole chain's alpha_bar, and a whole sampler from the same x_T."""
    pipeline = theirs(tmp_path / "a", {}, SCHEDULERS[name], kind)
    denoiser = fn.load(tmp_path / "a")
    bar = pipeline.scheduler.alphas_cumprod.double()
    if kind is diffusers.DDPMPipeline or name != "no signal at the end":
        rows = torch.stack([denoiser.schedule.level(float(t)).alpha ** 2 for t in range(1, len(bar) + 1)])
        assert torch.allclose(rows, bar, rtol=2e-4, atol=1e-6)
    wanted, found = walks(pipeline.unet, pipeline.scheduler, denoiser)
    assert torch.allclose(found, wanted, rtol=0, atol=3e-4)


def test_the_u_net_alone_and_old_files_and_shards(tmp_path):
    pipeline = theirs(tmp_path / "a")
    flat = tmp_path / "flat"  # as the hub's first DDPMs lie: all in one folder
    flat.mkdir()
    for path in (*(tmp_path / "a" / "unet").iterdir(), *(tmp_path / "a" / "scheduler").iterdir()):
        shutil.copy(path, flat)
    wanted = fn.load(tmp_path / "a").network.state_dict()

    def same(folder):
        found = fn.load(folder).network.state_dict()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)

    same(flat)
    weights = flat / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for key, value in state.items():
        for new, was in old.items():
            key = key.replace(f".{new}.", f".{was}.")
        renamed[key] = value
    assert any(".proj_attn." in key for key in renamed)
    save_file(renamed, weights)
    same(flat)

    weights.unlink()
    names = sorted(state)
    for i, part in enumerate((names[::2], names[1::2])):
        save_file({name: state[name] for name in part}, flat / f"part-{i}.safetensors")
    index = {"weight_map": {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}}
    (flat / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    same(flat)
    for i in range(2):
        (flat / f"part-{i}.safetensors").unlink()
    (flat / "diffusion_pytorch_model.safetensors.index.json").unlink()
    torch.save(state, flat / "diffusion_pytorch_model.bin")
    same(flat)
    save_file({name: value.half() for name, value in state.items()}, flat / "diffusion_pytorch_model.fp16.safetensors")
    assert apart(pipeline.unet, fn.load(flat))[0] < 5e-3

    (flat / "scheduler_config.json").unlink()
    with pytest.warns(UserWarning, match="DDPM's schedule is taken"):
        fn.load(flat)


def refused(folder, *words):
    with pytest.raises(fn.FromNoiseError) as caught:
        fn.load(folder)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), caught.value


def test_what_is_not_ours_is_refused_in_a_line(tmp_path):
    place = tmp_path / "a"
    theirs(place)

    def changed(file, **changes):
        path = place / file
        before = path.read_text()
        path.write_text(json.dumps(json.loads(before) | changes))
        return lambda: path.write_text(before)

    for file, changes, words in (
        ("model_index.json", {"_class_name": "StableDiffusionPipeline"}, ["its class is StableDiffusionPipeline", "DDPMPipeline, DDIMPipeline"]),
        ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, ["its class is UNet2DConditionModel", "UNet2DModel"]),
        ("unet/config.json", {"act_fn": "mish"}, ["its act_fn is mish"]),
        ("unet/config.json", {"down_block_types": ["SkipDownBlock2D", "AttnDownBlock2D"]}, ["has SkipDownBlock2D"]),
        ("unet/config.json", {"block_out_channels": [32, 48]}, ["no multiples"]),
        ("unet/config.json", {"block_out_channels": [32]}, ["attention at different resolutions"]),
        ("unet/config.json", {"block_out_channels": ["x", 1]}, ["no model can be built"]),
        ("unet/config.json", {"block_out_channels": [64, 128]}, ["do not fit", "time_embedding.linear_1.weight has the shape [128, 32], expected [256, 64]"]),
        ("unet/config.json", {"block_out_channels": [32 * 10**6, 64 * 10**6]}, ["memory"]),
        ("unet/config.json", {"freq_shift": 3}, ["freq_shift is 3"]),
        ("unet/config.json", {"attn_norm_num_groups": 4}, ["normalised differently"]),
        ("unet/config.json", {"resnet_time_scale_shift": "scale_shift"}, ["normalised differently"]),
        ("scheduler/scheduler_config.json", {"_class_name": "PNDMScheduler"}, ["its class is PNDMScheduler"]),
        ("scheduler/scheduler_config.json", {"beta_schedule": "sigmoid"}, ["the beta_schedule sigmoid"]),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.1, 2]}, ["no list of numbers between 0 and 1"]),
        ("scheduler/scheduler_config.json", {"trained_betas": "x"}, ["no list of numbers between 0 and 1"]),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": "x"}, ["T"]),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, ["predicts flow"]),
        ("scheduler/scheduler_config.json", {"variance_type": "learned"}, ["its variance is learned"]),
    ):  # fmt: skip
        back = changed(file, **changes)
        refused(place, *words)
        back()
    fn.load(place)
    back = changed("scheduler/scheduler_config.json", clip_sample=False)
    with pytest.warns(UserWarning, match="without clipping"):
        fn.load(place)
    back()
    (place / "unet/config.json").rename(place / "unet/other.json")
    refused(place, "config.json: no such file")
    (place / "unet/other.json").rename(place / "unet/config.json")
    weights = place / "unet/diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    refused(place, "no intact safetensors file")
    weights.unlink()
    refused(place, "no weights in it")
    index = place / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": "../../x.safetensors"}}))
    refused(place, "names a file outside its folder")
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": "x.safetensors"}}))
    refused(place, "x.safetensors: no such file")
    index.write_text(json.dumps([1]))
    refused(place, "holds a list")


OURS = {
    "ddpm": {},
    "heads, centred, no end point": {"head_channels": 8, "resample": "centered", "time_endpoint": False},
    "two heads": {"heads": 2, "attention": (2,)},
    "residual, scale and shift": {"resample": "residual", "scale_shift": True},
    "no attention in the middle": {"scale_shift": True, "mid_attention": False},
    "wide time, dropout": {"time_width": 96, "dropout": 0.1},
    "classes and none": {"classes": 4, "null_label": True},
    "learned": {"out_channels": 6},
}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    "schedule",
    [
        fn.schedules.Linear(),
        fn.schedules.ScaledLinear(),
        fn.schedules.ZeroTerminal("cosine"),
        fn.schedules.Linear(T=500),
    ],
    ids=["linear", "scaled", "no signal at the end", "a short chain"],
)
def test_ours_open_there_and_come_back_bit_for_bit(tmp_path, name, schedule):
    """By `DDPMPipeline.from_pretrained`, whose network gives the same, and which draws."""
    options = {"attention": (2,), "time_scale": schedule.T / 1000} | OURS[name]
    network = shaken(fn.nn.UNet(channels=32, mult=(1, 2), blocks=1, groups=8, **options))
    variance = "learned_range" if name == "learned" else "fixed_small"
    denoiser = fn.Denoiser(network, schedule, "v", variance, shape=(3, 16, 16), class_names=("cat", "dog"))
    write(denoiser, tmp_path / "out", clip=False, about="Trained on nothing.")
    pipeline = diffusers.DDPMPipeline.from_pretrained(tmp_path / "out")
    assert apart(pipeline.unet, denoiser)[0] < 1e-5
    assert not pipeline.scheduler.config.clip_sample
    bar = pipeline.scheduler.alphas_cumprod.double()
    rows = torch.stack([schedule.level(float(t)).alpha ** 2 for t in range(1, schedule.T + 1)])
    assert torch.allclose(rows, bar, rtol=2e-4, atol=1e-6)
    if "classes" not in name:
        pipeline.set_progress_bar_config(disable=True)
        assert np.isfinite(pipeline(num_inference_steps=2, output_type="np").images).all()
        wanted, found = walks(pipeline.unet, pipeline.scheduler, denoiser, clip=False)
        assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())
    with pytest.warns(UserWarning, match="without clipping"):
        again = fn.load(tmp_path / "out")
    own = network.state_dict()
    back = again.network.state_dict()
    assert all(torch.equal(back[key], own[key]) for key in own)
    assert again.parameterization.name == "v"
    assert "Trained on nothing." in (tmp_path / "out" / "README.md").read_text()
    assert "cat, dog" in (tmp_path / "out" / "README.md").read_text()


def test_what_they_cannot_hold_is_refused_with_the_reason(tmp_path):
    def net(**options):
        return fn.nn.UNet(**({"channels": 16, "mult": (1, 2), "blocks": 1, "groups": 8, "attention": ()} | options))

    linear = fn.schedules.Linear()
    for denoiser, words in (
        (fn.Denoiser(net(patch=2), linear), "a U-Net with patch=2"),
        (fn.Denoiser(net(dims=1), linear), "a U-Net with dims=1"),
        (fn.Denoiser(net(skips="levels"), linear), "skips=levels"),
        (fn.Denoiser(net(resample="4x4"), linear), "resample=4x4"),
        (fn.Denoiser(net(image_channels=3), linear), "image_channels=3"),
        (fn.Denoiser(net(heads=4, attention=(1, 2)), linear), "4 heads of different widths"),
        (fn.Denoiser(net(), fn.schedules.Linear(T=50)), "its networks count steps .time_scale=0.05"),
        (fn.Denoiser(net(), fn.schedules.Cosine(s=0.1)), "the schedule cosine with these options"),
        (fn.Denoiser(net(), fn.schedules.EDM()), "the schedule edm"),
        (fn.Denoiser(torch.nn.Linear(1, 1), linear), "a Linear as a UNet2DModel"),
    ):
        with pytest.raises(fn.FromNoiseError, match=words):
            write(denoiser, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("dear")
    with pytest.raises(fn.FromNoiseError, match=r"holds letter\.txt, which would be lost: name a new folder"):
        write(fn.Denoiser(net(), linear, shape=(3, 8, 8)), tmp_path / "own")


def test_commands_take_a_pipeline_as_a_run(tmp_path, capsys):
    theirs(tmp_path / "theirs")
    assert main(["sample", str(tmp_path / "theirs"), "--n", "2", "--steps", "2", "--out", str(tmp_path / "x.npz")]) == 0
    assert np.load(tmp_path / "x.npz")["arr_0"].shape == (2, 16, 16, 3)
    assert main(["convert", str(tmp_path / "theirs"), str(tmp_path / "again")]) == 0
    one, two = (
        load_file(tmp_path / name / "unet" / "diffusion_pytorch_model.safetensors") for name in ("theirs", "again")
    )
    differs = [key for key in one if not torch.equal(one[key], two[key])]
    assert differs == ["time_embedding.linear_1.weight"]  # sines first, now
    one, two = (fn.load(tmp_path / name).network.state_dict() for name in ("theirs", "again"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    own = ["--set", "network.channels=32", "network.mult=[1,2]", "network.blocks=1", "network.attention=[2]",
           "network.groups=8", "network.patch=1", "network.skips=blocks", "network.head_channels=8", "data.size=16", "train.batch_size=4"]  # fmt: skip
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        Image.new("RGB", (16, 16), (60 * i, 0, 0)).save(tmp_path / "pictures" / f"{i}.png")
    capsys.readouterr()
    told = ["train", "images", "--data", str(tmp_path / "pictures"), "--init", str(tmp_path / "theirs"), "--steps", "1"]
    assert main([*told, "--out", str(tmp_path / "run"), *own]) == 0
    said = capsys.readouterr().err
    assert "starts from" in said
    assert "fresh" not in said
    place, pictures = str(tmp_path / "theirs"), str(tmp_path / "pictures")
    assert (
        main(["eval", place, "--data", pictures, "--features", "efficientnet-lite0", "--n", "2", "--steps", "2"]) == 0
    )
    assert main(["nll", place, "--data", pictures, "--n", "2", "--steps", "3"]) == 0
    first = str(tmp_path / "pictures" / "0.png")
    assert main(["edit", "image-to-image", place, first, "--steps", "4", "--out", str(tmp_path / "e.png")]) == 0
    capsys.readouterr()
    assert main(["nll", place]) == 2
    assert "choose images with --data" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "none"), str(tmp_path / "b")]) == 2
    assert "no such run" in capsys.readouterr().err


@pytest.mark.parametrize(("sides", "widths", "attended", "count"), [
    (32, (128, 256, 256, 256), 1, 35_746_307),  # google/ddpm-cifar10-32
    (256, (128, 128, 256, 256, 512, 512), 4, 113_673_219),  # google/ddpm-celebahq-256
])  # fmt: skip
def test_published_configurations_have_their_count(tmp_path, sides, widths, attended, count):
    from fromnoise.weights.unet_options import options

    kinds = [("Attn" if i == attended else "") for i in range(len(widths))]
    config = {"sample_size": sides, "block_out_channels": widths, "down_block_types": [f"{k}DownBlock2D" for k in kinds],
              "up_block_types": [f"{k}UpBlock2D" for k in reversed(kinds)], **NETWORKS["google's"]}  # fmt: skip
    with torch.device("meta"):
        ours = fn.nn.build(options(config, "config"))
        reference = diffusers.UNet2DModel(**config)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in reference.parameters()) == count


def _writers():
    """{name: write(path)} of every way in which a model is written as a folder."""
    linear, net = fn.schedules.Linear(), fn.nn.UNet
    plain = {"channels": 32, "mult": (1, 2), "blocks": 1, "groups": 32, "attention": (), "time_endpoint": False}
    models = {
        "diffusers": (net(channels=8, mult=(1, 2), blocks=1, groups=4, attention=()), linear, "eps"),
        "openai": (net(**plain, eps=1e-5, resample="residual"), linear, "eps"),
        "edm": (net(**edm.kind(False) | {"channels": 64, "mult": (1,), "blocks": 1, "attention": ()}), "edm", "edm"),
        "dit": (fn.nn.DiT(in_channels=3, depth=1, width=16, heads=2, patch=4, classes=2), linear, "eps"),
    }
    made = {name: fn.Denoiser(*parts, shape=(3, 8, 8)) for name, parts in models.items()}
    found = {name: functools.partial(formats.build(name).write, model) for name, model in made.items()}
    return {name: lambda path, one=one: one(path, Card()) for name, one in found.items()} | {
        "fromnoise": functools.partial(fn.save, made["diffusers"])
    }


@pytest.mark.parametrize("name", ["diffusers", "openai", "edm", "dit", "fromnoise"])
def test_writing_a_folder_loses_nothing_of_somebody_else(tmp_path, monkeypatch, name):
    """Whatever lies beside the files of the format, hidden or inside of its folders, and files of the same names that
    another program wrote; the folder that one stands in is not swapped away either."""
    put, place = _writers()[name], tmp_path / "out"
    put(place)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    put(place)  # over its own
    assert {path for path in place.rglob("*") if path.is_file()} == set(before)
    mine = ["notes.txt", ".git/config", "photos/a.png", "empty/", *(["unet/notes"] if name == "diffusers" else [])]
    for one in mine:
        path = place / one
        (path if one.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not one.endswith("/"):
            path.write_text("mine")
        with pytest.raises(fn.FromNoiseError, match="holds .*, which would be lost: name a new folder"):
            put(place)
        assert path.exists()
        path.rmdir() if path.is_dir() else path.unlink()
        if path.parent.name in (".git", "photos"):
            path.parent.rmdir()
    (place / ("manifest.json" if name == "fromnoise" else "README.md")).write_text("{}")  # not ours any more
    with pytest.raises(fn.FromNoiseError, match="which would be lost"):
        put(place)
    for here in (tmp_path / "new", tmp_path / "around" / "inner"):
        here.mkdir(parents=True)
        monkeypatch.chdir(here)
        with pytest.raises(fn.FromNoiseError, match="is the folder that you are in, or is around it"):
            put(Path("..") if here.name == "inner" else Path("."))
    (tmp_path / "file").write_text("mine")
    for path, words in (("file", "is a file"), ("a\0b", "cannot be written"), ("a" * 300, "cannot be written")):
        with pytest.raises(fn.FromNoiseError, match=words) as caught:
            put(tmp_path / path)
        assert "\n" not in str(caught.value)
