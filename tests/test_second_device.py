"""Everything on a device of its own, as on a GPU: nothing is left behind on the CPU, and hardly a number is read.

The device is pretended (`pretended_gpu`), so that these tests run anywhere. Where there is a real GPU, whose kernels are
its own, what is computed there is compared with the CPU too; what is read is counted on the pretended one alone.
"""

from functools import partial

import pytest
import torch
from conftest import plane_mixture, student_for
from pretended_gpu import GPU, pretended_gpu

import fromnoise as fn
from fromnoise import editing
from fromnoise.augmentations.low_res import LowResolution
from fromnoise.compose import cascade
from fromnoise.compose.autoencoded import Autoencoded
from fromnoise.compose.cascade import Stage
from fromnoise.data.augment import Augment
from fromnoise.data.images import InMemory
from fromnoise.guidance import NoisyClassifier
from fromnoise.system.hardware import Hardware, exact_float32
from fromnoise.train import Autoencoding, Classifying, Conditioning, Diffusion, Pair, TrainConfig, Trainer

CPU = torch.device("cpu")
LABELS = {"label": torch.tensor([0, 1, 2])}
PIXELS = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
X0 = PIXELS / 127.5 - 1
SMALL = {"in_channels": 1, "channels": 8, "mult": (1, 2), "blocks": 1, "groups": 4}


def filled(network):
    """With random weights: a fresh network ends in zeros, and would give the same wherever it is."""
    generator = torch.Generator().manual_seed(0)
    for p in network.parameters():
        p.data = torch.randn(p.shape, generator=generator) / 10
    return network


def model(device, kind="v", schedule="cosine", variance="fixed_small", **options):
    outputs = fn.variances.build(variance).outputs
    network = fn.nn.UNet(**SMALL, out_channels=outputs, attention=(2,), classes=3, null_label=True)
    denoiser = fn.Denoiser(filled(network), schedule, kind, variance, shape=(1, 8, 8), **options)
    Hardware(device, torch.float32, "test").prepare(denoiser.network, inference=False)
    return denoiser.eval()


class Pretended:
    """The device that any machine has."""

    def __call__(self, compute, atol=2e-4, reads=None, overall=None):
        """compute(device) there and here agree, within what two kernels of one layer differ by; reads: what was read."""
        with pretended_gpu() as traffic:
            there, found = compute(GPU), list(traffic.reads)
            assert there.device == GPU
            torch.testing.assert_close(there.cpu(), compute(CPU), rtol=2e-3, atol=atol)
        assert reads is None or found == reads


class Here:
    """The CPU, for what the device that is pretended cannot do: it runs, and its gradients are numbers."""

    def __call__(self, compute, atol=2e-4, reads=None, overall=None):
        assert compute(CPU).isfinite().all()


class Real:
    """A GPU, with float32 as exact as the CPU's."""

    device = torch.device("cuda", 0)

    def __call__(self, compute, atol=2e-4, reads=None, overall=None):
        """overall: of |there - here| / |here|, where single numbers may differ: AdamW's first steps have a gradient's
        sign, and that of a gradient near zero is rounding.
        """
        with exact_float32():
            there = compute(self.device)
        assert there.device == self.device
        here = compute(CPU)
        if overall is None:
            torch.testing.assert_close(there.cpu(), here, rtol=2e-3, atol=atol)
        else:
            assert (there.cpu() - here).norm() < overall * here.norm()


@pytest.fixture(
    params=[Pretended, *([Real] if torch.cuda.is_available() else [])], ids=lambda kind: kind.__name__.lower()
)
def both(request):
    """both(compute): there and here the same, on every second device that this machine has."""
    return request.param()


