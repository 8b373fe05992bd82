"""Ctrl-C while libraries are imported."""

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_AGAIN = 0.05


@contextlib.contextmanager
def after_imports() -> Iterator[None]:
    """A block in which Ctrl-C raises KeyboardInterrupt only once torch and numpy are imported.

    torch imports numpy from C++, which ignores errors: an interrupted import would leave half of numpy behind, and the
    command would go on.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _interrupted)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupted(number: int, frame: FrameType | None) -> None:
    if any(_is_imported_now(name) for name in ("torch", "numpy")):
        again = threading.Timer(_AGAIN, _thread.interrupt_main, (number,))
        again.daemon = True
        again.start()
        return
    signal.default_int_handler(number, frame)


def _is_imported_now(name: str) -> bool:
    """importlib's own mark of a module whose code has begun and not ended."""
    return getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False)
