"""The accuracy of a noisy-image classifier at each noise level."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fromnoise.app import figures
from fromnoise.data.images import Images, to_unit
from fromnoise.gaussian import diffuse
from fromnoise.guidance import NoisyClassifier
from fromnoise.system import rng
from fromnoise.system.progress import Bar, say
from fromnoise.weights import native


@dataclass(frozen=True)
class Accuracies:
    """Accuracies of a classifier at levels of growing noise.

    Attributes:
        times, log_snrs, shares: time, log-SNR and accuracy in [0, 1] of each level, the cleanest first.
        n: number of images.
        data: name of the data set.
    """

    times: list[float]
    log_snrs: list[float]
    shares: list[float]
    n: int
    data: str


@torch.no_grad()
def accuracy_over_levels(
    classifier: NoisyClassifier, images: Images, n: int = 1000, levels: int = 20, seed: int = 0
) -> Accuracies:
    """How often argmax p(y | x_t) is right over t, for x_t = alpha_t x_0 + sigma_t eps; near chance at t = T.

    Args:
        classifier: the classifier, on its device.
        images: images with the classifier's classes; n of them are chosen at random.
        n: number of images; they get new noise at every level.
        levels: number of levels, evenly spaced in time, not counting the clean one.
        seed: seed of the choice of images and of the noise.
    """
    chosen = rng.permutation(seed, 1, len(images))[:n]
    pixels, labels = images.batch(chosen.tolist())
    x0, chain = to_unit(pixels), classifier.schedule.steps(levels)
    device = next(classifier.parameters()).device
    points = []
    with Bar("accuracy", chain.steps) as bar:
        for call, t in enumerate(reversed(list(chain)[:-1])):  # it was not trained at the clean level
            eps = rng.normal(seed, range(len(x0)), call, tuple(x0.shape[1:]), rng.Stream.LIKELIHOOD)
            x_t = diffuse(x0, eps, t)
            guess = torch.cat([classifier(part.to(device), t).argmax(1).cpu() for part in x_t.split(250)])
            points.append((t.time.item(), t.log_snr.item(), (guess == labels).float().mean().item()))
            bar.advance()
    times, snrs, shares = (list(column) for column in zip(*points, strict=True))
    return Accuracies(times, snrs, shares, len(x0), images.name)


def draw_accuracy(run: Path, images: Images) -> None:
    """Write RUN/accuracy.png: a classifier's accuracy over the noise levels, on its training images."""
    classifier = native.load_classifier(run, "auto")
    found = accuracy_over_levels(classifier, images)
    path, chance = run / "accuracy.png", 1 / len(classifier.class_names)
    figures.accuracy(found, chance, path)
    middle = found.shares[len(found.shares) // 2]
    say(f"accuracy {100 * found.shares[0]:.1f} % at the lowest noise, {100 * middle:.0f} % half way, chance "
        f"{100 * chance:.0f} % (on its training images): {path}")  # fmt: skip
