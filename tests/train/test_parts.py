"""Folders that several processes write, each its part: whole or absent, copied at once, read by any number."""

import errno
import hashlib
import json
import math
import os
import shutil
import threading
import time

import pytest
import torch
import torch.distributed as dist
from forked import command, run_several, several, together
from safetensors import safe_open
from safetensors.torch import save_file

import fromnoise as fn
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, in_parts, parts_writer, placing, storage
from fromnoise.system.disk.storage import Damaged
from fromnoise.system.hardware import choose
from fromnoise.train.distributed import Processes
from fromnoise.train.saving import insist_on_one_disk
from fromnoise.weights.checkpoint import Checkpoints

TEXTS = {"state": {"loss": 1.0}}


def sharded(whole):
    """The same tensor, cut over all processes."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return distribute_tensor(whole, mesh, [Shard(0)], src_data_rank=None)


def tensors(k=0):
    """Rows that do not divide, fewer rows than processes, and what every process has."""
    table = torch.arange(15.0).view(5, 3) + k
    return {"model": {"table": sharded(table), "row": sharded(table[:1]), "number": torch.tensor(7.0 + k),
                      "empty": torch.zeros(0, 2)}, "ema": {"table": sharded(table + 100)}}  # fmt: skip


def written(folder, world):
    with Processes().started(choose("fp32").device) as processes:
        in_parts.write(folder, tensors(), TEXTS, processes.writers).finish()
        processes.wait()
        assert torch.equal(storage.read_tensors(folder, "model")["table"], torch.arange(15.0).view(5, 3))
        like = {"table": sharded(torch.zeros(5, 3)), "row": sharded(torch.zeros(1, 3))}
        back = in_parts.read_all(folder, lambda stem, name, shape: like.get(name) if stem == "model" else None,
                                 processes.writers)  # fmt: skip
        assert torch.equal(like["table"].to_local(), tensors()["model"]["table"].to_local())
        assert torch.equal(back["ema"]["table"], torch.arange(15.0).view(5, 3) + 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Written by three processes."""
    place = tmp_path_factory.mktemp("parts") / "step-00000001"
    together(3, written, place.parent, place, 3)
    return place


def test_what_three_wrote_one_reads(folder):
    storage.verify_folder(folder)
    assert storage.holds(folder, "model")
    assert storage.read_text(folder, "state") == {"loss": 1.0}
    found = storage.read_tensors(folder, "model")
    assert set(found) == {"table", "row", "number", "empty"}
    assert torch.equal(found["table"], torch.arange(15.0).view(5, 3))
    assert torch.equal(found["row"], torch.arange(3.0).view(1, 3))
    assert found["number"].item() == 7
    assert found["empty"].shape == (0, 2)
    assert not list(folder.parent.glob(f"{files.WRITING}*"))
    assert storage.digest(folder, "model") != storage.digest(folder, "ema")


def test_a_part_that_is_missing_or_changed_is_damage(folder, tmp_path):
    parts = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(parts) == 6
    for name in parts:
        copy = tmp_path / f"cut-{name}"
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        with pytest.raises(Damaged, match="is missing"):
            storage.verify_folder(copy)
        listed = json.loads((copy / "manifest.json").read_text())  # a list that does not know of it, either
        del listed[name]
        (copy / "manifest.json").write_text(json.dumps(listed))
        with pytest.raises(Damaged, match=f"a part of {name.partition('-')[0]} is missing"):
            storage.read_tensors(copy, name.partition("-")[0])
        copy = tmp_path / f"bit-{name}"
        shutil.copytree(folder, copy)
        content = bytearray((copy / name).read_bytes())
        content[-1] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(Damaged, match="was changed"):
            storage.verify_folder(copy)


