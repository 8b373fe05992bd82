"""Folders of diffusers that are not whole, not the right ones, or no models: each is one line with the way out."""

import json

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

import fromnoise as fn
from fromnoise.app.cli import main

SAFE, PICKLE = "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin"
INDEX = "unet/diffusion_pytorch_model.safetensors.index.json"
LORA = "holds a LoRA: small additions to the weights of a base model, not a model by itself; load the base instead"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("whole") / "ddpm"
    unet = diffusers.UNet2DModel(
        sample_size=16, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, num_class_embeds=3,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(place)
    return place


@pytest.fixture
def folder(whole, tmp_path):
    """A copy to be spoiled."""
    place = tmp_path / "ddpm"
    for path in whole.rglob("*"):
        if path.is_file():
            (place / path.relative_to(whole)).parent.mkdir(parents=True, exist_ok=True)
            (place / path.relative_to(whole)).write_bytes(path.read_bytes())
    return place


def without(*names):
    def spoil(folder):
        for name in names:
            for path in [*folder.glob(f"{name}/*"), folder / name]:
                path.rmdir() if path.is_dir() else path.unlink()

    return spoil


def changed(**tensors):
    """Tensors of another shape, under other names, or gone where None."""

    def spoil(folder):
        state = load_file(folder / SAFE)
        for name, value in tensors.items():
            name = name.replace("__", ".")
            if value is None:
                del state[name]
            else:
                state[name] = value
        save_file(state, folder / SAFE)

    return spoil


def sharded(folder, drop=True):
    state = load_file(folder / SAFE)
    names = sorted(state)
    for i, part in enumerate((names[::2], names[1::2])):
        save_file({name: state[name] for name in part}, folder / f"unet/part-{i}.safetensors")
    (folder / INDEX).write_text(
        json.dumps({"weight_map": {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}})
    )
    (folder / SAFE).unlink()
    if drop:
        (folder / "unet/part-1.safetensors").unlink()


def broken_beside_a_pickle(folder):
    torch.save(load_file(folder / SAFE), folder / PICKLE)
    (folder / SAFE).write_bytes((folder / SAFE).read_bytes()[:-64])


def text(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def lora(folder):
    without("unet", "scheduler", "model_index.json")(folder)
    save_file({"unet.down_blocks.0.to_q.lora_A.weight": torch.zeros(2, 2)}, folder / "pytorch_lora_weights.safetensors")


MISTAKES = {
    "no network": (without("unet"), "its part unet is missing, which model_index.json names: fetch the whole pipeline"),
    "no scheduler": (without("scheduler"), "its part scheduler is missing, which model_index.json names"),
    "no configuration": (without("unet/config.json"), "unet/config.json: no such file"),
    "no configuration of the scheduler": (without("scheduler/scheduler_config.json"), "scheduler_config.json: no such file"),
    "no weights": (without(SAFE), "no weights in it: diffusion_pytorch_model.safetensors, its shards, or"),
    "another shape": (changed(conv_in__weight=torch.zeros(16, 3, 5, 5)),
                      "its weights do not fit: conv_in.weight has the shape [16, 3, 5, 5], expected [16, 3, 3, 3]"),
    "other classes": (changed(class_embedding__weight=torch.zeros(4, 64)),
                      "class_embedding.weight has the shape [4, 64], expected [3, 64]"),
    "queries of another shape": (changed(**{f"mid_block__attentions__0__to_{x}__weight": torch.zeros(16, 32) for x in "qkv"}),
                                 "mid_block.attentions.0.to_q.weight has the shape [16, 32], expected [32, 32], and 2 more"),
    "queries alone": (changed(mid_block__attentions__0__to_k__weight=None), "mid_attention.qkv.weight: its part to_k is missing from the state"),
    "a tensor is missing": (changed(conv_out__bias=None), "its weights do not fit: conv_out.bias is missing"),
    "a strange tensor": (changed(extra__weight=torch.zeros(1)), "extra.weight belongs nowhere"),
    "a shard is missing": (sharded, "its shard part-1.safetensors: no such file: fetch all of them"),
    "an index of nothing": (text(INDEX, b"[1]"), None),
    "broken, a pickle beside it": (broken_beside_a_pickle, "no intact safetensors file"),
    "and says so": (broken_beside_a_pickle, "fetch it again; the .bin beside it is not used instead"),
    "a pointer": (text(SAFE, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
                  "is a Git LFS pointer instead of the file: fetch the file with `git lfs pull`"),
    "an empty file": (text(SAFE, b""), "no intact safetensors file"),
    "a program in the pickle": (lambda folder: (without(SAFE)(folder), (folder / PICKLE).write_bytes(b"cos\nsystem\n(S'x'\ntR.")),
                                "not a file of plain tensors"),
    "no JSON": (text("unet/config.json", b"{"), "config.json: not readable as JSON"),
    "a LoRA": (lora, LORA),
    "an adapter": (lambda folder: (without("unet", "scheduler", "model_index.json")(folder), (folder / "adapter_config.json").write_text("{}")), LORA),
    "a LoRA in place of the network": (lambda folder: save_file({"mid.lora_A.weight": torch.zeros(1)}, folder / SAFE), LORA),
    "an old LoRA": (lambda folder: save_file({"lora_unet_down.lora_up.weight": torch.zeros(1)}, folder / SAFE), LORA),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_each_is_a_line(folder, name, capsys):
    spoil, wanted = MISTAKES[name]
    spoil(folder)
    if wanted is None:  # of what is not looked at, since the whole file is there
        fn.load(folder)
        return
    with pytest.raises(fn.FromNoiseError) as caught:
        fn.load(folder)
    assert wanted in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    if name == "a program in the pickle":  # whose process takes its time
        return
    assert main(["sample", str(folder), "--n", "1", "--out", str(folder / "x.png")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_of_lora_alone(tmp_path):
    save_file({"unet.mid.to_q.lora.down.weight": torch.zeros(1)}, tmp_path / "style.safetensors")
    with pytest.raises(fn.FromNoiseError, match="holds a LoRA"):
        fn.load(tmp_path / "style.safetensors")


def test_shards_in_full_still_open(folder, whole):
    sharded(folder, drop=False)
    one, two = fn.load(folder).network.state_dict(), fn.load(whole).network.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in two)


def test_info_and_show_take_a_folder(folder, tmp_path, capsys):
    assert main(["info", str(folder)]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    denoiser = fn.load(folder)
    assert lines["model"] == str(folder)
    assert lines["holds"] == "a denoiser of another library"
    assert lines["parameters"] == f"{sum(p.numel() for p in denoiser.network.parameters()):,}"
    assert lines["images"] == "3x16x16"
    assert lines["network"].startswith("unet (in_channels=3")
    assert lines["schedule"] == "linear (T=1000, beta_start=0.0001, beta_end=0.02)"
    assert (lines["predicts"], lines["variance"], lines["classes"]) == ("eps", "fixed_small", "3, without names")
    assert main(["show", str(folder), "--n", "3"]) == 0
    said = capsys.readouterr()
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == ["denoising.gif", "samples.png"]
    assert "forward" not in said.out
    denoiser.class_names = ("cat", "dog", "bird")
    fn.save(denoiser, tmp_path / "saved")
    assert main(["info", str(tmp_path / "saved")]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert (lines["holds"], lines["classes"]) == ("a denoiser, saved", "cat, dog, bird")
    (tmp_path / "empty").mkdir()
    assert main(["info", str(tmp_path / "empty")]) == 2
    assert "not a run, it holds no config.yaml" in capsys.readouterr().err
