"""Augmentation in training: counted, resumed exactly, told to the network, never seen in validation or in samples."""

import json

import pytest
import torch
from torch import nn
from train.test_trainer import assert_same, images

import fromnoise as fn
from fromnoise.app.cli import main
from fromnoise.augmentations.low_res import LowResolution
from fromnoise.data.augment import Augment
from fromnoise.data.images import InMemory
from fromnoise.recipes.classifier import for_model
from fromnoise.system.disk import storage
from fromnoise.train import Conditioning, Diffusion

QUIET = {"progress": False, "precision": "fp32"}
SMALL = {"in_channels": 1, "channels": 8, "mult": (1, 2), "blocks": 1, "groups": 4, "attention": ()}


def unet(**options):
    torch.manual_seed(0)
    return fn.nn.UNet(**SMALL, augment=True, **options)


def denoiser(network=None, **options):
    return fn.Denoiser(network or unet(), fn.schedules.Cosine(T=50), "v", shape=(1, 8, 8), **options)


def fitted(out=None, steps=6, model=None, **options):
    return fn.fit(model or denoiser(unet(dropout=0.1)), images(), steps=steps, batch_size=8, lr=1e-2, ema=0.9, out=out,
                  **{"augment": 0.5, "checkpoint_every": 2, "resume": out is not None, **options}, **QUIET)  # fmt: skip


