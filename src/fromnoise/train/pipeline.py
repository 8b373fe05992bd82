"""The input of training steps, on the device; on CUDA it is prepared one step ahead."""

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
    """One step's examples and random numbers.

    Attributes:
        x: examples [B, ...], uint8 or float32, on the device.
        mirrored: which of them are to be mirrored, [B]; None for none.
        drawn: the result of `Task.draw`.
        copied: on CUDA, the event after which the copies are complete.
    """

    x: Tensor
    mirrored: Tensor | None
    drawn: Drawn
    copied: torch.cuda.Event | None = None

    def states(self) -> Tensor:
        """The examples as float32; on CUDA, the computing stream first waits for the copies."""
        if self.copied is not None:
            stream = torch.cuda.current_stream(self.x.device)
            stream.wait_event(self.copied)
            for tensor in (self.x, self.mirrored, *self.drawn.values()):
                if tensor is not None and tensor.is_cuda:
                    tensor.record_stream(stream)  # keeps its memory until this stream has read it
        return as_state(self.x, self.mirrored)


class Pipeline:
    """An endless sequence of step inputs.

    On CUDA, a thread prepares the next step while the GPU computes the current one: it generates the noise, pins it,
    and copies it on a separate stream. This does not change the results, because all random numbers are functions of
    the step.

    Args:
        feed: the examples.
        task: the task, which draws the random numbers.
        hardware: the device to copy to.
    """

    def __init__(self, feed: Feed, task: Task, hardware: Hardware):
        self.feed, self.task, self.hardware = feed, task, hardware

    def from_step(self, first: int) -> AbstractContextManager[Iterator[Ready]]:
        """A context that yields an iterator over the steps first, first + 1, ...; leaving it ends the thread."""
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
    """An iterator whose next item is made in a thread while the current one is used; errors are raised on reading."""

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
        """Put an item into the queue; returns False if the reader has left."""
        while not self.left.is_set():
            try:
                self.ready.put(what, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
