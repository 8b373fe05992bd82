"""The content of a network's pickle: the few functions that it may name, done by hand, and the objects they make.

`torch_utils.persistence` of NVIDIA's libraries stores the source code of an object's class with every object, and
unpickling would execute it. Here an object is the name of its class and its attributes; the network's tensors and
options follow from these.
"""

import io
import itertools
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

_MOST_PARTS, _DEEPEST, _LONGEST, _MOST_PLAIN, _MOST_AXES = 200_000, 50, 1_000, 100_000, 64
_MOST_LETTERS = 2**24
"""The most letters in all names of tensors together; NVIDIA's published networks have a hundred thousand."""
PARTS = ("ema", "ema_state_dict", "model_ema", "state_dict", "model_state_dict", "model", "net", "network")
"""Entries in which a training checkpoint keeps its network's weights, the averaged ones first."""
_PLACE = 64
"""The fewest bytes that an entry of a list or a dictionary takes."""

MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"
"""The number with which torch.save's old format begins."""

Load = Callable[[io.BytesIO], Any]


@dataclass
class Module:
    """An object in the pickle.

    Attributes:
        name: the name of its class, without the module; "ModuleDict" and the like for PyTorch's containers.
        state: its attributes by name.
    """

    name: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Name:
    """The name of a function or class in a file; it is never looked up."""

    name: str


@dataclass(frozen=True)
class DType:
    """A NumPy dtype."""

    code: str

    def insist(self, state: Any) -> None:
        """Raise FromNoiseError if its numbers are big-endian."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise FromNoiseError("NumPy numbers in big-endian byte order")


class Known:
    """All functions and classes that a pickle may name.

    Args:
        room: bytes that its tensors may take.
        load: reads the storage in a file of torch.save, so that nothing in it can run.
    """

    def __init__(self, room: int, load: Load):
        self.room, self.load, self.taken = room, load, dict.fromkeys(("entries", "bytes", "numbers"), 0)
        self.calls: dict[str, Callable[..., Any]] = {
            "torch_utils.persistence._reconstruct_persistent_obj": self._persistent,
            "torch.storage._load_from_bytes": self._storage,
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "collections.OrderedDict": _mapping,
            "dnnlib.util.EasyDict": _mapping,
            "builtins.set": keyed,
            "__builtin__.set": keyed,
            "_codecs.encode": self._encoded,
            "numpy.dtype": _dtype,
            "numpy.core.multiarray.scalar": _scalar,
            "numpy._core.multiarray.scalar": _scalar,
        }

    def name(self, full: str) -> Name:
        """Return the name; raises FromNoiseError if plain weights do not need it."""
        if full not in self.calls and full not in _CONTAINERS:
            raise FromNoiseError(f"it names {files.one_line(full)}, which is no part of plain weights")
        return Name(full)

    def call(self, called: Any, arguments: Any) -> Any:
        if not isinstance(called, Name) or called.name not in self.calls or type(arguments) is not tuple:
            raise FromNoiseError("it calls a function that plain weights do not need")
        self._take("entries", sum(_PLACE * len(a) for a in arguments if isinstance(a, list | dict | set | tuple)))
        return self.calls[called.name](*arguments)

    def make(self, cls: Any) -> Any:
        """Make an object that has no attributes yet."""
        if isinstance(cls, Name) and cls.name in _CONTAINERS:
            return Module(cls.name.rpartition(".")[2])
        if isinstance(cls, Name) and self.calls[cls.name] is _mapping:
            return {}
        raise FromNoiseError("it makes an object of a class that plain weights do not need")

    def attributes(self, state: Any) -> dict[str, Any]:
        """Check an object's attributes and return them; each use counts towards the limit, since it copies them."""
        if type(state) is not dict:
            raise TypeError("attributes that are not values by name")
        inner = [own for kind in _TABLES if type(own := state.get(kind)) is dict]
        self._take("entries", _PLACE * sum(map(len, (state, *inner))))
        return checked(state)

    def _persistent(self, meta: Any) -> Module:
        """What `persistence._reconstruct_persistent_obj` makes, but without the class, whose source is ignored."""
        if type(meta) is not dict or not isinstance(meta.get("class_name"), str):
            raise TypeError("a persistent object without the name of its class")
        return Module(meta["class_name"], self.attributes(meta.get("state")))

    def _storage(self, content: Any) -> Any:
        """What `torch.storage._load_from_bytes` makes: the bytes are a file of torch.save's old format."""
        if not isinstance(content, bytes) or MAGIC not in content[:32]:  # torch would unpack a compressed one
            raise TypeError("a storage that is not as torch.save wrote it")
        try:
            found = self.load(io.BytesIO(content))
        except Exception as error:  # PyTorch's message may have several lines
            raise FromNoiseError(f"the numbers of a tensor cannot be read ({type(error).__name__})") from None
        if not isinstance(found, torch.storage.TypedStorage):
            raise FromNoiseError(f"a {type(found).__name__} where the numbers of a tensor should be")
        self._take("numbers", max(found._untyped_storage.nbytes(), len(content)))
        return found

    def _encoded(self, text: Any, encoding: Any) -> bytes:
        """Bytes as protocol 2 writes them: as text in latin1."""
        if encoding != "latin1" or not isinstance(text, str):
            raise FromNoiseError("bytes in another encoding than latin1")
        self._take("bytes", len(text))  # a text may be used again and again
        return text.encode("latin1")

    def _take(self, kind: str, size: int) -> None:
        self.taken[kind] += size
        if self.taken[kind] > self.room:
            raise FromNoiseError(f"it unpacks to more than half of this machine's memory ({self.room:,} bytes)")


