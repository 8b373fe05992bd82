"""How well models of other libraries agree in fromnoise: `python benchmarks/interop.py [--big]`.

A table of the weight formats: read, written, the largest difference of network outputs over all configurations of the
tests, that of a whole sampler from the same noise, and the published number of parameters. The other side is diffusers'
own classes; for libraries without a package, it is the second implementation in tests/reference. `--big` also opens a
diffusers folder of 2.6 GB in shards, in a separate process, and prints its peak memory.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch

import fromnoise as fn
from fromnoise.weights import formats
from fromnoise.weights.formats.base import Card

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "reference")]  # for the second implementations


def quiet(line):
    """Ignore warnings."""


def tensors(network):
    return network.state_dict()


def same(one, two):
    """Whether two networks hold the same tensors, bit for bit."""
    return all(torch.equal(tensors(two)[name], value) for name, value in tensors(one).items())


def written(denoiser, name, folder):
    """Write the model in the other library's format and load it again."""
    formats.build(name).write(denoiser, folder, Card())
    return fn.load(folder if name == "diffusers" else folder / "model.pt", warn=quiet)


def diffusers_pixels(folder):
    import test_pipelines as there

    outputs = walks = 0.0
    for i, options in enumerate(there.NETWORKS.values()):
        pipeline = there.theirs(folder / f"n{i}", options)
        far, size = there.apart(pipeline.unet, fn.load(folder / f"n{i}", warn=quiet))
        outputs = max(outputs, far / max(1.0, size))
    for i, options in enumerate(there.SCHEDULERS.values()):
        pipeline = there.theirs(folder / f"s{i}", {}, options)
        wanted, found = there.walks(pipeline.unet, pipeline.scheduler, fn.load(folder / f"s{i}", warn=quiet))
        walks = max(walks, (wanted - found).abs().max().item())
    ours = fn.Denoiser(
        there.shaken(fn.nn.UNet(channels=32, mult=(1, 2), blocks=1, groups=8)), "linear", shape=(3, 16, 16)
    )
    back = same(ours.network, written(ours, "diffusers", folder / "back").network)
    return outputs, walks, back, "35,746,307 and 113,673,219 (google/ddpm-cifar10-32, -celebahq-256)"


def diffusers_ldm(folder):
    import test_latent_pipelines as there

    pipeline, x = there.ldm(folder / "a"), there.noise(3)
    denoiser = fn.load(folder / "a", warn=quiet)
    with torch.no_grad():
        outputs = (pipeline.unet(x, 7).sample - denoiser.network(x, torch.tensor([7.0, 7.0]))).abs().max().item()
        z, timesteps = there.drawn(lambda x, t: pipeline.unet(x, t).sample, pipeline.scheduler, x)
        image = pipeline.vqvae.decode(z / pipeline.vqvae.config.scaling_factor).sample
        own = denoiser.decoded(there.ours(denoiser, timesteps, x))
    return outputs, (own - image).abs().max().item(), None, ""


def diffusers_dit(folder):
    import test_latent_pipelines as there

    pipeline, x, label = there.dit(folder / "a"), there.noise(4), torch.tensor([3, 5])
    denoiser, t = fn.load(folder / "a", warn=quiet), torch.tensor([7, 901])
    with torch.no_grad():
        wanted = pipeline.transformer(x, t, class_labels=label).sample
        outputs = (wanted - denoiser.network(x, t.float(), label)).abs().max().item()
        z, timesteps = there.drawn(
            lambda x, t: pipeline.transformer(x, t.expand(2), class_labels=label).sample, pipeline.scheduler, x
        )
        own = there.ours(denoiser, timesteps, x, {"label": label})
    return outputs, (own - z).abs().max().item(), None, ""


def openai(folder):
    import test_openai_weights as there

    outputs = 0.0
    for i, changes in enumerate(there.CONFIGS.values()):
        for by_head in (True, False):
            c = there.SMALL | changes
            state = there.weights(there.shapes(c))
            denoiser = fn.load(there.saved(folder / f"{i}{by_head}.pt", state), like=there.LIKE | {"by_head": by_head})
            (x, t), label = there.inputs(c["seen"]), torch.tensor([5, 0]) if c["classes"] else None
            wanted = there.Theirs(state, c, there.four, by_head)(x, t, label)
            with torch.no_grad():
                found = denoiser.network(x, t, **({} if label is None else {"label": label}))
            outputs = max(outputs, ((found - wanted).abs().max() / wanted.abs().max().clamp_min(1)).item())
    walks = max(
        (one - two).abs().max().item()
        for one, two in (there.both_samplers(folder, variance) for variance in ("learned_range", "fixed_large"))
    )
    back = same(denoiser.network, written(denoiser, "openai", folder / "back").network)
    counts = [f"{f['count']:,} ({name})" for name, f in there.FLAGS.items() if "count" in f]
    return outputs, walks, back, ", ".join(counts)


