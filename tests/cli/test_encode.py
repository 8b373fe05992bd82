"""`fromnoise encode`: latents and captions ahead of training, by many processes, through kills; and training on them."""

import multiprocessing
import os
import shutil
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from small_runs import TINY, folder

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.app.encoding import work
from fromnoise.app.encoding.asked import encode
from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.data import precomputed
from fromnoise.data.config import DataConfig
from fromnoise.data.latents import Latents
from fromnoise.data.loading import load
from fromnoise.data.worded import Worded
from fromnoise.system.disk import placing, storage
from fromnoise.system.disk.claims import Claims
from fromnoise.weights import native
from fromnoise.weights.checkpoint import Checkpoints

N = 26
SMALL = {"in_channels": 3, "channels": 8, "mult": (1, 2), "blocks": 1, "latent": 2, "groups": 4}


def network(seed=0):
    torch.manual_seed(seed)
    return fn.nn.build({"name": "kl-autoencoder", **SMALL}).eval()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """26 images of two classes, all but one with a caption."""
    place = folder(tmp_path_factory.mktemp("photos"), n=N // 2)
    for number, path in enumerate(sorted(place.rglob("*.png"))[1:]):
        path.with_suffix(".txt").write_text(f"a {path.parent.name} picture, {number % 5} dots")
    return place


@pytest.fixture(scope="module")
def coder(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "kl"
    native.save(network(), place)
    return place


@pytest.fixture(scope="module")
def whole(tmp_path_factory, photos, coder):
    """What one process made undisturbed, in 4 parts."""
    return encoded(tmp_path_factory.mktemp("whole") / "out", photos, coder)


def encoded(out, photos, coder, *more):
    assert main(words(out, photos, coder, *more)) == 0
    return out


def words(out, photos, coder, *more, part=8, batch=4):
    options = ["--autoencoder", str(coder), "--precision", "fp32", "--part", str(part), "--batch-size", str(batch)]
    return ["encode", str(photos), "--out", str(out), *options, *more]


def files_of(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def fails(capsys, said, *words, status=2, said_before=0):
    capsys.readouterr()
    try:
        found = main(list(words))
    except SystemExit as stop:
        found = stop.code
    text = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert found == status, text
    assert len(text) == 1 + said_before, text
    assert said in text[-1]


def test_latents_are_those_of_the_autoencoder(whole, photos, coder):
    kept, images, codec = (
        Latents(whole),
        load(DataConfig(name=str(photos))),
        Autoencoded(native.load_autoencoder(coder)),
    )
    x, labels = images.batch(range(N))
    truth = codec.encode(x.float() / 127.5 - 1)
    z, own = kept.batch([25, 0, 13, 0])
    torch.testing.assert_close(z, truth[[25, 0, 13, 0]], atol=1e-5, rtol=1e-4)
    assert own.tolist() == labels[[25, 0, 13, 0]].tolist()
    assert (len(kept), kept.shape, kept.classes) == (N, (2, 8, 8), ("left", "right"))
    assert kept.captions == images.captions
    assert kept.content() == images.content()
    assert kept.std() == pytest.approx(truth.double().std(correction=0).item(), rel=1e-6)
    kept.scale = 2.0
    torch.testing.assert_close(kept.batch([3])[0], 2 * truth[[3]], atol=1e-5, rtol=1e-4)
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(whole / "part-000003" / "examples.safetensors") in maps.read_text()


def test_mirror_images_follow(tmp_path, photos, coder):
    kept = Latents(encoded(tmp_path / "out", photos, coder, "--flip"))
    x, labels = load(DataConfig(name=str(photos))).batch(range(N))
    mirrored = Autoencoded(network()).encode((x.float() / 127.5 - 1).flip(-1))
    z, own = kept.batch([N + 9, 9, 2 * N - 1])
    torch.testing.assert_close(z[[0, 2]], mirrored[[9, 25]], atol=1e-5, rtol=1e-4)
    assert own.tolist() == labels[[9, 9, 25]].tolist()
    assert (len(kept), len(kept.captions), kept.captions[N + 9]) == (2 * N, 2 * N, kept.captions[9])


def test_latents_do_not_depend_on_the_parts(tmp_path, whole, photos, coder):
    one = Latents(whole)
    for part in (4, 12, 64):
        other = Latents(encoded(tmp_path / str(part), photos, coder, "--part", str(part)))
        assert torch.equal(one.batch(range(N))[0], other.batch(range(N))[0])
        assert one.std() == other.std()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])  # one of them is not what the machine would take
def test_again_there_is_nothing_to_do(tmp_path, photos, coder, capsys, precision):
    whole = encoded(tmp_path / "whole", photos, coder, "--precision", precision)
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    capsys.readouterr()
    assert main(["encode", str(photos), "--out", str(whole), "--autoencoder", str(coder)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{whole}\n"
    assert "26 latents of 2x8x8 of" in err
    assert "in 4 parts, complete: nothing left to do" in err
    after = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert before == after


@pytest.mark.parametrize("name", ["part-000002/examples.safetensors", "part-000001/captions.json", "autoencoder/model.safetensors",
                                  "part-000000/manifest.json", "description/encoded.json"])  # fmt: skip
def test_what_is_damaged_is_made_again(tmp_path, whole, photos, coder, capsys, name):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    content = bytearray((out / name).read_bytes())
    content[-20] ^= 1
    (out / name).write_bytes(bytes(content))
    if name.startswith("part"):
        with pytest.raises(fn.FromNoiseError, match=r"part-00000\d.*: encode it again with the same command"):
            Latents(out)
    capsys.readouterr()
    encoded(out, photos, coder)
    assert capsys.readouterr().err.count(" again\n") == 1
    assert files_of(out) == files_of(whole)


def test_a_part_of_other_data_is_no_part(tmp_path, whole, photos, coder):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    shutil.rmtree(out / "part-000001")
    with pytest.raises(fn.FromNoiseError, match="1 of its 4 parts are missing, the first is part-000001"):
        Latents(out)
    native.save(network(1), tmp_path / "coder")
    strange = encoded(tmp_path / "strange", photos, tmp_path / "coder") / "part-000001"
    for other in (whole / "part-000002", strange):
        shutil.rmtree(out / "part-000001", ignore_errors=True)
        shutil.copytree(other, out / "part-000001")
        with pytest.raises(fn.FromNoiseError, match="part-000001: not a part of this data set"):
            Latents(out)
    encoded(out, photos, coder)
    assert files_of(out) == files_of(whole)


# --- many processes -----------------------------------------------------------------------------------------------


class Worker:
    """`fromnoise encode` in a process of its own; it waits in the middle of its `stops`-th part for whatever comes."""

    def __init__(self, arguments, place, rank=0, world=1, stops=None):
        self.met = place / f"met-{os.urandom(4).hex()}"
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(["fromnoise.app.cli", "fromnoise.app.encoding.asked"])
        self.process = processes.Process(target=_work, args=(arguments, str(self.met), rank, world, stops))
        self.process.start()

    def met_its_part(self):
        while not self.met.exists():
            assert self.process.is_alive()
            time.sleep(0.01)
        return self

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()

    def ends(self):
        self.process.join(60)
        assert self.process.exitcode == 0


def _work(arguments, met, rank, world, stops):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world)}
    make, count = work.Work._encoded, 0

    def slow(self, part, advance):
        nonlocal count
        count += 1
        if count == stops:
            Path(met).touch()
            time.sleep(600)
        return make(self, part, advance)

    work.Work._encoded = slow
    raise SystemExit(main(arguments))


def test_two_processes_make_the_same_files(tmp_path, whole, photos, coder):
    """Each makes at least one part: the first is held in its own until the other has made three."""
    out = tmp_path / "out"
    slow = Worker(words(out, photos, coder), tmp_path, stops=1).met_its_part()
    assert (out / "part-000000.claim").exists()
    quick = Worker(words(out, photos, coder), tmp_path, rank=1, world=2)
    while len(list(out.glob("part-00000?"))) < 3:
        assert quick.process.is_alive()
        time.sleep(0.01)
    slow.kill()  # only now does the other take its part, too
    quick.ends()
    assert files_of(out) == files_of(whole)


def test_a_kill_loses_a_part_at_most(tmp_path, whole, photos, coder, monkeypatch):
    out = tmp_path / "out"
    killed = Worker(words(out, photos, coder), tmp_path, stops=3).met_its_part()
    killed.kill()
    assert {p.name for p in out.iterdir()} == {
        "description",
        "autoencoder",
        "part-000000",
        "part-000001",
        "part-000002.claim",
    }
    (out / ".writing-dead").mkdir()  # as a kill leaves it while it writes
    shutil.copy(out / "part-000002.claim", out / "part-000001.claim")  # and after that
    made, make = [], work.Work._make
    monkeypatch.setattr(work.Work, "_make", lambda self, part, bar: (made.append(part), make(self, part, bar)))
    encoded(out, photos, coder)
    assert made == [2, 3]
    assert files_of(out) == files_of(whole)
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}


