"""The number and shape of the requested samples, and a check that they fit into memory."""

import math
from collections.abc import Sequence

from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.system import checks
from fromnoise.system.hardware.memory import insist_on_memory


def whole_shape(denoiser: Denoiser, n_or_shape: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(n_or_shape, Sequence) and not isinstance(n_or_shape, str) and n_or_shape:
        shape = tuple(checks.whole("n_or_shape", side, 1) for side in n_or_shape)
        if denoiser.shape is not None:
            checks.fits("n_or_shape", shape, denoiser.shape)
        return shape
    n = checks.whole("n_or_shape", n_or_shape, 1)
    if denoiser.shape is None:
        raise FromNoiseError("this denoiser has no shape of its own: ask for the whole shape (n, ...)")
    return (n, *denoiser.shape)


def insist_on_room(n: int, shape: Sequence[int], batch_size: int) -> None:
    """Check that the samples fit into memory, and a batch too, for which the network needs more than its states."""
    one = 4.0 * math.prod(shape)
    insist_on_memory(n * one, f"{n:,} samples of {'x'.join(map(str, shape))}")
    insist_on_memory(3 * min(n, batch_size) * one, f"a batch_size of {min(n, batch_size):,}")