def dit_file(folder):
    import test_dit_files as there

    s, (x, label), t = there.state(8), there.inputs(), torch.tensor([3.0, 700.0])
    denoiser = fn.load(there.saved(folder / "dit.pt", s), like=there.LIKE, warn=quiet)
    with torch.no_grad():
        found, wanted = denoiser.network(x, t, label), there.theirs(s, x, t, label)
    back = same(denoiser.network, written(denoiser, "dit", folder / "back").network)
    return ((found - wanted).abs().max() / wanted.abs().max()).item(), None, back, "675,129,632 (DiT-XL/2)"


def sit_file(folder):
    import test_dit_files as there

    s, (x, label), u = there.state(8), there.inputs(), torch.tensor([0.13, 0.77])
    denoiser = fn.load(there.saved(folder / "SiT-XL-2.pt", s), like=there.LIKE, warn=quiet)
    with torch.no_grad():
        found = denoiser.network(x, 1000 * (1 - u), label)
        outputs = (found + there.theirs(s, x, u, label)[:, :4]).abs().max().item()
    one, two = there.both_walks(denoiser, s)
    return outputs, (one - two).abs().max().item(), None, ""


def edm(folder):
    import test_edm_weights as there
    from edm_pickles import snapshot

    outputs, backs = 0.0, []
    for i, net in enumerate(there.NETS.values()):
        weights = net.weights()
        denoiser = fn.load(snapshot(folder / f"{i}.pkl", net, weights, sigma_data=0.5), warn=quiet)
        x, time, cond, hot, _ = there.inputs(net)
        with torch.no_grad():
            far = (denoiser.network(x, time, **cond) - net(weights, x, time, hot)).abs().max().item()
        outputs = max(outputs, far)
        backs.append(same(denoiser.network, written(denoiser, "edm", folder / f"back{i}").network))
    net = there.NETS["ddpm++ with classes"]
    denoiser = fn.load(snapshot(folder / "chain.pkl", net, net.weights(), sigma_data=0.5), warn=quiet)
    one, two = there.both_samplers(denoiser, net, net.weights())
    return outputs, (one - two).abs().max().item(), all(backs), "55,733,891 (CIFAR-10), 295,899,267 (ImageNet-64)"


ROWS = {
    "diffusers: DDPM, DDIM": diffusers_pixels,
    "diffusers: LDM (VQModel)": diffusers_ldm,
    "diffusers: DiT (AutoencoderKL)": diffusers_dit,
    "openai: improved- and guided-diffusion": openai,
    "edm: DDPM++ and ADM": edm,
    "dit: DiT": dit_file,
    "dit: SiT": sit_file,
}


def table():
    lines = [
        "| format | read | written | outputs apart | a whole sampler apart | parameters |",
        "|---|---|---|---|---|---|",
    ]
    for name, measure in ROWS.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(sys.stderr):
            outputs, walks, back, counts = measure(Path(folder))
        again = "no" if back is None else "bit for bit back" if back else "back with rounding"
        lines.append(
            f"| {name} | yes | {again} | {outputs:.1e} | {'' if walks is None else f'{walks:.1e}'} | {counts} |"
        )
    return "\n".join(lines)


def make_big(folder):
    """Write a random UNet2DModel of 2.6 GB in shards of 0.3 GB."""
    from safetensors.torch import save_file

    from fromnoise.weights.diffusers import to_diffusers
    from fromnoise.weights.pipeline_writing import write

    options = {"channels": 320, "mult": (1, 2, 3, 4), "blocks": 3, "attention": (2, 4, 8), "head_channels": 64}
    denoiser = fn.Denoiser(fn.nn.UNet(**options), "linear", shape=(3, 64, 64))
    write(denoiser, folder)
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole.unlink()
    parts, size = [{}], 0
    for name, value in to_diffusers(denoiser.network.state_dict()).items():
        if size > 3e8:
            parts, size = [*parts, {}], 0
        parts[-1][name] = value.contiguous()
        size += value.numel() * 4
    index = {}
    for i, part in enumerate(parts):
        save_file(part, whole.with_name(f"part-{i}.safetensors"))
        index |= dict.fromkeys(part, f"part-{i}.safetensors")
    whole.with_name(f"{whole.name}.index.json").write_text(json.dumps({"weight_map": index}))


def open_big(folder):
    import resource

    import fromnoise.weights.native

    assert fromnoise.weights.native
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    denoiser = fn.load(folder)
    with torch.no_grad():  # memory-mapped pages are read on demand, so touch all of them
        assert all(p.sum().isfinite() for p in denoiser.network.parameters())
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = sum(p.numel() * 4 for p in denoiser.network.parameters())
    taken = (after - before) * 1024
    print(f"{size / 1e9:.2f} GB of weights in shards: {taken / 1e9:.2f} GB more at most, {taken / size:.2f} times them")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--big", action="store_true", help="also open 2.6 GB in shards")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if asked.make:
        make_big(asked.make)
    elif asked.open:
        open_big(asked.open)
    else:
        print(table(), flush=True)
        if asked.big:
            with tempfile.TemporaryDirectory() as folder:
                for step in ("--make", "--open"):
                    subprocess.run([sys.executable, __file__, step, f"{folder}/big"], check=True)
