"""Predicts what training costs on any number of devices: memory, time, money, failures.

    python benchmarks/scale.py show dit-xl-2 --devices 64 --shard hybrid --batch 32 --recompute
    python benchmarks/scale.py show digits --devices 8 --set network.channels=128 --set train.optimizer=muon
    python benchmarks/scale.py check           # against runs of 1, 2 and 4 local processes, and an earlier H200
    python benchmarks/scale.py published       # against DiT, ADM, DDPM, EDM and others
    python benchmarks/scale.py plan            # 10^9 images on 1, 8, 64 and 1,024 GPUs

The last three print tables; with --write docs/scale_plan.md each replaces its section there. Predictions come from the
training step itself: FSDP2 and the trainer's parts run on fake tensors, in a group of which only one process exists.
Their operations are counted one by one and put on a timeline, using the rates and links of a device.
docs/scale_plan.md reports how accurate this is.
"""

import argparse
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]


def main() -> int:
    asked = _parser().parse_args()
    warnings.simplefilter("ignore")
    from fromnoise.errors import FromNoiseError

    try:
        return {"show": _show, "check": _check, "published": _published, "plan": _plan}[asked.command](asked)
    except FromNoiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="one recipe with one layout")
    show.add_argument("recipe", help="recipe of a denoiser or an autoencoder")
    show.add_argument("--devices", type=int, default=1, help="number of devices, with one process each")
    show.add_argument("--per-node", type=int, default=8, help="devices per machine (8)")
    show.add_argument("--shard", choices=("none", "full", "hybrid"), default="none", help="DDP, FSDP2 over all, or "
                      "FSDP2 inside machines and replicas across them")  # fmt: skip
    show.add_argument("--batch", type=int, help="examples per step and device; default: the recipe's batch "
                      "size over the devices")  # fmt: skip
    show.add_argument("--accumulate", type=int, default=1, help="parts in which a device processes its batch")
    show.add_argument("--recompute", action="store_true", help="gradient checkpointing")
    show.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    show.add_argument("--optimizer", choices=("adamw", "muon"), help="default: from the recipe")
    show.add_argument("--no-ema", action="store_true", help="no averaged weights")
    show.add_argument("--device", default="h100", help="h100 or h200 (h100)")
    show.add_argument("--shape", type=_shape, help="shape of an example, C,H,W, if the recipe takes it from its data")
    show.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe, e.g. "
                      "network.width=512; repeatable")  # fmt: skip
    check = commands.add_parser("check", help="predictions against runs on this machine")
    check.add_argument("--quick", action="store_true", help="two cases, one round")
    published = commands.add_parser("published", help="predictions against published trainings")
    plan = commands.add_parser("plan", help="10^9 images on 1 to 1,024 GPUs")
    plan.add_argument("--device", default="h100", help="h100 or h200 (h100)")
    for command in (check, published, plan):
        command.add_argument("--write", type=Path, metavar="FILE", help="replace the section in this document")
    return parser


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers such as 3,64,64, got {text!r}") from None


def _changes(settings: list[str]) -> dict:
    from fromnoise.errors import FromNoiseError
    from fromnoise.system.disk import files

    found = {}
    for setting in settings:
        key, given, value = setting.partition("=")
        if not given:
            raise FromNoiseError(f"--set {setting}: must be KEY=VALUE, such as network.width=512")
        found[key] = files.parse_yaml(value, f"--set {key}")
    return found


def _show(asked: argparse.Namespace) -> int:
    from scale_stages import showing

    print(showing.show(asked.recipe, _changes(asked.set), asked.shape, asked.device, batch=asked.batch,
                       devices=asked.devices, per_node=asked.per_node, shard=asked.shard, accumulate=asked.accumulate,
                       recompute=asked.recompute, precision=asked.precision, optimizer=asked.optimizer,
                       ema=not asked.no_ema))  # fmt: skip
    return 0


def _check(asked: argparse.Namespace) -> int:
    from scale_stages import checking, tables

    rows = []
    for _, row in checking.here(checking.QUICK if asked.quick else checking.CASES):
        rows.append(row)
        print(" | ".join(row), flush=True)
    text = f"{checking.machine()}.\n\n{tables.table(checking.HEAD, rows)}"
    if not asked.quick:
        text += f"\n\n{checking.h200()}"
    return _done("check", text, asked.write)


def _published(asked: argparse.Namespace) -> int:
    from scale_stages import published

    found = published.all_counted()
    parts = [published.counts_table(found), published.runs_table(found), published.links_table()]
    return _done("published", "\n\n".join(parts), asked.write)


def _plan(asked: argparse.Namespace) -> int:
    from scale_stages import planning

    return _done("plan", planning.plan(asked.device), asked.write)


def _done(section: str, text: str, path: Path | None) -> int:
    from scale_stages import tables

    print(text)
    if path is not None:
        tables.write(path, section, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
