"""The inception score, of any classifier's probabilities."""

import torch
from torch import Tensor


def score(probabilities: Tensor, splits: int = 10) -> tuple[Tensor, Tensor]:
    """exp(E_x KL(p(y | x) | p(y))), between 1 and the number of classes: mean and deviation over `splits` parts.

    IS is this with Inception's 1,000 classes (Salimans et al. 2016). Source: the IS column of Shorts' table.

    Args:
        probabilities: p(y | x) of each sample, [N, K], rows that add up to 1.
        splits: parts that are scored one by one, as published figures are; at most N.

    Raises:
        ValueError: fewer samples than parts.
    """
    if len(probabilities) < splits:
        raise ValueError(f"{splits} splits need as many samples, got {len(probabilities)}")
    scores = []
    for part in probabilities.double().tensor_split(splits):
        kl = torch.special.xlogy(part, part) - torch.special.xlogy(part, part.mean(0))
        scores.append(kl.sum(1).mean().exp())
    every = torch.stack(scores)
    return every.mean(), every.std(correction=0)
