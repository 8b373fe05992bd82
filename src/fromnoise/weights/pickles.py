"""Read pickles of whole objects, as EDM and StyleGAN publish their networks, as data: nothing in them is run.

A pickle is a program for a stack machine, and one of its instructions calls any function that the file names. Here
Python's pickletools decodes each instruction, and its effect on plain values is done by hand. A name that is not in the
list of `weights.persistent` is refused, so a file cannot import, call or set anything. The source code that is stored
with each object is a string, which is ignored.
"""

import mmap
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.weights.persistent import MAGIC, PARTS, DType, Known, Load, Module, keyed, options, paired, tensors

_MOST = 1_000_000
"""The most instructions; published networks have a hundred thousand."""
_ONCE = 2**12
"""More bytes than this are a tensor's numbers and may be used only once; repeated use would fill the memory."""


def is_one(start: bytes) -> bool:
    """Whether a file with this start is a pickle of protocol 2 or later that torch.save did not write."""
    return start[:1] == b"\x80" and MAGIC not in start[:32]


def read(path: Path, room: int, load: Load) -> dict[Any, Any]:
    """Read the values at the top of a pickle, each network as a dict of its tensors.

    "init_kwargs" holds the options of the network whose weights are used, the first in the order of `persistent.PARTS`.

    Args:
        path: the file.
        room: bytes that its tensors may take.
        load: reads the storage in a file of torch.save, so that nothing in it can run.

    Raises:
        FromNoiseError: if it names something that plain weights do not need, is damaged, or unpacks to too much.
    """
    try:
        with files.opened(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            top = _Machine(Known(room, load)).run(content)
    except FromNoiseError:
        raise
    except Exception as error:  # a damaged file may raise any error
        raise FromNoiseError(f"a damaged pickle: {files.one_line(error)}") from None
    top = {"net": top} if isinstance(top, Module) else top
    if not isinstance(top, dict):
        raise FromNoiseError(f"a {type(top).__name__}, not objects by name")
    found = {name: tensors(value) if isinstance(value, Module) else value for name, value in top.items()}
    for name in (*PARTS, *found):  # in the order of preference
        own = found.get(name)
        if isinstance(own, dict) and any(isinstance(value, Tensor) for value in own.values()):
            return found | ({"init_kwargs": options(top[name])} if isinstance(top[name], Module) else {})
    return found


class _Machine:
    """The stack, the marks and the memo of a pickle."""

    def __init__(self, known: Known):
        self.known = known
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: Any) -> Any:
        for count, (instruction, value, _) in enumerate(pickletools.genops(content)):
            if count > _MOST:
                raise FromNoiseError(f"a pickle of more than {_MOST:,} instructions, which no network has")
            self._step(instruction.name, value)
        return self._pop()

    def _step(self, name: str, value: Any) -> None:
        if name in _LITERALS:
            self.stack.append(value)
        elif name in _FRESH:
            self.stack.append(_FRESH[name]())
        elif name in _DONE:
            _DONE[name](self, value)
        else:
            raise FromNoiseError(f"a pickle with the instruction {name}, which plain weights do not need")

    def _pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise IndexError("an instruction finds nothing to work on")
        return self.stack.pop()

    def _popped(self, n: int) -> tuple[Any, ...]:
        return tuple([self._pop() for _ in range(n)][::-1])

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def _top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise TypeError(f"an instruction does not find the {kind.__name__} that it is for")
        return self.stack[-1]

    def put(self, place: int | None) -> None:
        value = self.stack[-1]
        once = isinstance(value, bytes) and len(value) > _ONCE
        self.memo[len(self.memo) if place is None else place] = _USED if once else value

    def get(self, place: int) -> None:
        if self.memo[place] is _USED:
            raise FromNoiseError("a pickle that uses the numbers of a tensor twice")
        self.stack.append(self.memo[place])

    def tuple(self, n: int) -> None:
        self.stack.append(self._popped(n))

    def extend(self, values: list[Any]) -> None:
        self._top(list).extend(values)

    def update(self, values: list[Any]) -> None:
        self._top(dict).update(paired(values))

    def add(self, values: list[Any]) -> None:
        self._top(set).update(keyed(values))

    def name(self, module: Any, name: Any) -> None:
        self.stack.append(self.known.name(f"{module}.{name}"))

    def call(self) -> None:
        called, arguments = self._popped(2)
        self.stack.append(self.known.call(called, arguments))

    def make(self) -> None:
        cls, _ = self._popped(2)
        self.stack.append(self.known.make(cls))

    def build(self) -> None:
        """Set the attributes of the object below them on the stack; those of a dictionary are ignored."""
        state = self._pop()
        target = self.stack[-1]
        if isinstance(target, Module):
            target.state |= self.known.attributes(state)
        elif isinstance(target, DType):
            target.insist(state)
        elif type(target) is not dict:
            raise FromNoiseError(f"a pickle that gives attributes to a {type(target).__name__}")


_USED = object()
"""Stands in the memo for a tensor's numbers."""
_LITERALS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "UNICODE",
             "BINSTRING", "SHORT_BINSTRING", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES",
             "SHORT_BINBYTES", "BINBYTES8"}  # fmt: skip
_FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set,
}  # fmt: skip
_DONE: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda m, _: None),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), lambda m, place: m.put(place)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, place: m.get(place)),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m._pop(),
    "POP_MARK": lambda m, _: m._since_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "TUPLE1": lambda m, _: m.tuple(1),
    "TUPLE2": lambda m, _: m.tuple(2),
    "TUPLE3": lambda m, _: m.tuple(3),
    "TUPLE": lambda m, _: m.stack.append(tuple(m._since_mark())),
    "LIST": lambda m, _: m.stack.append(m._since_mark()),
    "DICT": lambda m, _: m.stack.append(paired(m._since_mark())),
    "FROZENSET": lambda m, _: m.stack.append(keyed(m._since_mark())),
    "APPEND": lambda m, _: m.extend([m._pop()]),
    "APPENDS": lambda m, _: m.extend(m._since_mark()),
    "SETITEM": lambda m, _: m.update(list(m._popped(2))),
    "SETITEMS": lambda m, _: m.update(m._since_mark()),
    "ADDITEMS": lambda m, _: m.add(m._since_mark()),
    "GLOBAL": lambda m, names: m.name(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(*m._popped(2)),
    "REDUCE": lambda m, _: m.call(),
    "NEWOBJ": lambda m, _: m.make(),
    "BUILD": lambda m, _: m.build(),
}
"""All instructions except the literals; any other is refused."""