_CONTAINERS = {f"torch.nn.modules.container.{name}" for name in ("ModuleDict", "ModuleList", "Sequential")}


_TABLES = ("_parameters", "_buffers", "_modules")


def keyed(values: Any = ()) -> set[Any]:
    """A set of values that may be keys. Tuples may not: nested ones could take endlessly long to compare."""
    for value in values:
        if value is not None and not isinstance(value, str | int | float | bytes):
            raise TypeError(f"a {type(value).__name__} is the key of an entry")
    return set(values)


def paired(values: list[Any]) -> dict[Any, Any]:
    """A dictionary from alternating keys and values."""
    keyed(values[::2])
    return dict(zip(values[::2], values[1::2], strict=True))


def checked(state: Any) -> dict[str, Any]:
    """Check that a value has the form of a module's attributes, and return it."""
    if type(state) is not dict or not all(isinstance(key, str) for key in state):
        raise TypeError("attributes that are not values by name")
    for kind in _TABLES:
        own = state.get(kind) or {}
        if type(own) is not dict or not all(isinstance(key, str) for key in own):
            raise TypeError(f"{kind} that are not values by name")
    return state


def _mapping(values: Any = ()) -> dict[Any, Any]:
    """An OrderedDict or EasyDict as a dict."""
    if type(values) is dict:
        return dict(values)
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in values):
        raise TypeError("entries that are not a key and a value")
    return paired([one for pair in values for one in pair])


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage that must lie inside it, since PyTorch would silently enlarge the storage."""
    if not isinstance(storage, torch.storage.TypedStorage) or not (type(size) is type(stride) is tuple):
        raise TypeError("a tensor without a storage")
    if any(type(n) is not int or n < 0 for n in (offset, *size, *stride)) or len(size) > _MOST_AXES:
        raise TypeError("a tensor without a size")
    end = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1
    if all(size) and end * storage.dtype.itemsize > storage._untyped_storage.nbytes():
        raise ValueError("a tensor reaches beyond its numbers")
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, size, stride)


_CODES = {"b1": "?", "i1": "b", "u1": "B", "i2": "<h", "i4": "<i", "i8": "<q", "u8": "<Q", "f2": "<e", "f4": "<f",
          "f8": "<d"}  # fmt: skip


def _dtype(code: Any, *_: Any) -> DType:
    if not isinstance(code, str) or code.lstrip("<|=") not in _CODES:
        raise FromNoiseError(f"numbers of NumPy's type {files.one_line(code)}")
    return DType(code.lstrip("<|="))


def _scalar(dtype: Any, content: Any) -> Any:
    """A NumPy scalar as a Python number."""
    if not isinstance(dtype, DType) or not isinstance(content, bytes):
        raise TypeError("a number without a type")
    return struct.unpack(_CODES[dtype.code], content)[0]


def tensors(top: Module) -> dict[str, Tensor]:
    """The parameters and persistent buffers of a network, by the names of its state_dict.

    Raises:
        FromNoiseError: if there are too many, or they are nested too deeply.
    """
    found: dict[str, Tensor] = {}
    waiting, seen, letters = [("", 0, top)], 0, 0
    while waiting:
        before, depth, module = waiting.pop()
        tables = parameters, buffers, parts = [module.state.get(kind) or {} for kind in _TABLES]
        seen += 1 + sum(map(len, tables))
        if seen > _MOST_PARTS or depth > _DEEPEST or len(before) > _LONGEST:
            raise FromNoiseError("its modules are nested endlessly")
        for name in itertools.chain(*tables):
            letters += len(before) + len(name)
            if len(name) > _LONGEST or letters > _MOST_LETTERS:
                raise FromNoiseError("the names of its tensors are endlessly long")
        passing = module.state.get("_non_persistent_buffers_set")
        passing = passing if isinstance(passing, set) else set()
        own = {**parameters, **{name: value for name, value in buffers.items() if name not in passing}}
        found |= {f"{before}{name}": value for name, value in own.items() if isinstance(value, Tensor)}
        waiting += [(f"{before}{k}.", depth + 1, part) for k, part in parts.items() if isinstance(part, Module)][::-1]
    return found


def options(top: Module) -> dict[str, Any]:
    """The plain values among an object's attributes and the arguments that it was made with.

    "class_name" is its class. The same values of its parts are under the parts' names, one level deep.
    """
    parts = list((top.state.get("_modules") or {}).items())[:_DEEPEST]
    return _own(top) | {name: _own(part) for name, part in parts if isinstance(part, Module)}


def _own(module: Module) -> dict[str, Any]:
    said = module.state.get("_init_kwargs")
    every = {key: value for key, value in module.state.items() if not key.startswith("_") and key != "training"}
    every |= said if type(said) is dict else {}
    plain = plain_of(every)
    return {"class_name": module.name[:_LONGEST]} | (plain if is_plain(plain) else {})


def plain_of(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The values that JSON can hold, by name; a number that is not finite becomes text, so that it is not lost."""
    named = {str(k): str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    return {key: value for key, value in named.items() if is_plain({key: value})}


def is_plain(value: Any) -> bool:
    """Whether JSON can hold the value and it is not too large."""
    waiting, seen = [value], 0
    while waiting:
        one = waiting.pop()
        seen += 1 + (len(one) if isinstance(one, list | tuple | Mapping | str) else 0)
        if seen > _MOST_PLAIN:
            return False
        if isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, Mapping):
            if not all(isinstance(key, str) for key in one):
                return False
            waiting += [*one, *one.values()]
        elif isinstance(one, float):
            if not math.isfinite(one):
                return False
        elif not (one is None or isinstance(one, bool | int | str)):
            return False
    return True