def test_the_pretended_device_is_as_strict_as_a_real_one():
    with pretended_gpu() as traffic:
        x = torch.ones(2, 3).to(GPU)
        assert traffic.uploads == [(2, 3)]
        for mixes in (
            lambda: x + torch.ones(2, 3),
            lambda: torch.cat([x, torch.ones(2, 3)]),
            lambda: x.add_(torch.ones(3)),
            lambda: torch.nn.functional.linear(torch.ones(1, 3), x),
            lambda: torch.where(torch.tensor(True), x, x),
            lambda: x.numpy(),
        ):
            with pytest.raises((RuntimeError, TypeError), match="CPU"):
                mixes()
        y = (x * torch.tensor(2.0) + 1).requires_grad_()
        (y.square().sum() + torch.ones(()).to(GPU)).backward()
        assert traffic.reads == []
        assert bool((y.grad == 6).all())
        assert x.sum().item() == 6
        assert x.tolist() == [[1.0] * 3] * 2
        assert torch.equal(x.cpu(), torch.ones(2, 3))
        assert len(x[x > 0]) == 6
        assert traffic.reads == ["_local_scalar_dense", "_local_scalar_dense", "tolist", "_to_copy", "index"]
    with pytest.raises(RuntimeError):
        torch.ones(2).to(GPU).tolist()


@pytest.mark.parametrize("name", fn.samplers.names())
def test_samplers(name, both):
    """One read a batch, whether all was finite; a solver with steps of its own choosing reads to choose them."""
    sampler = fn.samplers.build({"name": name, **({"rtol": 1e-2, "atol": 1e-2} if name == "ode" else {})})
    reads = None if sampler.nfe(5) is None else ["_local_scalar_dense"]
    both(lambda device: fn.sample(student_for(sampler, model(device)), 3, sampler, steps=5, cond=LABELS), reads=reads)


@pytest.mark.parametrize("name", ["ddim", "unipc", "dpm-solver"])
def test_a_sampling_step_uploads_its_time_alone(name):
    """Coefficients go with the operations; noise and labels once a batch."""
    with pretended_gpu() as traffic:
        denoiser = model(GPU)
        traffic.uploads.clear()
        fn.sample(denoiser, 3, name, steps=5, cond=LABELS)
        assert traffic.uploads == [(3,), (3, 1, 8, 8), *[()] * 5]


@pytest.mark.parametrize("kind", fn.parameterizations.names())
@pytest.mark.parametrize("variance", fn.variances.names())
def test_what_the_output_means(kind, variance, both):
    both(lambda device: fn.sample(model(device, kind, "linear", variance), 3, "ancestral", steps=3))


@pytest.mark.parametrize("name", sorted(set(fn.schedules.names()) - {"chain"}))  # which has no levels of its own
def test_schedules(name, both):
    both(lambda device: fn.sample(model(device, "v", name), 3, "ancestral", steps=3))


@pytest.mark.parametrize("name", fn.objectives.names())
def test_objectives(name, both):
    """The loss and its gradient, without one read."""
    objective = fn.objectives.build(name)
    draws = (objective.draws,) if objective.draws > 1 else ()
    x0, eps = X0[..., :4, :4], torch.randn(3, *draws, 1, 4, 4, generator=torch.Generator().manual_seed(1))

    def slope(device):
        denoiser = model(device, "eps", "linear", "learned_range" if name in ("hybrid", "vlb") else "fixed_small")
        t = denoiser.schedule.level(torch.tensor([1.0, 40.0, 900.0]))
        objective(denoiser, x0.to(device), t, eps.to(device))["loss"].mean().backward()
        return torch.cat([p.grad.flatten() for p in denoiser.network.parameters() if p.grad is not None])

    both(slope, reads=None if name == "two-draw" else [])  # which chooses the examples whose step is not the last


@pytest.mark.parametrize("name", fn.distill.names())
def test_distillation(name, both):
    """The loss of a student on that device and its gradient, the teacher being brought there."""
    if name == "mean-flow" and isinstance(both, Pretended):
        both = Here()  # of the zeros that torch makes for forward derivatives no pretended device can be told

    def slope(device):
        teacher = model(CPU)
        made = fn.distill.build({"name": name}, teacher=teacher)
        student = made.student_of(teacher)
        filled(student.network)
        Hardware(device, torch.float32, "test").prepare(student.network, inference=False)
        t, _ = made.times.draw(torch.tensor([0.1, 0.5, 0.9]).double(), student.schedule)
        x0, eps = X0.to(device), torch.randn(X0.shape, generator=torch.Generator().manual_seed(1)).to(device)
        cond = {"label": LABELS["label"].to(device)}
        u = torch.full((3, made.uniforms), 0.4, dtype=torch.float64)
        made(student, x0, t, eps, cond, u=u)["loss"].mean().backward()
        return torch.cat([p.grad.flatten() for p in student.network.parameters() if p.grad is not None])

    both(slope, atol=2e-3)


