"""What is trained beside denoisers: classifiers of noisy images, and autoencoders with their adversaries."""

import pytest
import torch
from conftest import line_mixture

import fromnoise as fn
from fromnoise.data.images import InMemory
from fromnoise.guidance import NoisyClassifier
from fromnoise.system.hardware import Hardware
from fromnoise.train import Autoencoding, Classifying, Pair, TrainConfig, Trainer

CPU = Hardware(torch.device("cpu"), torch.float32, "test")
SCHEDULE = fn.schedules.Cosine(T=100)


class OnTheLine(torch.nn.Module):
    """x [N, 1, 1, 1], time -> logits of two classes, by a small perceptron."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(2, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(), torch.nn.Linear(64, 2)
        )

    def forward(self, x, time):
        return self.body(torch.stack([x.flatten(), time / 1000], 1))


def test_the_classifier_learns_the_exact_probabilities():
    """p(y | x_t) of a mixture in closed form, at three levels."""
    torch.manual_seed(0)
    truth, chosen = line_mixture(), torch.Generator().manual_seed(0)
    n = 4096
    k = torch.multinomial(truth.log_weights.exp(), n, replacement=True, generator=chosen)
    x0 = truth.means[k] + truth.covariances[k, 0].sqrt() * torch.randn(n, 1, generator=chosen, dtype=torch.float64)
    label = (k == 2).long()  # class 0: the first two components
    classifier = NoisyClassifier(OnTheLine(), SCHEDULE, (1, 1, 1), ("a", "b"))
    task = Classifying(classifier, seed=0)
    adam = torch.optim.Adam(classifier.parameters(), 5e-3)
    x0 = x0.float().view(-1, 1, 1, 1)
    for step in range(1, 301):
        rows = torch.arange(step * 512, (step + 1) * 512) % n
        drawn = task.draw((1, 1, 1), {"label": label[rows]}, range(512), step, 512)
        loss = task.losses(x0[rows], drawn)["loss"].mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    x = torch.linspace(-1.5, 1.5, 13)
    for time in (20, 50, 80):
        t = SCHEDULE.level(time)
        expected = torch.exp(truth.log_class(x.double()[:, None], t, (0, 1))).float()
        with torch.no_grad():
            got = classifier(x.view(-1, 1, 1, 1), t).exp()[:, 0]
        assert (got - expected).abs().max() < 0.12
        assert (got - expected).abs().mean() < 0.04


def data(n=12, classes=True):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return InMemory("toy", pixels, torch.arange(n) % 2 if classes else None, ("a", "b") if classes else ())


def classifying():
    torch.manual_seed(0)
    network = fn.nn.HalfUNet(outputs=2, in_channels=1, channels=8, mult=(1, 2), blocks=1, groups=4)
    return Classifying(NoisyClassifier(network, SCHEDULE, (1, 8, 8), ("a", "b")), seed=3)


def autoencoding(kind="kl-autoencoder", adversary=True):
    torch.manual_seed(0)
    network = fn.nn.build({"name": kind, "in_channels": 1, "channels": 8, "mult": (1, 2), "blocks": 1, "groups": 4})
    judge = fn.nn.PatchDiscriminator(in_channels=1, channels=8, layers=1, groups=4) if adversary else None
    return Autoencoding(Pair(network, judge), 3, network.latent_shape((1, 8, 8)), 1e-2, 0.1, after=2)


TASKS = {"classifier": classifying, "kl": autoencoding, "vq": lambda: autoencoding("vq-autoencoder", False)}


@pytest.mark.parametrize("name", TASKS)
def test_it_resumes_bit_for_bit(name, tmp_path):
    def trainer(folder, steps):
        config = TrainConfig(steps=steps, batch_size=4, lr=1e-3, checkpoint_every=3, ema=0.9)
        return Trainer(TASKS[name](), data(), config, seed=3, folder=folder, hardware=CPU, flip=True)

    whole, first = trainer(tmp_path / "whole", 7), trainer(tmp_path / "cut", 3)
    whole.run()
    first.run()
    second = trainer(tmp_path / "cut", 7)
    assert second.resume()
    second.run()
    for key, value in whole.task.tensors()["model"].items():
        assert torch.equal(value, second.task.tensors()["model"][key]), key
    lines = [(tmp_path / where / "metrics.jsonl").read_text().splitlines() for where in ("whole", "cut")]
    assert len(lines[0]) == len(lines[1]) == 7
    assert ('"accuracy"' if name == "classifier" else '"error"') in lines[0][-1]


@pytest.mark.parametrize("name", TASKS)
def test_accumulating_changes_nothing(name, tmp_path):
    found = []
    for parts in (1, 2):
        task = TASKS[name]()
        config = TrainConfig(steps=2, batch_size=4, lr=1e-3, accumulate=parts, checkpoint_every=10)
        # Plain descent: Adam would blow up the rounding of gradients that are zero, such as those of attention's key bias.
        plain = torch.optim.SGD(task.weights().values(), 0.1)
        Trainer(task, data(), config, seed=3, folder=tmp_path / str(parts), hardware=CPU, own_optimizer=plain).run()
        found.append(task.tensors()["model"])
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-3, atol=2e-5, msg=key)


def test_images_without_a_class_have_no_classifier():
    with pytest.raises(fn.FromNoiseError, match="an image has no class"):
        classifying().draw((1, 8, 8), {"label": torch.tensor([0, -1])}, range(2), 1, 2)


def test_each_of_the_pair_has_its_own_gradient():
    """The adversary's is that of the hinge loss, the autoencoder's that of the error and of fooling the adversary."""
    task = autoencoding()
    pair, x = task.network, torch.rand(4, 1, 8, 8) * 2 - 1
    torch.nn.init.normal_(pair.discriminator.body[-1].weight)
    drawn = task.draw((1, 8, 8), {}, range(4), 5, 4)
    task.losses(x, drawn)["loss"].mean().backward()
    got = {name: p.grad.clone() for name, p in pair.named_parameters()}
    pair.zero_grad()
    again, penalty = pair.autoencoder(x, drawn["eps"])
    judge = pair.discriminator
    (torch.relu(1 - judge(x)).mean() + torch.relu(1 + judge(again.detach())).mean()).backward()
    for name, p in judge.named_parameters():
        torch.testing.assert_close(got[f"discriminator.{name}"], p.grad)
    pair.zero_grad()
    ((again - x).abs().mean() + 1e-2 * penalty.mean() - 0.1 * judge(again).mean()).backward()
    for name, p in pair.autoencoder.named_parameters():
        torch.testing.assert_close(got[f"autoencoder.{name}"], p.grad)


def test_the_adversary_counts_only_after_its_steps():
    for step, counts in ((2, False), (3, True)):
        task, x = autoencoding(), torch.rand(2, 1, 8, 8)
        torch.nn.init.normal_(task.network.discriminator.body[-1].weight)
        drawn = task.draw((1, 8, 8), {}, range(2), step, 2)
        terms = {name: value.mean().item() for name, value in task.losses(x, drawn).items()}
        loss = torch.tensor(terms["loss"])
        plain = terms["error"] + 1e-2 * terms["penalty"] + terms["judge"]
        assert loss.item() == pytest.approx(plain + (0.1 * terms["fool"] if counts else 0), rel=1e-5)
        assert abs(terms["fool"]) > 1e-3


@pytest.fixture
def vgg(monkeypatch):
    """LPIPS on a VGG of random weights, which nobody needs to download."""
    lpips = pytest.importorskip("lpips", reason="the extra perceptual is not installed")
    from fromnoise.train import perceptual

    perceptual._network.cache_clear()
    made = lpips.LPIPS
    monkeypatch.setattr(lpips, "LPIPS", lambda net, verbose: made(net=net, verbose=verbose, pnet_rand=True))
    yield perceptual
    perceptual._network.cache_clear()


def test_the_perceptual_term_counts_and_trains_nothing_of_its_own(vgg):
    x = torch.rand(3, 1, 16, 16) * 2 - 1
    far = vgg.perceptual(x, -x)
    assert far.shape == (3,)
    assert bool((far > 0).all())
    torch.testing.assert_close(vgg.perceptual(x, x), torch.zeros(3))
    torch.testing.assert_close(vgg.perceptual(x[:1], -x[:1]), far[:1], rtol=1e-3, atol=1e-5)
    task = autoencoding(adversary=False)
    task.shape = (4, 8, 8)
    task.perceptual = 2.0
    values = task.losses(x, task.draw((1, 16, 16), {}, range(3), 1, 3))
    loss, terms = values["loss"].mean(), {name: value.mean().item() for name, value in values.items()}
    assert loss.item() == pytest.approx(terms["error"] + 1e-2 * terms["penalty"] + 2 * terms["perceptual"], rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in task.network.autoencoder.decoder.parameters())
    assert not any(p.requires_grad for p in vgg._network(x.device).parameters())
    assert not any("lin" in name or "slice" in name for name in task.tensors()["model"])


def test_vgg_that_cannot_be_downloaded_is_one_line(monkeypatch):
    lpips = pytest.importorskip("lpips", reason="the extra perceptual is not installed")
    from fromnoise.train import perceptual

    def offline(**options):
        raise OSError("no route to host")

    perceptual._network.cache_clear()
    monkeypatch.setattr(lpips, "LPIPS", offline)
    with pytest.raises(fn.FromNoiseError, match="could not be downloaded .no route to host.: put vgg16"):
        perceptual.perceptual(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
