"""Students of one teacher, trained for equal time: `python benchmarks/students.py RUN [--minutes 4] [--out FOLDER]`.

RUN is the teacher: a run of the recipe digits, or of another. Each distillation recipe trains from it for the given
minutes (the rungs of a ladder share them). Then the Frechet distance of 1,000 samples (--n), and for digits the class
accuracy, are measured at 1, 2, 4 and 8 steps, beside the teacher with DDIM, with UniPC, and with its recipe's own
steps. A Markdown table, a plot and grids are written into the folder; existing results are not measured again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

CALLS = (1, 2, 4, 8)
ROWS = {
    "progressive": (1, 2, 4, 8),
    "consistency-distillation": CALLS,
    "consistency-training": CALLS,
    "easy-consistency": CALLS,
    "mean-flow": CALLS,
    "reflow": CALLS,
}
# for the teacher: the background of digits is cleaner without clipping, and students are not clipped either
PLAIN = ("--no-clip",)


def fromnoise(*words):
    """Run a command; its output is passed on."""
    subprocess.run([sys.executable, "-m", "fromnoise", *map(str, words)], check=True)


def trained(recipe, teacher, out, minutes):
    """Train a student, or resume its run."""
    rungs = 5 if recipe == "progressive" else 1
    fromnoise("train", recipe, "--teacher", teacher, "--minutes", minutes / rungs, "--out", out, "--resume")


def measured(n, run, place, *words):
    """Return (FD and class accuracy of n samples as text, FD as a number)."""
    if not place.exists():
        fromnoise("eval", run, "--n", n, "--out", place, *words)
    found = json.loads(place.read_text())
    accuracy = found["figures"].get("class accuracy")
    return f"{found['value']:.0f}" + (f" ({accuracy['value']:.2f})" if accuracy else ""), found["value"]


def drawn(run, place, *words):
    if not place.exists():
        fromnoise("sample", run, "--n", 40, "--out", place, *words)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--n", type=int, default=1000, help="samples per figure")
    parser.add_argument("--out", type=Path, default=Path("runs/students"))
    parser.add_argument("--only", nargs="*", default=list(ROWS))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    table = {}
    own = measured(asked.n, asked.teacher, asked.out / "teacher.json", *PLAIN)
    for sampler in ("ddim", "unipc"):
        table[f"teacher, {sampler}"] = {
            n: measured(asked.n, asked.teacher, asked.out / f"teacher-{sampler}-{n}.json", "--sampler", sampler,
                        "--steps", n, *PLAIN)
            for n in CALLS
        }  # fmt: skip
    for recipe in asked.only:
        run = asked.out / recipe
        trained(recipe, asked.teacher, run, asked.minutes)
        table[recipe] = {}
        for n in ROWS[recipe]:
            rung = run / f"steps-{n}" if recipe == "progressive" and n > 1 else run
            table[recipe][n] = measured(asked.n, rung, asked.out / f"{recipe}-{n}.json", "--steps", n)
            drawn(rung, asked.out / f"{recipe}-{n}.png", "--steps", n)
    text = "| | " + " | ".join(f"{n} steps" for n in CALLS) + " |\n|---|" + "--:|" * len(CALLS) + "\n"
    for name, row in table.items():
        text += f"| {name} | " + " | ".join(row[n][0] for n in CALLS) + " |\n"
    text += f"\nThe teacher in its recipe's own steps: {own[0]}.\n"
    (asked.out / "table.md").write_text(text)
    print(text)
    plotted(table, own, asked.n, asked.out / "students.png")


def plotted(table, own, n, place):
    """Plot the Frechet distance against steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, row in table.items():
        axes.plot(CALLS, [row[n][1] for n in CALLS], "o-" if "teacher" not in name else "s:", label=name)
    axes.axhline(own[1], color="gray", linewidth=1, label="teacher, its own steps")
    axes.set(
        xscale="log",
        yscale="log",
        xticks=CALLS,
        xticklabels=CALLS,
        xlabel="steps",
        ylabel=f"Frechet distance, {n:,} samples",
    )
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter(ticker.ScalarFormatter())
    axes.minorticks_off()
    axes.legend(fontsize=8)
    figure.savefig(place, dpi=150)


if __name__ == "__main__":
    main()
