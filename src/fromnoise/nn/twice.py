"""Second derivatives of networks, as score matching needs them: fused kernels do not support them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch.nn.attention import SDPBackend, sdpa_kernel

PLAIN = ContextVar("plain", default=False)
"""Whether networks may use only operations that have a second derivative."""


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """A context in which networks can be differentiated twice; they are slower and need more memory."""
    token = PLAIN.set(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        PLAIN.reset(token)