def test_parts_of_another_sharding_do_not_fit_together(folder, tmp_path):
    """Files of two foreign hands, whose list is right: a hole, and what is no safetensors at all."""
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "hole"
    shutil.copytree(folder, copy)
    place = copy / "ema-00001-of-00003.safetensors"
    held = load_file(place)
    about = {"DCP_SHARDING_INFO": json.dumps({name: {"saved_offsets": [0, 0]} for name in held})}
    save_file({name: value[:1] for name, value in held.items()}, place, about)
    with pytest.raises(Damaged, match="a part of table of ema is missing"):
        storage.read_tensors(copy, "ema")
    for content in (b"", b"\xff" * 100, place.read_bytes()[:-3]):
        place.write_bytes(content)
        with pytest.raises(Damaged, match="cannot be read") as why:
            storage.read_tensors(copy, "ema")
        assert "\n" not in str(why.value)


def test_parts_of_two_writings_are_not_one(folder, tmp_path):
    """Each complete, and both in the list."""
    copy = tmp_path / "two"
    shutil.copytree(folder, copy)
    known = json.loads((copy / "manifest.json").read_text())
    for i in (1, 2):
        shutil.copy(copy / f"ema-0000{i}-of-00003.safetensors", copy / f"ema-0000{i}-of-00002.safetensors")
        known[f"ema-0000{i}-of-00002.safetensors"] = known[f"ema-0000{i}-of-00003.safetensors"]
    (copy / "manifest.json").write_text(json.dumps(known))
    with pytest.raises(Damaged, match="a part of ema is missing"):
        storage.read_tensors(copy, "ema")


def one_after_the_other(out):
    """A checkpoint is due while the one before it is still being written."""
    begun, write, hashed = [], in_parts.write, parts_writer.PartsWriter._hashed

    def slow(self, name):
        time.sleep(0.1)
        return hashed(self, name)

    def watched(*about):
        assert all(one.future.done() for one in begun)
        begun.append(write(*about))
        return begun[-1]

    parts_writer.PartsWriter._hashed, in_parts.write = slow, watched
    model = fn.Denoiser(fn.nn.MLP(2, width=8, depth=1), "cosine", "eps", shape=(2,))
    fn.fit(model, torch.randn(16, 2), steps=4, batch_size=4, shard="full", checkpoint_every=1, out=out, progress=False)
    assert len(begun) == 4


def test_one_checkpoint_is_written_after_the_other(tmp_path):
    together(2, one_after_the_other, tmp_path, tmp_path / "run")


def test_what_its_trainer_lets_go_of_meanwhile_is_no_damage(folder, tmp_path, monkeypatch):
    for step in (1, 2):
        shutil.copytree(folder, tmp_path / f"step-0000000{step}")
    verify = storage.verify_folder

    def late(place, *share):
        if place.name.endswith("2"):
            shutil.rmtree(place)
        verify(place, *share)

    monkeypatch.setattr(storage, "verify_folder", late)
    assert Checkpoints(tmp_path).newest_whole(pytest.fail).name == "step-00000001"


def test_what_was_put_there_later_is_not_read(folder, tmp_path):
    copy = tmp_path / "more"
    shutil.copytree(folder, copy)
    shutil.copy(copy / "ema-00001-of-00003.safetensors", copy / "planted.safetensors")
    (copy / "ema-00001-of-00009.safetensors").write_bytes(b"")
    assert torch.equal(storage.read_tensors(copy, "ema")["table"], torch.arange(15.0).view(5, 3) + 100)


def goes_on_meanwhile(folder):
    """Writing waits for an event; the tensors change meanwhile, and the caller is back at once."""
    allowed, hashed = threading.Event(), parts_writer.PartsWriter._hashed

    def slow(self, name):
        assert allowed.wait(60)
        return hashed(self, name)

    parts_writer.PartsWriter._hashed = slow
    with Processes().started(choose("fp32").device) as processes:
        now = tensors()
        writing = in_parts.write(folder, now, TEXTS, processes.writers)
        for named in now.values():
            for tensor in named.values():
                getattr(tensor, "to_local", lambda tensor=tensor: tensor)().fill_(-1)
        total = torch.ones(1)
        dist.all_reduce(total)  # training talks while the thread does
        assert total.item() == 2
        assert not writing.future.done()
        assert not folder.exists()
        allowed.set()
        writing.finish()
        processes.wait()
        found = storage.read_tensors(folder, "model")
        assert torch.equal(found["table"], torch.arange(15.0).view(5, 3))
        assert found["number"].item() == 7


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path):
    together(2, goes_on_meanwhile, tmp_path, tmp_path / "step-00000001")


