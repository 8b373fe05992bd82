"""Pickles of whole networks are data here: whatever one names is not run, and whatever it claims does not fill memory."""

import io
import pickle
import pickletools
import random
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from edm_pickles import Net, Persistent, snapshot, with_their_modules

import fromnoise as fn
from fromnoise.weights import foreign, pickles

ROOM = 10**8


def load(file):
    return torch.load(file, weights_only=True)


def read(content, tmp_path, room=ROOM):
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    return pickles.read(path, room, load)


def tried(act):
    """What it raises, or None."""
    try:
        act()
    except Exception as error:
        return error
    return None


def refused(content, tmp_path, words, room=ROOM):
    with pytest.raises(fn.FromNoiseError, match=words) as caught:
        read(content, tmp_path, room)
    assert "\n" not in str(caught.value)


class Trap:
    """What pickle itself would run."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


# instructions, as the pickle module names them; each part leaves one value on the stack
def text(words):
    return b"X" + struct.pack("<I", len(words.encode())) + words.encode()


def content(numbers):
    return b"B" + struct.pack("<I", len(numbers)) + numbers


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def called(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def whole(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


def entry(value):
    return whole(b"}", text("ema"), value, b"s")


DICT, STORAGE = named("collections", "OrderedDict"), named("torch.storage", "_load_from_bytes")
PERSISTENT = named("torch_utils.persistence", "_reconstruct_persistent_obj")
REBUILD = named("torch._utils", "_rebuild_tensor_v2")


def storage(numbers):
    """The file of torch.save inside a pickled tensor."""
    return next(a for op, a, _ in pickletools.genops(pickle.dumps(numbers)) if isinstance(a, bytes) and len(a) > 100)


def test_a_payload_in_every_place_is_not_run(tmp_path):
    """Each first leaves its marker with pickle itself, so that it is known to work."""
    marker = tmp_path / "ran"
    program = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    legacy = io.BytesIO()
    torch.save({"a": Trap(marker)}, legacy, _use_new_zipfile_serialization=False)
    zipped = io.BytesIO()
    torch.save({"a": Trap(marker)}, zipped)
    run = [text(program)]
    meta = b"}(" + text("type") + text("class") + text("version") + b"K\x06" + text("module_src") + text(program)
    meta += text("class_name") + text("A") + text("state") + b"}u"
    for payload in (
        pickle.dumps({"ema": Trap(marker)}),
        pickle.dumps({"ema": Trap(marker)}, protocol=2),
        pickle.dumps([{"ema": {"w": [Trap(marker)]}}]),
        entry(called(named("builtins", "exec"), *run)),
        entry(called(named("builtins", "eval"), text(f"__import__('pathlib').Path({str(marker)!r}).touch()"))),
        entry(called(PERSISTENT, meta)),
        entry(called(PERSISTENT, meta.replace(text("state") + b"}", text("state") + called(named("builtins", "exec"), *run)))),
        entry(called(STORAGE, content(pickle.dumps(Trap(marker))))),
        entry(called(STORAGE, content(legacy.getvalue()))),
        entry(called(STORAGE, content(zipped.getvalue()))),
        entry(called(DICT) + b"}" + text("__reduce__") + called(named("builtins", "exec"), *run) + b"sb"),
        entry(b"(" + text(program) + b"ibuiltins\nexec\n"),  # INST
        entry(b"(" + named("builtins", "exec") + text(program) + b"o"),  # OBJ
    ):  # fmt: skip
        marker.unlink(missing_ok=True)
        error = tried(lambda: with_their_modules(lambda: pickle.loads(payload)))  # perhaps after it ran
        assert marker.exists(), (payload, error)
        marker.unlink()
        error = tried(lambda: read(payload, tmp_path))
        assert error is None or (isinstance(error, fn.FromNoiseError) and "\n" not in str(error))
        assert not marker.exists(), payload


def test_nothing_is_run_by_those_who_open_one(tmp_path):
    """By `fn.load`, in its process; a source that would leave a marker lies beside every object."""
    marker, net = tmp_path / "ran", Net(seen=1, out=1, attention=())
    path = snapshot(tmp_path / "n.pkl", net, net.weights(), "StrangePrecond", marker)
    with_their_modules(lambda: pickle.loads(path.read_bytes()))
    assert marker.exists()  # the trap works
    marker.unlink()
    with pytest.raises(fn.FromNoiseError, match=r"n\.pkl: is of StrangePrecond"):
        fn.load(path)
    assert not marker.exists()
    path.write_bytes(pickle.dumps({"ema": Trap(marker)}))
    with pytest.raises(fn.FromNoiseError, match=r"not a file of plain tensors \(it names .*, which is no part"):
        fn.load(path)
    assert not marker.exists()


@pytest.mark.parametrize(("module", "name"), [
    ("os", "system"), ("builtins", "getattr"), ("builtins", "__import__"), ("torch", "load"), ("torch.hub", "load"),
    ("collections", "OrderedDict.__init__"), ("torch.storage", "_load_from_bytes.__globals__"), ("torch.storage", "io.open"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("torch_utils.persistence", "exec"), ("numpy", "load"),
    ("torch.nn.modules.container", "ModuleDict.__setstate__"), ("fromnoise.weights.foreign", "_main"), ("", ""),
])  # fmt: skip
def test_names_stand_in_the_list_or_are_refused(tmp_path, module, name):
    """In both ways of naming; a dot in a name leads nowhere."""
    refused(entry(named(module, name)), tmp_path, "which is no part of plain weights")
    refused(entry(text(module) + text(name) + b"\x93"), tmp_path, "which is no part of plain weights")


def test_names_are_only_names(tmp_path):
    packed = io.BytesIO()
    torch.save(torch.ones(9).untyped_storage(), packed)
    for payload, words in (
        (entry(called(text("x"), text("y"))), "it calls a function that plain weights do not need"),
        (entry(called(named("torch.nn.modules.container", "ModuleDict"))), "it calls a function that plain weights do not need"),
        (entry(DICT + text("x") + b"R"), "it calls a function that plain weights do not need"),
        (entry(STORAGE + b")\x81"), "it makes an object of a class that plain weights do not need"),
        (entry(text("x") + b")\x81"), "it makes an object of a class that plain weights do not need"),
        (entry(DICT + b"}" + text("__call__") + text("x") + b"sb"), "gives attributes to a Name"),
        (entry(b"]}b"), "gives attributes to a list"),
        (entry(b"(" + b"\x85" + b"t"), "finds nothing to work on"),
        (entry(text("id") + b"Q"), "the instruction BINPERSID"),
        (entry(b"P1\n"), "the instruction PERSID"),
        (entry(b"\x82\x01"), "the instruction EXT1|damaged"),
        (entry(DICT + b")}\x92"), "the instruction NEWOBJ_EX"),
        (entry(b"\x96" + struct.pack("<Q", 1) + b"a"), "the instruction BYTEARRAY8"),
        (entry(called(named("_codecs", "encode"), text("x"), text("rot13"))), "another encoding than latin1"),
        (entry(called(named("numpy", "dtype"), text("O8"))), "NumPy's type O8"),
        (entry(called(named("numpy", "dtype"), text("f8")) + b"K\x03" + text(">") + b"\x86b"), "big-endian byte order"),
        (entry(called(named("numpy.core.multiarray", "scalar"), text("f8"), content(b"a" * 8))), "a number without a type"),
        (entry(called(named("numpy", "dtype"), text("f8")) + b"q\x01" +
               called(named("numpy.core.multiarray", "scalar"), b"h\x01", content(b"a" * 7)) + b"\x86"), "damaged"),
        (entry(called(DICT, b"](" + text("ab") + text("cd") + b"e")), "not a key and a value"),
        (entry(called(PERSISTENT, text("x"))), "without the name of its class"),
        (entry(called(PERSISTENT, b"}" + text("class_name") + text("A") + b"s")), "attributes that are not values by name"),
        (entry(called(STORAGE, text("x"))), "not as torch.save wrote it"),
        (entry(called(STORAGE, content(packed.getvalue()))), "not as torch.save wrote it"),  # a .zip, which may be a bomb
        (entry(called(REBUILD, text("x"), b"K\x00", b")", b")")), "a tensor without a storage"),
        (whole(text("x")), "a str, not objects by name"),
        (whole(), "finds nothing to work on"),
    ):  # fmt: skip
        refused(payload, tmp_path, words)


def test_bombs_do_not_fill_memory(tmp_path):
    one = content(storage(torch.ones(1000)))
    tensor = [b"K\x00", b"M\xe8\x03\x85", b"K\x01\x85", b"\x89", called(DICT)]

    def sized(*changes):
        return entry(called(REBUILD, called(STORAGE, one), *changes, b"\x89", called(DICT)))

    assert read(sized(*tensor[:3]), tmp_path)["ema"].shape == (1000,)
    twice = b")q\x000" + b"".join(b"h%ch%c\x86q%c0" % (i, i, i + 1) for i in range(60))  # 2^60 empty tuples
    many = b"(" + b"".join(b"K\x01" * 10 for _ in range(100)) + b"lq\x00"
    for payload, words, room in (
        (sized(b"K\x00", b"M\xe9\x03\x85", b"K\x01\x85"), "reaches beyond its numbers", ROOM),
        (sized(b"K\x01", b"M\xe8\x03\x85", b"K\x01\x85"), "reaches beyond its numbers", ROOM),
        (sized(b"K\x00", b"M\xe8\x03\x85", b"K\x02\x85"), "reaches beyond its numbers", ROOM),
        (sized(b"K\x00", b"\x8a\x08" + struct.pack("<q", 2**62) + b"\x85", b"K\x01\x85"), "reaches beyond", ROOM),
        (sized(b"K\x00", b"J\xff\xff\xff\xff\x85", b"K\x01\x85"), "without a size", ROOM),
        (sized(b"K\x00", b"(" + b"K\x01" * 65 + b"t", b"(" + b"K\x01" * 65 + b"t"), "without a size", ROOM),
        (sized(b"K\x00", b"G" + struct.pack(">d", 3.0) + b"\x85", b"K\x01\x85"), "without a size", ROOM),
        (whole(b"]", STORAGE, one, b"q\x01\x85R0", STORAGE, b"h\x01\x85Ra"), "the numbers of a tensor twice", ROOM),
        (whole(b"](" + called(STORAGE, content(storage(torch.ones(900)))) * 30 + b"e"), "more than half", 100_000),
        (whole(named("_codecs", "encode"), b"q\x01(", text("x" * 5000), b"q\x02", text("latin1"), b"q\x03tR0",
               b"h\x01(h\x02h\x03tR0" * 30, b"}"), "more than half", 100_000),
        (whole(DICT, b"q\x09", many, b"0", b"h\x09(h\x00tR0" * 300, b"}"), "damaged|more than half", 100_000),
        (whole(named("builtins", "set"), b"q\x09", many, b"0", b"h\x09(h\x00tR0" * 300, b"}"), "more than half", 100_000),
        (whole(b"}", twice, b"h\x3cK\x01s"), "a tuple is the key", ROOM),
        (whole(b"}", b")" + b"\x85" * 200_000, b"K\x01s"), "a tuple is the key", ROOM),
        (whole(b"(", b")", b"\x91"), "a tuple is the key", ROOM),
        (whole(b"N0" * 500_001), "more than 1,000,000 instructions", ROOM),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc", "damaged", ROOM),
        (b"\x80\x04B" + struct.pack("<I", 2**32 - 1) + b"abc", "damaged", ROOM),
        (whole(b"\x8b" + struct.pack("<i", 2**31 - 1) + b"abc"), "damaged", ROOM),
        (whole(b"I" + b"9" * 100_000 + b"\n"), "damaged", ROOM),
        (whole(b"h\x07"), "damaged", ROOM),
    ):  # fmt: skip
        refused(payload, tmp_path, words, room)
    state = b"}(" + text("_parameters") + b"}" + text("_modules") + b"}q\x05u"
    net = called(PERSISTENT, b"}(" + text("class_name") + text("A") + text("state") + state + b"u") + b"q\x06"
    refused(whole(b"}", text("ema"), net, b"h\x05", text("a"), b"h\x06s0s"), tmp_path, "nested endlessly")
    shared = Persistent("A")
    for _ in range(20):
        inner, shared = shared, Persistent("A")
        shared.add_module("a", inner)
        shared.add_module("b", inner)
    refused(with_their_modules(lambda: pickle.dumps({"ema": shared})), tmp_path, "nested endlessly")
    module = named("torch.nn.modules.container", "ModuleDict") + b"q\x02"
    state = b"}(" + b"".join(text(f"{i:x}") + b"N" for i in range(1000)) + b"uq\x01"
    refused(whole(state, module, b"(", b"h\x02)\x81h\x01b" * 30, b"t0}"), tmp_path, "more than half", 10**6)
    meta = b"}(" + text("class_name") + text("A") + text("state") + state + b"uq\x03"
    again = PERSISTENT + b"q\x040" + b"h\x04h\x03\x85R0" * 30
    refused(whole(meta, b"0", again, b"}"), tmp_path, "more than half", 10**6)
    tables = meta.replace(text("state") + state, text("state") + b"}" + text("_parameters") + state + b"s")
    refused(whole(tables, b"0", again, b"}"), tmp_path, "more than half", 10**6)
    for letters, times in ((1001, 1), (900, 20_000)):
        inner = Persistent("A")
        inner.register_parameter("x" * letters, torch.nn.Parameter(torch.ones(1)))
        shared = Persistent("A")
        for i in range(times):
            shared.add_module(f"m{i}", inner)
        words = "the names of its tensors are endlessly long"
        refused(with_their_modules(lambda: pickle.dumps({"ema": shared})), tmp_path, words)
    deep = b"}" + text("ema") + b"]" * 100_000 + b"a" * 99_999 + b"s"
    assert isinstance(read(whole(deep), tmp_path)["ema"], list)
    refused(whole(b"]" * 100_000, b"a" * 99_999), tmp_path, "a list, not objects by name")


def test_options_are_plain_and_few(tmp_path):
    loop: list = []
    loop.append(loop)
    twice: list = [1]
    for _ in range(60):
        twice = [twice, twice]
    top = Persistent("EDMPrecond", {"sigma_data": np.float64(0.5), "n": np.int64(3), "b": np.bool_(True), "inf": float("inf"),
                                    "loop": loop, "twice": twice, "long": "x" * 200_000, "_hidden": 1}, {"a": [1, {"b": None}]})  # fmt: skip
    top.register_parameter("w", torch.nn.Parameter(torch.ones(2), requires_grad=False))
    top.register_buffer("kept", torch.zeros(3))
    top.register_buffer("passing", torch.zeros(3), persistent=False)
    for i in range(70):
        top.add_module(f"m{i}", Persistent("Part", {"x": i}))
    for data in (top, {"G_ema": top, "other": [1]}, OrderedDict(net=top)):
        found = read(with_their_modules(lambda: pickle.dumps(data)), tmp_path)
        name = next(iter(found))
        assert sorted(found[name]) == ["kept", "w"]
        told = found["init_kwargs"]
        own = {"class_name": "EDMPrecond", "sigma_data": 0.5, "n": 3, "b": True, "a": [1, {"b": None}], "inf": "inf"}
        assert {key: value for key, value in told.items() if not key.startswith("m")} == own
        assert told["m3"] == {"class_name": "Part", "x": 3}
        assert len(told) == len(own) + 50
    assert type(told["sigma_data"]) is float


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_cut_and_flipped_files_are_a_line(tmp_path):
    net = Net(seen=1, out=1, channels=8, mult=(1,), attention=())
    path = snapshot(tmp_path / "n.pkl", net, net.weights(), sigma_data=np.float64(0.5))
    good, rng = path.read_bytes(), random.Random(0)
    for trial in range(150):
        damaged = bytearray(good)
        if trial % 3:
            for _ in range(rng.randint(1, 5)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        else:
            del damaged[rng.randrange(len(damaged)) :]
        error = tried(lambda: read(bytes(damaged), tmp_path))
        assert error is None or (isinstance(error, fn.FromNoiseError) and "\n" not in str(error)), (trial, error)


def test_plain_pickles_of_tensors_are_tensors_and_those_of_torch_go_to_torch(tmp_path, monkeypatch):
    state = OrderedDict(w=torch.arange(6.0).view(2, 3).T, b=torch.ones(2, dtype=torch.float16))
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(state))
    found = foreign.plain(path)
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert not pickles.is_one(storage(torch.ones(1))[:32])
    assert not pickles.is_one(b"PK\x03\x04")
    assert not pickles.is_one(b"")
    path.write_bytes(pickle.dumps({"ema": {"w": torch.ones(1).expand(10**6)}}))
    monkeypatch.setenv("FROMNOISE_MEMORY", "0.002")
    with pytest.raises(fn.FromNoiseError, match="more than half of this machine's memory"):
        foreign.plain(path)


def test_tensors_that_repeat_their_numbers_do_not_fill_the_disk(tmp_path, monkeypatch):
    """A small file of a hundred million zeros; tied layers, of the same numbers, are let through."""
    monkeypatch.setenv("FROMNOISE_CACHE", str(tmp_path / "cache"))
    path, one = tmp_path / "x.pkl", torch.ones(1)
    for write in (lambda state: path.write_bytes(pickle.dumps(state)), lambda state: torch.save(state, path)):
        write({"ema": {"w": one.expand(10**6)}})
        with pytest.raises(
            fn.FromNoiseError, match=r"unpack to 4,000,000 bytes from a file of [\d,]+, which repeats its numbers"
        ):
            foreign.plain(path)
        tied = torch.randn(10**5)
        write({"ema": {"a": tied, "b": tied, "c": tied}})
        assert len(foreign.plain(path)) == 3
    assert sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*") if file.is_file()) < 10**7


def test_the_process_that_reads_one_has_bounded_memory(monkeypatch):
    """By the system, whatever a reader forgets to count."""
    resource = pytest.importorskip("resource")
    code = "import sys, resource; from fromnoise.weights import foreign; foreign._bound(10**8); print(resource.getrlimit(resource.RLIMIT_AS)[0])"
    done = subprocess.run([sys.executable, "-c", f"{code}; b'0' * 4 * 10**9"], capture_output=True, text=True)
    assert 2**31 < int(done.stdout) != resource.RLIM_INFINITY
    assert "MemoryError" in done.stderr


def test_weights_and_options_are_of_the_same_entry(tmp_path):
    """Whatever order a file has them in."""
    for names in (("net", "model"), ("model", "net"), ("state_dict", "net"), ("G", "ema")):
        parts = {}
        for name in names:
            parts[name] = Persistent("EDMPrecond", {"of": name})
            parts[name].register_buffer(f"of_{name}", torch.ones(1))
        path = tmp_path / "x.pkl"
        path.write_bytes(with_their_modules(lambda: pickle.dumps(parts)))
        found = foreign.unpacked(path, ROOM)
        assert list(found.state) == [f"of_{found.part}"] == [f"of_{found.options['of']}"]
