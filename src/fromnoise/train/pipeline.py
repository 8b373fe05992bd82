"""What a training step needs, on the device: made ready one step ahead where the device computes by itself."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from fromnoise.data.feed import Feed, as_state, mirror_beside
from fromnoise.system.hardware import Hardware
from fromnoise.train.task import Drawn, Task

T = TypeVar("T")


@dataclass(frozen=True)
class Ready:
    """One step's examples and draws.

    Attributes:
        x: uint8 or float32, [B, ...], on the device.
        mirrored: which of them are mirrored, [B]; None where none is.
        drawn: what the task drew.
        copied: on CUDA, when the copies are done.
    """

    x: Tensor
    mirrored: Tensor | None
    drawn: Drawn
    copied: torch.cuda.Event | None = None

    def states(self) -> Tensor:
        """float32 examples; the computing stream waits for the copies first."""
        if self.copied is not None:
            stream = torch.cuda.current_stream(self.x.device)
            stream.wait_event(self.copied)
            for tensor in (self.x, self.mirrored, *self.drawn.values()):
                if tensor is not None and tensor.is_cuda:
                    tensor.record_stream(stream)  # so that its memory is not given away while it is read
        return as_state(self.x, self.mirrored)


class Pipeline:
    """Steps without end. Their numbers are functions of the step alone, so that being ahead changes nothing.

    On CUDA a thread makes the next step while the GPU is at this one: it counts out the noise, pins it and copies it
    beside the computing stream.

    Args:
        feed: the examples.
        task: whose draws.
        hardware: where to.
        shape: of one example.
    """

    def __init__(self, feed: Feed, task: Task, hardware: Hardware):
        self.feed, self.task, self.hardware = feed, task, hardware

    def from_step(self, first: int) -> AbstractContextManager[Iterator[Ready]]:
        """A context that gives steps first, first + 1, ...; leaving it ends the thread."""
        if self.hardware.device.type != "cuda":
            return nullcontext(self._steps(first, self.hardware.put))
        stream = torch.cuda.Stream(self.hardware.device)

        def made() -> Iterator[Ready]:
            with torch.cuda.stream(stream):
                for ready in self._steps(first, self.hardware.put):
                    event = torch.cuda.Event()
                    event.record(stream)
                    yield Ready(ready.x, ready.mirrored, ready.drawn, event)

        return Ahead(made)

    def _steps(self, first: int, put: Callable[[Tensor], Tensor]) -> Iterator[Ready]:
        feed, own = self.feed, self.task.on_cpu
        for step, (x, conditions) in enumerate(feed.from_step(first), start=first):
            mirrored = feed.mirrored(step)
            if mirrored is not None:
                conditions = mirror_beside(conditions, x, mirrored)
            drawn = self.task.draw(tuple(x.shape[1:]), conditions, feed.part, step, feed.batch_size)
            yield Ready(
                put(x),
                None if mirrored is None else put(mirrored),
                {name: value if name in own else put(value) for name, value in drawn.items()},
            )


class Ahead(AbstractContextManager[Iterator[T]]):
    """An iterator whose next item is made in a thread while this one is used; errors come out where it is read."""

    def __init__(self, make: Callable[[], Iterator[T]]):
        self.make, self.ready, self.left = make, queue.Queue(maxsize=1), threading.Event()

    def __enter__(self) -> Iterator[T]:
        self.thread = threading.Thread(target=self._fill, name="fromnoise-ahead", daemon=True)
        self.thread.start()
        return self._read()

    def __exit__(self, *error: object) -> None:
        self.left.set()
        self.thread.join()

    def _read(self) -> Iterator[T]:
        while True:
            item, error = self.ready.get()
            if error is not None:
                raise error
            if item is self:
                return
            yield item

    def _fill(self) -> None:
        try:
            for item in self.make():
                if not self._put((item, None)):
                    return
            self._put((self, None))
        except BaseException as error:
            self._put((None, error))

    def _put(self, what: tuple) -> bool:
        """Whether it was taken; not when the reader has left."""
        while not self.left.is_set():
            try:
                self.ready.put(what, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
