"""Classes: what the network is told while training, and what it then draws."""

import pytest
import torch
from train.test_trainer import trainer

import fromnoise as fn
from fromnoise.data.images import InMemory
from fromnoise.guidance import ClassifierFree, Clip, steer
from fromnoise.train.conditions import Conditioning


def two_shades(n=32, size=8):
    """Class 0 is dark, class 1 is light."""
    labels = torch.arange(n) % 2
    pixels = (40 + 170 * labels)[:, None, None, None].expand(n, 1, size, size).to(torch.uint8)
    return InMemory("shades", pixels.contiguous(), labels, ["dark", "light"])


def denoiser(classes=2, null_label=True):
    torch.manual_seed(0)
    net = fn.nn.UNet(in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4, attention=(), classes=classes, null_label=null_label)  # fmt: skip
    return fn.Denoiser(net, fn.schedules.Cosine(T=50), "v", "fixed_small", (1, 8, 8))


def test_the_share_of_hidden_labels_and_that_they_are_counted():
    known = denoiser(classes=5)
    images = InMemory("five", torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.arange(5), list("abcde"))
    labels = Conditioning(known, images, 0.25, seed=3)
    given = torch.arange(64) % 5
    told = torch.stack([labels.of({"label": given}, range(64), step)["label"] for step in range(1, 101)])
    hidden = told == known.null_label
    n = hidden.numel()
    assert abs(hidden.double().mean() - 0.25) < 4 * (0.25 * 0.75 / n) ** 0.5
    assert torch.equal(told[~hidden], given.expand(100, 64)[~hidden])
    # A share of the batch is told what the whole batch is: micro-batches and processes change nothing.
    assert torch.equal(labels.of({"label": given[10:30]}, range(10, 30), 7)["label"], told[6, 10:30])
    assert len({tuple(row.tolist()) for row in hidden}) == 100  # every step draws anew
    assert not (
        Conditioning(known, images, 0.0, 3).of({"label": given}, range(64), 1)["label"] == known.null_label
    ).any()


def test_an_image_without_a_class_has_the_null_label_or_is_refused():
    images = two_shades()
    given = torch.tensor([-1, 1])
    assert Conditioning(denoiser(classes=2), images, 0.0, 0).of({"label": given}, range(2), 1)["label"].tolist() == [
        2,
        1,
    ]
    with pytest.raises(fn.FromNoiseError, match="an example has no class"):
        Conditioning(denoiser(null_label=False), images, 0.0, 0).of({"label": given}, range(2), 1)


@pytest.mark.parametrize(
    ("model", "classes", "dropout", "says"),
    [
        (denoiser(classes=3), ["a", "b"], 0.0, "has 3 classes, but toy has 2 classes"),
        (denoiser(classes=3), [], 0.0, "toy has no classes: put each class into its own subfolder"),
        (denoiser(null_label=False), ["a", "b"], 0.1, "has no null label"),
        (denoiser(classes=None, null_label=False), ["a", "b"], 0.1, "takes none"),
    ],
)
def test_labels_that_do_not_fit_are_refused(model, classes, dropout, says):
    images = InMemory("toy", torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), classes)
    with pytest.raises(fn.FromNoiseError, match=says):
        Conditioning(model, images, dropout, 0)


def test_a_trained_model_draws_the_class_that_it_is_asked_for(tmp_path):
    made = trainer(tmp_path, steps=80, data=two_shades(), denoiser=denoiser(), batch_size=16, label_dropout=0.2, checkpoint_every=1000, flip=False)  # fmt: skip
    made.run()
    with made.trained.ema.applied():
        for scale in (1.0, 2.0):
            model = steer(made.task.denoiser, scale, clip=True)
            mean = fn.sample(model, 8, "ddim", 10).flatten(1).mean(1)  # no condition: the classes in turn
            assert (mean[0::2] < -0.4).all(), mean
            assert (mean[1::2] > 0.4).all(), mean
        light = fn.sample(made.task.denoiser, 4, "ddim", 10, cond={"label": torch.ones(4, dtype=torch.long)})
        assert (light.flatten(1).mean(1) > 0.4).all()


def test_classes_in_turn_do_not_depend_on_the_batch():
    model = denoiser()
    torch.nn.init.normal_(model.network.out.weight, std=0.1)
    whole = fn.sample(model, 7, "ddim", 3, batch_size=7)
    torch.testing.assert_close(fn.sample(model, 7, "ddim", 3, batch_size=2), whole, rtol=0, atol=1e-4)
    torch.testing.assert_close(fn.sample(model, 4, "ddim", 3, first=3), whole[3:], rtol=0, atol=1e-4)
    assert model.default_cond(range(3, 7))["label"].tolist() == [1, 0, 1, 0]


def test_no_label_is_the_null_label():
    model = denoiser()
    torch.nn.init.normal_(model.network.out.weight, std=0.1)
    torch.nn.init.normal_(model.network.label.weight)
    torch.nn.init.normal_(model.network.down[0].blocks[0].conv2.weight, std=0.3)
    x, level = torch.randn(3, 1, 8, 8), model.schedule.level(20)
    plain = model(x, level).output
    assert torch.equal(plain, model(x, level, {"label": torch.full((3,), 2)}).output)
    assert not torch.allclose(plain, model(x, level, {"label": torch.full((3,), 1)}).output)


def test_steering_wraps_in_the_order_of_the_references_and_only_where_asked():
    model = denoiser()
    assert steer(model) is model
    both = steer(model, 2.0, clip=True)
    assert isinstance(both, Clip)
    assert isinstance(both.inner, ClassifierFree)
    assert both.inner.scale == 2.0
    assert both.classes == 2
    with pytest.raises(fn.FromNoiseError, match="guidance 2 needs a model .* always given its label"):
        steer(denoiser(null_label=False), 2.0)
    with pytest.raises(fn.FromNoiseError, match="this one knows no labels"):
        steer(denoiser(classes=None, null_label=False), 0.5)


def test_the_recipe_makes_the_null_label_that_its_dropout_needs():
    recipe = fn.recipes.load("digits")
    assert recipe.build().null_label == 10
    plain = recipe.with_changes({"train.label_dropout": 0.0})
    assert plain.build().null_label is None


def test_labels_are_left_aside_behind_the_wrapper_of_several_processes():
    """A network without classes takes none, and what stands for it while it is trained has no attributes of its own."""

    class Wrapped(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, *given, **told):
            return self.module(*given, **told)

    model = denoiser(classes=None, null_label=False)
    conditioning = Conditioning(model, two_shades())
    model.network = Wrapped(model.network)
    assert conditioning.of({"label": torch.tensor([0, 1])}, range(2), 1) == {}