def made_while_it_is_cleared(folder):
    """Every process makes the folder, and the first one clears what a killed writer left there: it must come last."""
    left = folder.with_name(f"{files.WRITING}{folder.name}")
    with Processes().started(choose("fp32").device) as processes:
        plan, remove = parts_writer.PartsWriter.prepare_local_plan, files.remove

        def late(self, own):
            time.sleep(0.25 * processes.rank)
            return plan(self, own)

        def slow(path):
            remove(path)
            time.sleep(0.5)

        parts_writer.PartsWriter.prepare_local_plan, files.remove = late, slow
        if processes.is_first:
            left.mkdir()
            (left / "model-00001-of-00009.safetensors").write_bytes(b"")
        processes.wait()
        in_parts.write(folder, tensors(), TEXTS, processes.writers).finish()
        processes.wait()
        assert "model-00001-of-00009.safetensors" not in storage.manifest(folder)
        assert torch.equal(storage.read_tensors(folder, "model")["table"], torch.arange(15.0).view(5, 3))


def test_the_folder_is_cleared_when_all_have_made_it(tmp_path):
    together(2, made_while_it_is_cleared, tmp_path, tmp_path / "step-00000001")


def one_has_no_room(folder):
    """The second process' disk is full: all hear of it, and the old checkpoint stays."""
    with Processes().started(choose("fp32").device) as processes:
        in_parts.write(folder, tensors(), TEXTS, processes.writers).finish()
        if processes.rank == 1:

            def full(self, name):
                raise OSError(errno.ENOSPC, "No space left on device", name)

            parts_writer.PartsWriter._hashed = full
        with pytest.raises(OSError, match="No space left") as failed:
            in_parts.write(folder, tensors(1), TEXTS, processes.writers).finish()
        assert failed.value.errno == errno.ENOSPC
        processes.wait()
        assert not list(folder.parent.glob(f"{files.WRITING}*"))
        storage.verify_folder(folder)
        assert storage.read_tensors(folder, "model")["number"].item() == 7


def test_a_full_disk_leaves_the_old_one(tmp_path):
    together(2, one_has_no_room, tmp_path, tmp_path / "step-00000001")


def is_killed(folder, rank):
    def dies(self, name):
        dying = folder.parent / "dying"
        if os.environ["RANK"] == rank:
            dying.touch()
            os.kill(os.getpid(), 9)
        while not dying.exists():
            time.sleep(0.01)
        raise OSError("another process is gone")

    parts_writer.PartsWriter._hashed = dies
    with Processes().started(choose("fp32").device) as processes:
        in_parts.write(folder.parent / "step-00000002", tensors(1), TEXTS, processes.writers).finish()


@pytest.mark.parametrize("rank", ["0", "3"])
def test_a_writer_of_four_that_is_killed_leaves_the_old_one(folder, tmp_path, rank):
    old = tmp_path / "checkpoints" / "step-00000001"
    shutil.copytree(folder, old)
    with pytest.raises(AssertionError, match="-9"):
        together(4, is_killed, tmp_path, old, rank)
    checkpoints = Checkpoints(old.parent)
    assert checkpoints.newest_whole(pytest.fail) == old
    assert checkpoints.steps() == [1]


class Told:
    """Two processes that ask together, of which the other one found this."""

    def __init__(self, rank, other):
        self.rank, self.world, self.other = rank, 2, other

    def of_first(self, number):
        return number

    def said(self, text):
        return text or self.other.pop(0)


