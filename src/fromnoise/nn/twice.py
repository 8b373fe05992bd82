"""Networks whose gradient is itself differentiated, as score matching does: the fused kernels cannot be."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch.nn.attention import SDPBackend, sdpa_kernel

PLAIN = ContextVar("plain", default=False)
"""Whether only operations with a second derivative may be used."""


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Networks that are called inside the block have second derivatives; slower, and with more memory."""
    token = PLAIN.set(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        PLAIN.reset(token)
