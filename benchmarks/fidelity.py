"""fromnoise's figures beside those of torch-fidelity, from the same features: `python benchmarks/fidelity.py`."""

import torch

import fromnoise as fn
from fromnoise.metrics import Summary
from fromnoise.metrics.features import Features


def figures(one: Features, other: Features) -> dict[str, tuple[float, float]]:
    """Map each figure to (torch-fidelity's value, fromnoise's value), for two sets of features with probabilities."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    assert one.probabilities is not None
    a, b = one.pool.double(), other.pool.double()
    summaries = []
    for features in (one, other):
        summary = Summary(len(features.pool))
        for first in range(0, len(features.pool), 37):  # in parts, as from a stream
            part = slice(first, first + 37)
            summary.add(first, Features(features.pool[part], features.probabilities[part]))
        summaries.append(summary)
    statistics = [fid_features_to_statistics(x) for x in (a, b)]
    dealt = torch.from_numpy(fn.rng.permutation(0, 0, len(a))).argsort()  # into the ten splits that fromnoise uses
    n = min(len(a), len(b))
    options = {"prc_neighborhood": 3, "prc_batch_size": 1000, "save_cpu_ram": False, "verbose": False}
    theirs = fid_statistics_to_metric(*statistics, verbose=False)
    theirs |= isc_features_to_metric(one.probabilities[dealt].double().log(), splits=10, shuffle=False)
    theirs |= kid_features_to_metric(a[:n], b[:n], kid_subsets=1, kid_subset_size=n, verbose=False)
    theirs |= prc_features_to_metric(a[:n], b[:n], **options)
    ours = fn.metrics.Frechet()(*summaries) | fn.metrics.InceptionScore()(*summaries)
    ours |= {"KID": fn.metrics.mmd(a[:n], b[:n]).item(), **fn.metrics.PrecisionRecall()(*summaries)}
    names = {
        "FD": "frechet_inception_distance",
        "IS": "inception_score_mean",
        "IS deviation": "inception_score_std",
        "KID": "kernel_inception_distance_mean",
        "precision": "precision",
        "recall": "recall",
    }
    return {name: (theirs[key], ours[name]) for name, key in names.items()}


def main() -> None:
    images = fn.data.load(fn.data.DataConfig(name="digits"))
    extractor = fn.features.build("digits")
    order = torch.from_numpy(fn.rng.permutation(0, 0, len(images)))
    noisy = images.pixels[order[:2000]].float() + 40 * torch.randn(2000, 1, 28, 28, generator=torch.manual_seed(0))
    sets = [noisy.clamp(0, 255).to(torch.uint8), images.pixels[order[2000:]]]
    one, other = (extractor(x) for x in sets)
    print("2,000 noisy digits against 3,000 others, features of the digits' classifier")
    print(f"{'':<14}{'torch-fidelity':>18}{'fromnoise':>18}{'apart':>12}")
    for name, (theirs, ours) in figures(one, other).items():
        print(f"{name:<14}{theirs:>18.10f}{ours:>18.10f}{abs(theirs - ours) / max(abs(theirs), 1e-12):>12.1e}")


if __name__ == "__main__":
    main()