def test_each_process_checks_its_share_and_all_agree(folder, tmp_path):
    for step in (1, 2):
        shutil.copytree(folder, tmp_path / f"step-0000000{step}")
    heard = []
    found = Checkpoints(tmp_path).newest_whole(heard.append, Told(0, ["", "the other's half is cut", "", ""]))
    assert found == tmp_path / "step-00000001"
    assert heard == ["damaged checkpoint skipped: the other's half is cut"]
    names = sorted(storage.manifest(folder))
    (tmp_path / "step-00000002" / names[1]).write_bytes(b"")
    assert Checkpoints(tmp_path).newest_whole(pytest.fail, Told(0, ["", ""])).name == "step-00000002"
    assert Checkpoints(tmp_path).newest_whole(lambda line: None, Told(1, ["", "", "", ""])).name == "step-00000001"


def test_what_another_machine_wrote_is_in_the_manifest_though_it_is_not_listed_yet(tmp_path):
    """As on NFS, whose listings may be a minute old."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "state.json").write_text("{}")
    theirs = {"model-00002-of-00002.safetensors": {"bytes": 3, "sha256": "0" * 64}}
    placing.complete(tmp_path / "new", tmp_path / "place", theirs)
    assert storage.manifest(tmp_path / "place") == {"state.json", *theirs}
    with pytest.raises(Damaged, match="model-00002-of-00002.safetensors"):
        storage.verify_folder(tmp_path / "place")


def test_a_process_that_does_not_see_the_checkpoint_says_so(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "step-00000001")
    with pytest.raises(FromNoiseError, match="process 1 does not see it: its machine needs the same disk"):
        Checkpoints(tmp_path).newest_whole(pytest.fail, Told(0, ["process 1 does not see it"]))

    class Second(Told):
        def of_first(self, number):
            return 2

        def said(self, text):
            return text

    with pytest.raises(FromNoiseError, match="process 1 does not see .*step-00000002: its machine"):
        Checkpoints(tmp_path).newest_whole(pytest.fail, Second(1, []))


def on_disks(folder, apart):
    with Processes().started(choose("fp32").device) as processes:
        own = folder / f"{processes.rank}" if apart else folder
        own.mkdir(parents=True, exist_ok=True)
        if not apart:
            insist_on_one_disk(own, processes)
        else:
            with pytest.raises(
                FromNoiseError, match="process 1 of this run does not see .* a disk that all machines share"
            ):
                insist_on_one_disk(own, processes)
        processes.wait()
        assert not list(own.iterdir())


@pytest.mark.parametrize("apart", [False, True])
def test_before_the_first_step_all_see_what_the_first_one_writes(tmp_path, apart):
    together(2, on_disks, tmp_path, tmp_path / "run", apart)


def test_a_part_that_is_no_number_is_said_by_all(tmp_path):
    """Each process reads its own part; the line of the one that finds it is everybody's."""
    out = tmp_path / "run"
    run_several(2, command(out, steps=2, every=2, settings=("train.shard=full",)), out)
    place = out / "checkpoints" / "step-00000002"
    part = place / "ema-00002-of-00002.safetensors"
    with safe_open(part, "pt") as file:
        about, held = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    next(value for value in held.values() if value.numel()).fill_(math.nan)
    save_file(held, part, about)
    known = json.loads((place / "manifest.json").read_text())
    known[part.name] = {"bytes": part.stat().st_size, "sha256": hashlib.sha256(part.read_bytes()).hexdigest()}
    (place / "manifest.json").write_text(json.dumps(known))
    with several(2, command(out, "--resume", steps=4, settings=("train.shard=full",)), out) as both:
        ends = [one.wait() for one in both]
    assert {status for status, _ in ends} == {2}, ends
    assert "is not finite: resume from another checkpoint" in ends[0][1].splitlines()[-1]
    assert "unexpectedly" not in "".join(said for _, said in ends)


def test_a_loss_that_is_no_number_is_not_the_best(tmp_path):
    store = Checkpoints(tmp_path, keep=1)
    for step, loss in enumerate([math.nan, 1.0, 2.0, 3.0], start=1):
        store.save(step, {"model": {"w": torch.ones(1)}}, {"state": {"loss": 0.5, "validation": loss}})
    assert store.steps() == [2, 4]