def _train(arguments, cache, met, rank, port):
    """A process of a training, each of whose first parts waits until the other process is at one, too."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": port, "FROMNOISE_CACHE": cache}  # fmt: skip
    precomputed.PART = precomputed.BATCH = 4
    make = work.Work._make

    def noted(self, part, bar):
        Path(met, f"{rank}-{part}").touch()
        while not list(Path(met).glob(f"{1 - rank}-*")):
            time.sleep(0.01)
        make(self, part, bar)

    work.Work._make = noted
    raise SystemExit(main(arguments))


def test_every_process_of_a_training_encodes(tmp_path, photos, coder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (met := tmp_path / "met").mkdir()
    arguments = training(tmp_path / "run", photos, "--autoencoder", str(coder))
    processes = multiprocessing.get_context("forkserver")
    both = [
        processes.Process(target=_train, args=(arguments, str(tmp_path / "cache"), str(met), rank, port))
        for rank in (0, 1)
    ]
    try:
        for one in both:
            one.start()
        for one in both:
            one.join(120)
    finally:
        for one in both:
            one.kill()
    assert [one.exitcode for one in both] == [0, 0]
    made = sorted(tuple(map(int, path.name.split("-"))) for path in met.iterdir())
    assert sorted(part for _, part in made) == list(range(7))  # each by one of them
    assert {rank for rank, _ in made} == {0, 1}
    one = Latents(next((tmp_path / "cache" / "latents").iterdir()))
    truth = encode(DataConfig(name=str(photos)), tmp_path / "whole", coder, part=4, batch=4, precision="fp32")
    assert torch.equal(one.batch(range(N))[0], Latents(truth.folder).batch(range(N))[0])


def test_whoever_cleans_up_disturbs_nobody_who_claims(tmp_path, monkeypatch):
    """The last one removes what killed processes left, while another writes its claim under such a name."""
    link, path = os.link, tmp_path / "part-000000.claim"

    def cleaned_up(source, target):
        placing.clean_up(tmp_path)
        link(source, target)

    monkeypatch.setattr(os, "link", cleaned_up)
    with Claims().claimed(path) as own:
        assert not own
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    with Claims().claimed(path) as own:
        assert own


def test_another_request_into_the_same_folder_is_refused(tmp_path, whole, photos, coder, capsys):
    before = files_of(whole)
    native.save(network(1), tmp_path / "other")
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    (fewer / "left" / "0.png").unlink()
    renamed = tmp_path / "renamed"
    shutil.copytree(photos, renamed)
    (renamed / "left").rename(renamed / "a")
    told = tmp_path / "told"
    shutil.copytree(photos, told)
    next(told.rglob("*.txt")).write_text("something else")
    for said, data, model, more in (
        ("with the number of examples 26, but 25 is asked for", fewer, coder, []),
        ("with the classes left, right, but a, right is asked for", renamed, coder, []),
        ("with captions of the digest", told, coder, []),
        ("with the autoencoder", photos, tmp_path / "other", []),
        ("with images of the shape 3, 16, 16, but 3, 8, 8", photos, coder, ["--size", "8"]),
        ("with images of the digest", photos, coder, ["--set", "data.background=black", "data.fit=pad", "data.split=train"]),
        ("with mirror images False, but True", photos, coder, ["--flip"]),
        ("with the text encoder none, but", photos, coder, ["--text", "learned"]),
        ("with the part size 8, but 16", photos, coder, ["--part", "16"]),
        ("with the batch size 4, but 8", photos, coder, ["--batch-size", "8"]),
        ("with the precision float32, but bfloat16", photos, coder, ["--precision", "bf16"]),
    ):  # fmt: skip
        if "images of the digest" in said:  # other pixels, as many and of the same shape
            data = tmp_path / "changed"
            shutil.copytree(photos, data)
            shutil.copy(data / "left" / "0.png", data / "left" / "1.png")
            more = []
        fails(capsys, said, *words(whole, data, model, *more))
    assert files_of(whole) == before


def test_what_does_not_fit_is_one_line(tmp_path, whole, photos, coder, capsys):
    out, new = tmp_path / "out", str(tmp_path / "new")
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    fails(capsys, "holds letter.txt and no encoded data", *words(out, photos, coder))
    fails(capsys, "letter.txt is a file, not a folder", *words(out / "letter.txt", photos, coder))
    fails(capsys, "nothing to encode with: give --autoencoder MODEL", "encode", str(photos), "--out", new)
    fails(capsys, "is encoded already: name the data", *words(new, whole, coder))
    fails(
        capsys, "unknown text encoder 'learnt' (did you mean learned?)", *words(new, photos, coder, "--text", "learnt")
    )
    fails(capsys, "no option 'lenght' (did you mean length?)",
          *words(new, photos, coder, "--text", "learned", "--set", "text.lenght=3"))  # fmt: skip
    fails(capsys, "choose one with --text", *words(new, photos, coder, "--set", "text.length=3"))
    fails(capsys, "unknown key of --set 'data.siez'", *words(new, photos, coder, "--set", "data.siez=3"))
    fails(capsys, "data.fit", *words(new, photos, coder, "--set", "data.fit=shrink"))
    fails(capsys, "part must be a multiple of the batch size, 4", *words(new, photos, coder, "--part", "10"))
    fails(capsys, "part must be a whole number of at least 1, got 0", *words(new, photos, coder, "--part", "0"))
    fails(capsys, "sides divisible by 2; 16x16 fits", *words(new, photos, coder, "--size", "15"))
    fails(capsys, "no such run", *words(new, photos, tmp_path / "nothing"))
    fails(capsys, "no such folder", *words(new, tmp_path / "nothing", coder))
    bare = folder(tmp_path / "bare", n=2)
    fails(capsys, "has no captions", *words(new, bare, coder, "--text", "learned"))
    fails(capsys, "leave it off", "encode", str(photos), "--out", new, "--text", "learned", "--flip")
    net = fn.nn.UNet(in_channels=3, channels=8, mult=(1,), blocks=1, groups=4, attention=())
    fn.save(fn.Denoiser(net, "linear", shape=(3, 8, 8)), tmp_path / "unet")
    fails(capsys, "holds no autoencoder; it is of kind denoiser", *words(new, photos, tmp_path / "unet"))
    assert not Path(new).exists()


def test_a_full_disk_is_one_line_and_nothing_is_left_behind(tmp_path, whole, photos, coder, capsys, monkeypatch):
    out, write = tmp_path / "out", storage.write_folder

    def full(target, tensors, texts):
        if target.name == "part-000002":
            raise OSError(28, "No space left on device", str(target.parent / ".writing-x"))
        write(target, tensors, texts)

    monkeypatch.setattr(storage, "write_folder", full)
    capsys.readouterr()
    assert main(words(out, photos, coder)) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"fromnoise: {out / 'part-000002'}: no space left on device"
    assert {p.name for p in out.iterdir()} == {"description", "autoencoder", "part-000000", "part-000001"}
    monkeypatch.undo()
    encoded(out, photos, coder)
    assert files_of(out) == files_of(whole)


def test_latents_that_are_not_finite_are_refused(tmp_path, photos, capsys):
    broken = network()
    torch.nn.init.constant_(broken.quant_conv.bias, float("inf"))
    native.save(broken, tmp_path / "kl")
    fails(capsys, "the latents of images 0 to 3 are not finite", "encode", str(photos), "--out", str(tmp_path / "out"),
          "--autoencoder", str(tmp_path / "kl"), "--batch-size", "4", said_before=1)  # fmt: skip


@pytest.mark.parametrize("kind", ["saved", "checkpoint", "latent", "encoded"])
def test_an_autoencoder_is_found_in_what_has_one(tmp_path, whole, photos, coder, kind):
    if kind == "latent":
        net = fn.nn.UNet(in_channels=2, channels=8, mult=(1,), blocks=1, groups=4, attention=())
        fn.save(fn.Denoiser(net, "linear", shape=(2, 8, 8), codec=Autoencoded(network())), tmp_path / "model")
    place = {"saved": coder, "latent": tmp_path / "model", "encoded": whole}.get(kind)
    if kind == "checkpoint":
        (tmp_path / "run" / "checkpoints").mkdir(parents=True)
        shutil.copytree(coder, tmp_path / "run" / "autoencoder")
        place = tmp_path / "run" / "checkpoints" / "step-00000001"
    found = encode(DataConfig(name=str(photos)), tmp_path / "out", place, part=8, batch=4, precision="fp32")
    assert found.description.autoencoder == Latents(whole).description.autoencoder
    assert found.made == 4


# --- training -----------------------------------------------------------------------------------------------------


def train(out, data, *more, recipe="digits-latent"):
    assert main(training(out, data, *more, recipe=recipe)) == 0
    return out


def training(out, data, *more, recipe="digits-latent"):
    options = [
        "--precision",
        "fp32",
        "--steps",
        "3",
        "--set",
        *TINY,
        "network.mult=[1]",
        "schedule.T=10",
        "data.size=16",
    ]
    return ["train", recipe, "--data", str(data), "--out", str(out), *options, *more]


def weights(run):
    found = Checkpoints(run / "checkpoints").newest_whole(pytest.fail)
    return storage.read_tensors(found, "model")


@contextmanager
def away(place):
    place.rename(place.with_name("away"))
    try:
        yield
    finally:
        place.with_name("away").rename(place)


@pytest.mark.parametrize("flip", [False, True])
def test_training_from_the_folder_is_training_with_the_runs_own_encoding(tmp_path, photos, coder, capsys, flip):
    """Bit for bit, though the one cuts parts of 8 and the other one part; and without the images."""
    turned = [f"data.flip={str(flip).lower()}"]
    batch = ["--batch-size", "64", "--part", "64", *(["--flip"] if flip else [])]
    data = encoded(tmp_path / "data", photos, coder, *batch)
    own = train(tmp_path / "own", photos, "--autoencoder", str(coder), "--set", *turned)
    with away(photos):
        ahead = train(tmp_path / "ahead", data, "--set", *turned)
        train(tmp_path / "ahead", data, "--set", *turned, "--resume")
    assert "is finished: 3 steps" in capsys.readouterr().err
    one, other = weights(own), weights(ahead)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert fn.load(own).codec.scale == fn.load(ahead).codec.scale
    shutil.rmtree(data)  # the run is whole
    assert main(["sample", str(ahead), "--n", "1", "--out", str(tmp_path / "a.npz")]) == 0
    fails(capsys, "set data.flip to" if flip else "has no mirror images", "train", "digits-latent", "--data",
          str(encoded(tmp_path / "again", photos, coder, *batch)), "--out", str(tmp_path / "x"), "--set",
          f"data.flip={str(not flip).lower()}")  # fmt: skip


def test_training_with_another_autoencoder_is_refused(tmp_path, whole, photos, coder, capsys):
    native.save(network(1), tmp_path / "other")
    line = ["train", "digits-latent", "--data", str(whole), "--out", str(tmp_path / "run"), "--steps", "1"]
    fails(
        capsys, "was encoded by another autoencoder than the model's", *line, "--autoencoder", str(tmp_path / "other")
    )
    fails(
        capsys,
        "holds latents, and recipe digits trains on images",
        "train",
        "digits",
        *line[2:4],
        "--out",
        str(tmp_path / "a"),
    )
    fails(capsys, "holds latents, and recipe digits-kl trains on images", "train", "digits-kl", *line[2:4], "--out",
          str(tmp_path / "b"))  # fmt: skip
    alone = tmp_path / "alone"
    shutil.copytree(whole, alone)
    shutil.rmtree(alone / "part-000001")
    fails(
        capsys,
        "1 of its 4 parts are missing",
        "train",
        "digits-latent",
        "--data",
        str(alone),
        "--out",
        str(tmp_path / "c"),
    )


def test_images_of_an_encoded_data_set_are_those_that_it_was_made_of(tmp_path, whole, photos):
    found = load(DataConfig(name=str(whole)))
    assert torch.equal(found.batch(range(N))[0], load(DataConfig(name=str(photos))).batch(range(N))[0])
    assert load(DataConfig(name=str(whole), size=8, channels=1)).shape == (1, 8, 8)
    with away(photos), pytest.raises(fn.FromNoiseError, match="was encoded from .*, whose images cannot be read: "):
        load(DataConfig(name=str(whole)))


def test_fit_takes_the_folder_and_gives_the_model_its_autoencoder(tmp_path, whole):
    def model(**more):
        torch.manual_seed(0)
        net = fn.nn.UNet(in_channels=2, channels=8, mult=(1,), blocks=1, groups=4, attention=())
        return fn.Denoiser(net, fn.schedules.Cosine(T=10), "v", shape=(2, 8, 8), **more)

    quiet = {"steps": 2, "batch_size": 4, "progress": False, "precision": "fp32"}
    ours = fn.fit(model(), str(whole), out=tmp_path / "run", **quiet).model
    assert fn.load(tmp_path / "run").codec.scale == ours.codec.scale
    assert ours.image_shape == (3, 16, 16)
    assert ours.codec.scale == pytest.approx(1 / Latents(whole).std())
    latents = Latents(whole)
    theirs = fn.fit(model(codec=Autoencoded(network(), ours.codec.scale)), latents, **quiet).model
    assert latents.scale == ours.codec.scale
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    with pytest.raises(fn.FromNoiseError, match="another autoencoder than the model's"):
        fn.fit(model(codec=Autoencoded(network(1))), str(whole), **quiet)
    with pytest.raises(fn.FromNoiseError, match="the model's codec is a PCA"):
        fn.fit(model(codec=fn.compose.PCA(torch.rand(9, 3, 16, 16), 2)), str(whole), **quiet)


# --- words --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worded(tmp_path_factory, photos, coder):
    """Latents and words, in parts that do not hold the same captions."""
    more = ["--text", "learned", "--set", "text.length=9", "text.vocabulary=270"]
    return encoded(tmp_path_factory.mktemp("worded") / "out", photos, coder, *more)


@pytest.mark.filterwarnings("ignore:a text is longer than")
def test_words_are_those_of_the_encoder_and_it_is_not_run_again(worded, photos, monkeypatch):
    encoder = fn.text.Learned(length=9, vocabulary=270)
    truth = Worded(load(DataConfig(name=str(photos))), encoder)
    monkeypatch.setattr(fn.text.Learned, "encoded", None)
    kept = Worded(Latents(worded), encoder)
    numbers = [25, 0, 13, 13, 7]
    assert torch.equal(kept.examples(numbers)[1]["text"], truth.examples(numbers)[1]["text"])
    assert kept.encoder == truth.encoder
    assert kept.content() == truth.content()
    with pytest.raises(
        fn.FromNoiseError, match=r"encoded by Learned\(vocabulary=270, length=9.*, but Learned\(vocabulary=300"
    ):
        Worded(Latents(worded), fn.text.Learned(length=9, vocabulary=300))


@pytest.mark.filterwarnings("ignore:a text is longer than")
def test_mirror_images_have_the_words_of_their_images(tmp_path, photos, coder):
    kept = Latents(encoded(tmp_path / "out", photos, coder, "--flip", "--text", "learned", "--set", "text.length=9"))
    words = Worded(kept, fn.text.Learned(length=9))
    found = words.examples([N + 7, 7, 8])[1]["text"]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])
    assert torch.equal(found, words.encoder([words.captions[i] for i in (7, 7, 8)]))


def test_other_captions_are_encoded_now(worded):
    latents, other = Latents(worded), ["red"] * N
    with pytest.warns(UserWarning, match="captions are not those that were encoded ahead"):
        kept = Worded(latents, fn.text.Learned(length=9, vocabulary=270), other)
    assert kept.encoder.merges != latents.words.encoder.merges
    assert kept.examples([3])[1]["text"].shape == (1, 9)


WORDS = ["text.encoder={name: learned, length: 9, vocabulary: 270}", "network.classes=null", "train.label_dropout=0"]


def test_training_from_words_of_the_folder(tmp_path, worded, photos, coder, monkeypatch):
    more = ["--set", *WORDS]
    own = train(tmp_path / "own", photos, "--autoencoder", str(coder), *more)
    monkeypatch.setattr("fromnoise.data.worded._encoded", None)
    ahead = train(tmp_path / "ahead", worded, *more)
    one, other = weights(own), weights(ahead)
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)


def test_words_alone_are_for_models_of_images(tmp_path, photos, monkeypatch, capsys):
    out = tmp_path / "words"
    assert main(["encode", str(photos), "--out", str(out), "--text", "learned", "--set", "text.length=9", "text.vocabulary=270",
                 "--part", "16", "--batch-size", "8"]) == 0  # fmt: skip
    with pytest.raises(fn.FromNoiseError, match="holds encoded captions but no latents"):
        Latents(out)
    own = train(tmp_path / "own", photos, "--set", *WORDS, recipe="digits")
    monkeypatch.setattr("fromnoise.data.worded._encoded", None)
    ahead = train(tmp_path / "ahead", out, "--set", *WORDS, recipe="digits")
    one, other = weights(own), weights(ahead)
    assert all(torch.equal(one[name], other[name]) for name in one)
    fails(capsys, "but Learned(vocabulary=512", "train", "digits", "--data", str(out), "--out", str(tmp_path / "x"), "--steps",
          "1", "--set", *TINY, "text.encoder={name: learned}", *WORDS[1:])  # fmt: skip