class Own(nn.Module):
    """A network of the user's own: two layers, and what they are told."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Linear(16 + 2 + 9, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 16)
        )

    def forward(self, x, time, augment=None):
        told = torch.zeros(len(x), 9) if augment is None else augment
        angle = time[:, None] / 1000 * 1.57
        return self.body(torch.cat([x.flatten(1), angle.sin(), angle.cos(), told], 1)).view_as(x)


class Objective(fn.objectives.Simple):
    """Remembers what it was given."""

    def __call__(self, denoiser, x0, t, noise, cond=None, chain=None):
        SEEN.append((x0, cond))
        return super().__call__(denoiser, x0, t, noise, cond, chain)


SEEN = []


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_is_exact(tmp_path, accumulate):
    whole = fitted(tmp_path / "whole", accumulate=accumulate, flip=True, validation=0.2).model
    for k in (1, 3):
        fitted(tmp_path / str(k), steps=k, accumulate=accumulate, flip=True, validation=0.2)
        again = fitted(tmp_path / str(k), accumulate=accumulate, flip=True, validation=0.2).model
        assert_same(tmp_path / "whole", tmp_path / str(k))
        for a, b in zip(whole.parameters(), again.parameters(), strict=True):
            assert torch.equal(a, b)
    assert whole.network.augment.weight.any()
    plain = fitted(model=denoiser(unet(dropout=0.1)), augment=0.0, flip=True).model
    assert not torch.equal(plain.network.out.weight, whole.network.out.weight)


def test_a_step_shows_transformed_images_with_their_numbers_whatever_the_parts():
    x0, augment = images(8).pixels / 127.5 - 1, Augment(0.6)
    expected, numbers = augment(x0, augment.draw(4, range(8), 3))
    for parts in (1, 2):
        task = Diffusion(denoiser(), Objective(), seed=4, augment=augment)
        SEEN.clear()
        size = 8 // parts
        for start in range(0, 8, size):
            places = range(start, start + size)
            task.losses(x0[start : start + size], task.draw((1, 8, 8), {}, places, 3, 8))
        torch.testing.assert_close(torch.cat([x for x, _ in SEEN]), expected, rtol=0, atol=1e-6)
        assert torch.equal(torch.cat([cond["augment"] for _, cond in SEEN]), numbers)


def test_held_out_images_stay_as_they_are():
    task = Diffusion(denoiser(), Objective(), augment=Augment(1.0))
    SEEN.clear()
    x0 = images(4).pixels / 127.5 - 1
    task.losses(x0, task.draw((1, 8, 8), {}, range(4), 0, 4))
    assert torch.equal(SEEN[0][0], x0)
    assert SEEN[0][1] is None
    SEEN.clear()
    fitted(steps=1, objective=Objective(), augment=1.0, validation=0.3)
    assert [cond is not None for _, cond in SEEN] == [True, False]


def test_a_model_that_enlarges_is_shown_the_small_image_of_the_transformed_one():
    low = LowResolution(2, fn.augmentations.build("none"))
    task = Diffusion(denoiser(unet(image_channels=1), low=low), Objective(), augment=Augment(1.0))
    SEEN.clear()
    x0 = images(4).pixels / 127.5 - 1
    task.losses(x0, task.draw((1, 8, 8), {}, range(4), 1, 4))
    shown, cond = SEEN[0]
    assert not torch.allclose(shown, x0, atol=0.1)
    torch.testing.assert_close(cond["image"], low.enlarged(low.shrunk(shown), torch.zeros(4))["image"])


def test_a_network_of_ones_own_learns_the_image_and_not_its_transforms():
    """One image of a dark and a light half, seen mirrored, turned and shifted. Samples are the image; told that it was
    mirrored, they are the mirror image."""
    torch.manual_seed(1)
    x = (
        torch.tensor([-0.8, -0.8, 0.8, 0.8]).expand(1, 1, 4, 4) + torch.tensor([0.2, 0.1, 0.0, -0.2]).view(4, 1)
    ).repeat(32, 1, 1, 1)
    model = fn.Denoiser(Own(), fn.schedules.Cosine(T=100), "x0", shape=(1, 4, 4))
    fn.fit(model, x, steps=700, batch_size=32, lr=2e-3, ema=0.98, augment=0.4, **QUIET)
    drawn = fn.sample(model, 32, "ddim", 20)
    assert (drawn - x[:32]).abs().mean() < 0.1
    mirrored = torch.zeros(32, 9)
    mirrored[:, 0] = 1
    drawn = fn.sample(model, 32, "ddim", 20, cond={"augment": mirrored})
    assert (drawn - x[:32].flip(3)).abs().mean() < 0.2
    assert (drawn - x[:32]).abs().mean() > 1


def test_it_is_saved_and_loaded(tmp_path):
    model = fitted(tmp_path / "run").model
    fn.save(model, tmp_path / "model")
    for folder in ("model", "run"):
        loaded = fn.load(tmp_path / folder)
        assert loaded.network.augment is not None
        torch.testing.assert_close(fn.sample(loaded, 2, "ddim", 3), fn.sample(model, 2, "ddim", 3))


def test_a_run_that_was_begun_before_the_option_goes_on(tmp_path, monkeypatch):
    """Its description does not know of it; with the option it would be another network."""
    torch.manual_seed(0)
    plain = fn.nn.UNet(**SMALL)
    fitted(tmp_path / "run", steps=2, model=denoiser(plain), augment=0.0)
    read = storage.read_text

    def before(folder, stem):
        found = read(folder, stem)
        if stem == "denoiser":
            del found["network"]["augment"]
        return found

    monkeypatch.setattr(storage, "read_text", before)
    assert fitted(tmp_path / "run", steps=3, model=denoiser(plain), augment=0.0).progress.step == 3
    with pytest.raises(fn.FromNoiseError, match="is of another network"):
        fitted(tmp_path / "run", steps=4)


class Needing(Own):
    def forward(self, x, time, augment):
        return super().forward(x, time, augment)


class Deaf(Own):
    def forward(self, x, time):
        return super().forward(x, time)


class Codec(fn.denoise.Codec):
    def encode(self, x):
        return x

    def decode(self, z):
        return z

    def image_shape(self, shape):
        return shape


MISTAKES = {
    "a word": (denoiser, "often", r"augment must be a probability in \[0, 1\], 0 for none, got 'often'"),
    "too much": (denoiser, 1.5, r"augment must be a probability in \[0, 1\], 0 for none, got 1\.5"),
    "unet without": (lambda: denoiser(fn.nn.UNet(**SMALL)), 0.1, r"augment: the network is not conditioned .* augment=True"),
    "deaf": (lambda: denoiser(Deaf()), 0.1, r"augment: the network is not conditioned .* an argument augment=None, \[B, 9\]"),
    "needing": (lambda: denoiser(Needing()), 0.1, r"augment: sampling uses no augmentation: .*augment=None"),
    "latents": (lambda: denoiser(codec=Codec()), 0.1, "augment: transforms images, but this is a latent model"),
    "a task": (lambda: Diffusion(denoiser(), fn.objectives.Simple()), 0.1, "augment: is for a Denoiser, but model is a Task"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_augmented_is_one_line(name):
    model, p, says = MISTAKES[name]
    with pytest.raises(fn.FromNoiseError, match=says) as error:
        fn.fit(model(), torch.zeros(4, 1, 8, 8), steps=1, batch_size=2, augment=p, **QUIET)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(2,), (1, 8), (1, 4, 4, 4)])
def test_what_is_no_image_is_refused(shape):
    model = fn.Denoiser(Own(), fn.schedules.Cosine(T=50), "v")
    batches = [torch.zeros(2, *shape)] * 2
    for data in (torch.zeros(4, *shape), DataOnce(batches)):
        with pytest.raises(fn.FromNoiseError, match=r"augment: transforms images \(C, H, W\), but these examples are"):
            fn.fit(model, data, steps=1, batch_size=2, augment=0.1, **QUIET)
        model.shape = None


class DataOnce:
    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def test_a_condition_of_that_name_is_refused_only_where_both_are_asked_for():
    data = (torch.zeros(4, 1, 4, 4), {"augment": torch.zeros(4, 9)})
    model = fn.Denoiser(Own(), fn.schedules.Cosine(T=50), "v", shape=(1, 4, 4))
    fn.fit(model, data, steps=1, batch_size=2, **QUIET)
    with pytest.raises(fn.FromNoiseError, match="augment: data has a condition of the same name"):
        fn.fit(model, data, steps=1, batch_size=2, augment=0.1, **QUIET)


def test_the_recipe_makes_a_network_that_can_be_told():
    recipe = fn.recipes.load("digits")
    assert recipe.build((1, 28, 28)).network.augment is None
    augmented = recipe.with_changes({"data.augment": 0.12})
    assert augmented.build((1, 28, 28)).network.augment.weight.shape[1] == 9
    source = InMemory("toy", torch.zeros(10, 1, 28, 28, dtype=torch.uint8), torch.arange(10), list("0123456789"))
    assert augmented.task(source).augment == Augment(0.12)
    assert recipe.task(source).augment is None
    assert (
        fn.recipes.load("digits-dit").with_changes({"data.augment": 0.12}).build((1, 28, 28)).network.augment
        is not None
    )
    assert type(recipe).checked(augmented.model_dump(mode="json")) == augmented
    assert for_model(augmented).data == recipe.data  # a classifier is not told
    with pytest.raises(
        fn.FromNoiseError, match=r"data\.augment: network mlp does not take the parameters .*: take unet or dit"
    ):
        augmented.with_changes({"network": {"name": "mlp"}, "train.label_dropout": 0.0}).build((1, 28, 28))
    with pytest.raises(
        fn.FromNoiseError, match=r"data\.augment: is for .* and this is a model trained on latents: leave it at 0"
    ):
        fn.recipes.load("digits-latent").with_changes({"data.augment": 0.12})
    with pytest.raises(fn.FromNoiseError, match=r"data\.augment: is for .* and this is an autoencoder: leave it at 0"):
        fn.recipes.load("digits-kl").with_changes({"data.augment": 0.12})
    with pytest.raises(fn.FromNoiseError, match=r"data\.augment: input should be less than or equal to 1"):
        recipe.with_changes({"data.augment": 12})
    cascade = fn.recipes.load("digits-cascade").with_changes({"data.augment": 0.12})
    for name in cascade.stages:
        assert cascade.stage(name).data.augment == 0.12


def test_the_command_trains_goes_on_and_samples(tmp_path, capsys):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for i, image in enumerate(images().pixels):
        Image.fromarray(image[0].numpy()).save(tmp_path / "images" / f"{i:02}.png")
    out = str(tmp_path / "run")
    tiny = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]", "train.batch_size=4",
            "data.size=8", "train.checkpoint_every=2", "network.mid_attention=false", "network.mult=[1,2]"]  # fmt: skip

    def train(*more, steps="2"):
        return main(["train", "images", "--data", str(tmp_path / "images"), "--out", out, "--steps", steps, *more])

    assert train("--set", "data.augment=0.5", *tiny) == 0
    assert "augment: 0.5" in (tmp_path / "run" / "config.yaml").read_text()
    assert train("--resume", steps="3") == 0
    assert train("--resume", "--set", "data.augment=0.2", steps="4") != 0
    assert "was started with data.augment 0.5, and 0.2 would make it another run" in capsys.readouterr().err
    assert main(["sample", out, "--n", "2", "--steps", "2", "--out", str(tmp_path / "two.png")]) == 0
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()] == [
        1,
        2,
        3,
    ]


def test_labels_and_augmentation_stand_side_by_side():
    """With hidden labels, which are drawn from a stream of their own."""
    source = InMemory("two", images(8).pixels, torch.arange(8) % 2, ["a", "b"])
    model = denoiser(unet(classes=2, null_label=True))
    told, plain = (
        Diffusion(model, fn.objectives.Simple(), Conditioning(model, source, 0.5, 3), 3, augment=augment).draw(
            (1, 8, 8), source.examples(range(8))[1], range(8), 1, 8
        )
        for augment in (Augment(0.5), None)
    )
    assert told.keys() - plain.keys() == {"augment_by"}
    assert all(torch.equal(told[name], plain[name]) for name in plain)