GUIDED = {
    "classifier-free": {"scale": 2.0},
    "rescaled": {"scale": 2.0, "rescale": 0.7},
    "interval": {"scale": 2.0, "interval": (0.1, 2.0)},
    "clipped": {"clip": True},
}


@pytest.mark.parametrize("name", [*GUIDED, "auto", "classifier"])
def test_guidance(name, both):
    def drawn(device):
        options = dict(GUIDED.get(name, {}))
        if name == "auto":
            options = {"scale": 2.0, "weaker": model(device, "v")}
        elif name == "classifier":
            network = filled(fn.nn.HalfUNet(outputs=3, **SMALL)).to(device)
            classifier = NoisyClassifier(network, fn.schedules.Cosine(), (1, 8, 8), ())
            options = {"classifier": classifier.eval(), "classifier_scale": 2.0}
        return fn.sample(fn.guidance.steer(model(device), **options), 3, "ddim", steps=4, cond=LABELS)

    both(drawn, reads=["_local_scalar_dense"])


def test_likelihoods(both):
    def bound(device):
        return fn.likelihood.vlb(model(device, "eps", fn.schedules.Linear(T=4)), X0).total.to(device)

    def flow(device):
        denoiser = model(device, "eps", fn.schedules.Linear(T=50))
        return fn.likelihood.ode(denoiser, X0, rtol=1e-2, atol=1e-2).total.float().to(device)

    both(bound)
    both(flow)


def test_editing(both):
    def there_and_back(device):
        denoiser = model(device, "v")
        return editing.decode(denoiser, editing.encode(denoiser, X0, rtol=1e-2, atol=1e-2), rtol=1e-2, atol=1e-2)

    both(there_and_back)

    def between(device):
        """In float64: there and back again float32's rounding grows, by more on some machines than on others."""
        denoiser = model(device, "v")
        denoiser.network.double()
        denoiser.state_dtype = torch.float64
        return editing.interpolate(denoiser, X0[0], X0[1], 3)

    both(between, atol=1e-9)
    both(lambda device: fn.sample(editing.Upscale(model(device), X0[0, :, ::4, ::4]), 3, "ddim", steps=3))
    both(lambda device: editing.image_to_image(model(device), X0, 0.5, steps=4))
    mask = torch.zeros(1, 8, 8).index_fill_(2, torch.arange(4), 1.0)
    both(
        lambda device: fn.sample(
            model(device), 3, editing.Inpaint(X0[0], mask, fn.samplers.build("ancestral"), repeats=2), steps=3
        )
    )


def test_latents(both):
    def drawn(device):
        codec = Autoencoded(
            filled(fn.nn.build({"name": "kl-autoencoder", **SMALL, "latent": 1})).to(device).eval(), 0.5
        )
        denoiser = model(device, codec=codec)
        return torch.cat(
            [fn.sample(denoiser, 3, "ddim", steps=3), codec.decode(denoiser.encoded(X0.repeat(1, 1, 2, 2)))]
        )

    both(drawn)


def enlarging(device, augmentation):
    network = fn.nn.UNet(**SMALL, attention=(), image_channels=1)
    low = LowResolution(2, fn.augmentations.build(augmentation))
    denoiser = fn.Denoiser(filled(network), "cosine", "v", shape=(1, 8, 8), low=low)
    Hardware(device, torch.float32, "test").prepare(denoiser.network, inference=False)
    return denoiser.eval()


@pytest.mark.parametrize("augmentation", fn.augmentations.names())
def test_cascades(augmentation, both):
    def drawn(device):
        network = filled(fn.nn.UNet(**SMALL, attention=())).to(device)
        base = fn.Denoiser(network, "cosine", "v", shape=(1, 4, 4)).eval()
        sampler = fn.samplers.build("ddim")
        large = enlarging(device, augmentation)
        strength = min(0.2, large.low.augmentation.most)
        stages = [Stage(base, sampler, 3), Stage(large, sampler, 3, strength=strength)]
        return cascade.draw(stages, 3)

    both(drawn)


def images():
    return InMemory("toy", PIXELS.repeat(4, 1, 1, 1), torch.arange(12) % 3, ("a", "b", "c"))


