"""Whether samples follow their edges: `python benchmarks/control.py RUN --model MODEL [--n 500]`.

RUN is a run of the recipe control on edges, and MODEL the model that it steers. The edges are those of n held-out
images of RUN's data (`data.hold_out`; if none are held out, of n images spread over the data). If the model has
classes, each sample also gets the class of its image. For each sample: the correlation of its edges with the requested
ones, the F1 score of the pixels where edges are at least half of white, and the mean squared difference from the image
itself, in units of white. A Markdown table, figures.json and a grid are written into the folder.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

import fromnoise as fn
from fromnoise.app import runs
from fromnoise.data.images import to_uint8, to_unit
from fromnoise.data.loading import load
from fromnoise.system.disk import pictures


def followed(samples: Tensor, asked: Tensor, images: Tensor) -> dict[str, float]:
    """Mean figures of samples, uint8 [n, C, H, W], whose edges should be `asked`, uint8 [n, 1, H, W]."""
    own, wanted = fn.data.edges(samples).flatten(1).double(), asked.flatten(1).double()
    a, b = own - own.mean(1, keepdim=True), wanted - wanted.mean(1, keepdim=True)
    correlation = (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt().clamp_min(1e-9)
    there, should = own >= 128, wanted >= 128
    f1 = 2 * (there & should).sum(1) / (there.sum(1) + should.sum(1)).clamp_min(1)
    error = ((samples.double() - images.double()) / 255).square().flatten(1).mean(1)
    return {"correlation": correlation.mean().item(), "F1": f1.mean().item(), "squared": error.mean().item()}


def drawn(model: runs.Model, cond: dict[str, Tensor], n: int) -> Tensor:
    """Draw samples with the recipe's settings, uint8."""
    plan, known = model.choice(), {k: v for k, v in cond.items() if k != "image" or model.needs_images}
    known = {k: v for k, v in known.items() if k != "label" or model.denoiser.classes}
    x = fn.sample(plan.steered(model.denoiser), n, plan.sampler, plan.steps, 0, known, spacing=plan.spacing,
                  progress=True)  # fmt: skip
    return to_uint8(x.cpu())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("runs/control-figures"))
    given = parser.parse_args()
    control, base = runs.open_model(given.run), runs.open_model(given.model)
    config = control.config
    data = load(config.data.at(control.denoiser.shape))
    share = config.data.hold_out
    numbers = data.split_numbers(share, config.seed)[1] if share else range(len(data))
    numbers = [int(numbers[i * len(numbers) // given.n]) for i in range(min(given.n, len(numbers)))]
    images, told = data.examples(numbers)
    n, asked, label = len(images), fn.data.edges(images), told.get("label")
    turned = torch.arange(n).roll(n // 2)  # edges of another image; in a sorted data set, mostly of another class
    classes = {} if label is None else {"label": label}
    rows = {
        "with the branch": followed(first := drawn(control, {"image": to_unit(asked), **classes}, n), asked, images),
        "with another image's edges": followed(
            drawn(control, {"image": to_unit(asked[turned]), **classes}, n), asked[turned], images[turned]
        ),
        "without the branch": followed(drawn(base, classes, n), asked, images),
        "another image of the set": followed(images[turned], asked, images),
        "the image itself": followed(images, asked, images),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    table = f"{n} images of {data.name}, {'held out' if share else 'not held out'}\n\n"
    table += "| samples | correlation of edges | F1 | squared difference |\n|---|--:|--:|--:|\n"
    for name, row in rows.items():
        table += f"| {name} | {row['correlation']:.3f} | {row['F1']:.3f} | {row['squared']:.4f} |\n"
    (given.out / "figures.md").write_text(table)
    (given.out / "figures.json").write_text(json.dumps({"n": n, "held out": share, "figures": rows}, indent=1))
    shown = [i * n // 32 for i in range(min(32, n))]
    side = pictures.side_by_side(asked[shown], first[shown])
    pictures.save(pictures.grid(side, 16, side=84), given.out / "pairs.png")
    print(table)


if __name__ == "__main__":
    main()
