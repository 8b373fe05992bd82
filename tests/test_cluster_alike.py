"""Different code or configurations on two nodes: every process says so, in one line, before the first step."""

import multiprocessing
from pathlib import Path

import torch
import torch.distributed as dist

import fromnoise as fn
from fromnoise.train import alike

CONFIG = {"recipe": "digits", "train.lr": 1e-3, "train.steps": None, "data.crop": [1, 2]}


def said_by(rank: int, world: int, folder: Path, changes: dict, config: dict | None) -> None:
    """What `insist_on_alike` says in one of several processes that gloo connects."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=world)
    if "source" in changes:
        alike._source = lambda: changes["source"]
    said = "nothing"
    try:
        alike.insist_on_alike(torch.device("cpu"), config)
    except fn.FromNoiseError as error:
        said = str(error)
    (folder / f"said-{rank}").write_text(said)
    dist.barrier()
    dist.destroy_process_group()


def together(folder: Path, *each: tuple[dict, dict | None]) -> list[str]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fromnoise.train.alike"])
    folder.mkdir()
    every = [
        context.Process(target=said_by, args=(rank, len(each), folder, *one), daemon=True)
        for rank, one in enumerate(each)
    ]
    for one in every:
        one.start()
    for one in every:
        one.join(60)
    assert [one.exitcode for one in every] == [0] * len(each)
    return [(folder / f"said-{rank}").read_text() for rank in range(len(each))]


def test_processes_that_differ_say_in_what(tmp_path):
    other = CONFIG | {"train.lr": 2e-3}
    for number, (each, says) in enumerate([
        ([({}, CONFIG), ({}, CONFIG)], None),
        ([({}, CONFIG), ({}, other), ({}, CONFIG)], "train.lr is 0.001 in process 0 and 0.002 in process 1;"),
        ([({"source": "1234"}, CONFIG), ({"source": "5678"}, CONFIG)],
         "the source of fromnoise is 1234 in process 0 and 5678 in process 1;"),
    ]):  # fmt: skip
        found = together(tmp_path / str(number), *each)
        if says is None:
            assert found == ["nothing"] * len(each)
        else:
            assert len(set(found)) == 1
            assert says in found[0]


def test_what_differs_is_named_with_the_processes():
    base = alike.described(CONFIG)
    assert alike.difference([base] * 3) is None
    assert alike.difference([base]) is None
    old = base | {"fromnoise": "0.0.9"}
    assert f"fromnoise is {fn.__version__} in process 0 and 0.0.9 in process 1;" in alike.difference([base, old])
    assert "data.crop is [1, 2] in process 0 and [1, 3] in process 2;" in alike.difference(
        [base, base, base | {"data.crop": [1, 3]}]
    )
    without = {key: value for key, value in base.items() if key != "recipe"}
    assert "recipe is digits in process 0 and null in processes 1, 3;" in alike.difference(
        [base, without, base, without]
    )
    assert "recipe is null in process 0 and digits in process 1;" in alike.difference([without, base])
    many = alike.difference([base, *[base | {"torch": "1.0"}] * 9])
    assert f"torch is {torch.__version__} in process 0 and 1.0 in processes 1, 2, 3, 4, 5, 6, ...;" in many
    assert "\n" not in many


def test_long_values_are_shown_where_they_differ():
    long = "/lustre/projects/somebody/data/sets/of/images/that/are/large/and/many"
    said = alike.difference([{"data.name": f"{long}/first/shards"}, {"data.name": f"{long}/other/shards"}])
    assert "/first/shards in process 0" in said
    assert "/other/shards in process 1" in said
    assert alike.difference([{"a": "b"}, {"a": "bc"}]).startswith(
        "the processes of this run are not alike: a is b in process 0 and bc"
    )


def test_the_source_is_that_of_the_package(tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("a")
    (package / "inner" / "b.py").write_text("b")
    monkeypatch.setattr(alike.fromnoise, "__file__", str(package / "__init__.py"))
    found = [alike._source.__wrapped__()]
    for path, content in (("inner/b.py", "c"), ("inner/b.txt", "c"), ("c.py", "b")):
        (package / path).write_text(content)
        found.append(alike._source.__wrapped__())
    (package / "c.py").rename(package / "d.py")
    found.append(alike._source.__wrapped__())
    assert found[1] == found[2]
    assert len(set(found)) == 4