def diffusion(times="uniform", denoiser=None, augment=None):
    denoiser = denoiser or model(CPU)
    labels = Conditioning(denoiser, images(), 0.1 if denoiser.classes else 0.0, 0)
    return Diffusion(denoiser, fn.objectives.Simple(), labels, 0, fn.times.build(times), augment=augment)


def augmented():
    network = filled(fn.nn.UNet(**SMALL, attention=(), augment=True))
    return diffusion(denoiser=fn.Denoiser(network, "cosine", "v", shape=(1, 8, 8)), augment=Augment(0.7))


def classifying():
    network = filled(fn.nn.HalfUNet(outputs=3, **SMALL))
    return Classifying(NoisyClassifier(network, fn.schedules.Cosine(T=100), (1, 8, 8), ("a", "b", "c")), 3)


def autoencoding(kind):
    network = filled(fn.nn.build({"name": kind, **SMALL}))
    judge = filled(fn.nn.PatchDiscriminator(in_channels=1, channels=8, layers=1, groups=4))
    return Autoencoding(Pair(network, judge), 3, network.latent_shape((1, 8, 8)), 1e-2, 0.1, after=1)


TASKS = {f"times {name}": partial(diffusion, name) for name in fn.times.names()}
TASKS |= {f"enlarging {name}": lambda name=name: diffusion("uniform", enlarging(CPU, name))
          for name in fn.augmentations.names()}  # fmt: skip
TASKS |= {name: partial(autoencoding, name) for name in ("kl-autoencoder", "vq-autoencoder")}
TASKS |= {"muon": diffusion, "classifier": classifying, "augmented": augmented}


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # here the device of that name has numbers
@pytest.mark.parametrize("name", TASKS)
def test_training_saving_and_going_on(name, tmp_path, both):
    def trained(device):
        for steps in (2, 4):
            torch.manual_seed(0)
            config = TrainConfig(steps=steps, batch_size=4, lr=1e-3, ema=0.9, accumulate=2,
                                 optimizer="muon" if name == "muon" else "adamw")  # fmt: skip
            hardware = Hardware(device, torch.float32, "test")
            trainer = Trainer(TASKS[name](), images(), config, 0, tmp_path / device.type, hardware)
            trainer.resume()
            trainer.run()
        assert {weight.device for weight in trainer.trained.weights.values()} == {device}
        return torch.cat([average.flatten() for average in trainer.trained.ema.average])

    both(trained, atol=1e-3 if name == "muon" else 2e-4, overall=2e-3)  # each has an orthogonalisation of its own


def test_a_training_step_reads_once_and_uploads_its_examples(tmp_path):
    with pretended_gpu() as traffic:
        config = TrainConfig(steps=5, batch_size=4, lr=1e-3)
        trainer = Trainer(diffusion(), images(), config, 0, tmp_path, Hardware(GPU, torch.float32, "test"))
        seen = []

        def each(line):
            seen.append((list(traffic.reads), sorted(traffic.uploads, reverse=True)))
            traffic.reads.clear()
            traffic.uploads.clear()

        trainer.callbacks = [each]
        trainer.run()
    for reads, uploads in seen[1:]:  # the first has the network's weights too
        assert reads == ["tolist"]  # the loss and the norm of its gradient, together
        assert uploads == [(4, 1, 8, 8)] * 2 + [(4,)] * 7  # images, noise; labels, times, coefficients


def test_an_augmented_step_reads_no_more(tmp_path):
    """Which images are transformed is known where it is drawn."""
    with pretended_gpu() as traffic:
        config = TrainConfig(steps=4, batch_size=4, lr=1e-3)
        trainer = Trainer(augmented(), images(), config, 0, tmp_path, Hardware(GPU, torch.float32, "test"))
        seen = []
        trainer.callbacks = [lambda line: (seen.append(list(traffic.reads)), traffic.reads.clear())]
        trainer.run()
    assert seen[1:] == [["tolist"]] * 3


def test_an_oracle_computes_on_the_cpu_and_answers_where_it_was_asked(both):
    denoiser = plane_mixture().denoiser(fn.schedules.Linear())
    x = torch.randn(3, 2, dtype=torch.float64)
    both(lambda device: denoiser(x.to(device), denoiser.schedule.level(300)).x0)
