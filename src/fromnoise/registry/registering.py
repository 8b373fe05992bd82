"""Registries of named classes: to add an entry, add one file.

A registry is a package in which every module is one entry, except for modules with a leading underscore and a few that
the package lists as shared. A sub-package is not an entry; it often has a registry of its own. Each module registers
its class under the module's name. Names are therefore known without importing anything heavy (`fromnoise --help` never
imports torch), and an entry is only imported when it is used. In names, `-` and `_` are equivalent.
"""

import functools
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from fromnoise.errors import FromNoiseError, nearest, unknown

_OPTIONS = "_registered_options"
_MOST = 2**63 - 1
_LONGEST = 120
_Class = TypeVar("_Class", bound=type)


def register(name: str) -> Callable[[_Class], _Class]:
    """Class decorator: give a class its registered name, and record the arguments of each object."""

    def mark(cls: _Class) -> _Class:
        signature = inspect.signature(cls)
        original = cls.__init__

        @functools.wraps(original)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            if type(self) is cls:
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                object.__setattr__(self, _OPTIONS, dict(bound.arguments))
            original(self, *args, **kwargs)

        cls.__init__ = init  # pyrefly: ignore[bad-assignment]
        cls.registered_name = name  # pyrefly: ignore[missing-attribute]
        return cls

    return mark


class Registry:
    """The entries of one package.

    Args:
        package: the package's import name, e.g. "fromnoise.samplers".
        kind: what an entry is called in messages, e.g. "sampler".
        shared: modules of the package that are not entries: its base class and helpers that entries import.
    """

    def __init__(self, package: str, kind: str, shared: tuple[str, ...] = ()):
        self.package, self.kind, self.shared = package, kind, shared

    def names(self) -> list[str]:
        """All names, sorted; imports only the package itself."""
        path = importlib.import_module(self.package).__path__
        found = (m.name for m in pkgutil.iter_modules(path) if not m.ispkg and m.name not in self.shared)
        return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))

    def summary(self, name: str) -> str:
        """The first line of the entry's module docstring, read without importing the module."""
        path = importlib.import_module(self.package).__path__
        source = Path(path[0], self._module(name) + ".py").read_text(encoding="utf-8")
        return source.lstrip().removeprefix('"""').split("\n", 1)[0].removesuffix('"""').strip()

    def get(self, name: str) -> type:
        """The class with this name.

        Raises:
            FromNoiseError: the name is unknown; the message has the nearest one.
        """
        module = importlib.import_module(f"{self.package}.{self._module(name)}")
        for value in vars(module).values():
            if isinstance(value, type) and value.__dict__.get("registered_name") == _public(name):
                return value
        raise FromNoiseError(f"{module.__name__} registers no {self.kind} named {_public(name)!r}")

    def build(self, spec: str | Mapping[str, Any], **defaults: Any) -> Any:
        """Build an object from its name, or from {"name": ..., option: value}.

        Args:
            spec: the name or the description.
            defaults: values of options that `spec` leaves out; they may be objects, which no file can hold.

        Raises:
            FromNoiseError: the name or an option is unknown, or a value has the wrong type.
        """
        name, options = self._split(spec)
        cls = self.get(name)
        allowed = inspect.signature(cls).parameters
        for key in options:
            if key not in allowed:
                hint = nearest(key, allowed)
                raise FromNoiseError(
                    f"{self.kind} {name} has no option {key!r}{hint}; it has {', '.join(allowed) or 'none'}"
                )
        insist_on_numbers(options, self.kind)
        checked = {k: v for k, v in defaults.items() if k in allowed}
        checked |= {k: _checked(f"{self.kind}.{k}", v, allowed[k].annotation) for k, v in options.items()}
        if missing := [k for k, p in allowed.items() if p.default is p.empty and p.kind < 2 and k not in checked]:
            raise FromNoiseError(f"{self.kind} {name} needs {' and '.join(missing)}")
        try:
            return cls(**checked)
        except FromNoiseError as error:
            raise FromNoiseError(f"{self.kind} {name}: {error}") from None
        except (ValueError, ArithmeticError, RuntimeError, LookupError) as error:
            raise FromNoiseError(f"{self.kind} {name} cannot be made of {_words(checked)}: {error}") from None

    def resolve(self, thing: Any, base: type) -> Any:
        """Return `thing` itself if it is an instance of `base`, registered or not; else build it by `build`.

        Raises:
            FromNoiseError: `thing` is neither a `base` nor the name or description of one, or `build` fails.
        """
        if isinstance(thing, base):
            return thing
        if isinstance(thing, str | Mapping):
            return self.build(thing)
        raise FromNoiseError(f"{self.kind} must be a name, {', '.join(self.names())}, or an object of the class "
                             f"{base.__name__}; got {thing!r}")  # fmt: skip

    def check(self, spec: str | Mapping[str, Any]) -> None:
        """Check that the name is one of `names`, without importing the entry; `build` checks the options.

        Raises:
            FromNoiseError: the name is missing or unknown.
        """
        self._module(self._split(spec)[0])

    def load(self, name: str) -> Any:
        """The object `recipe` of an entry, for packages whose modules define one instead of a class.

        Raises:
            FromNoiseError: the name is unknown; the message has the nearest one.
        """
        return importlib.import_module(f"{self.package}.{self._module(name)}").recipe

    def _split(self, spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        options = {"name": spec} if isinstance(spec, str) else dict(spec)
        if "name" not in options:
            raise FromNoiseError(f"a {self.kind} needs a name; choose from {', '.join(self.names())}")
        return options.pop("name"), options

    def _module(self, name: str) -> str:
        if _public(name) not in self.names():
            raise unknown(self.kind, name, self.names())
        return _public(name).replace("-", "_")


def is_entry(cls: type) -> bool:
    """Whether a class is a built-in entry: registered, and in the fromnoise module of its name."""
    name, (_, _, module) = cls.__dict__.get("registered_name"), cls.__module__.rpartition(".")
    return name is not None and cls.__module__.startswith("fromnoise.") and module == name.replace("-", "_")


def spec(thing: Any) -> dict[str, Any]:
    """The description of an object, in plain JSON values, from which `Registry.build` makes an equal object.

    Options that the class got later, as its attribute `later` names them, are left out at their defaults, so that the
    descriptions and hashes of older versions stay valid.

    Raises:
        FromNoiseError: the object's class is not registered.
    """
    name = type(thing).__dict__.get("registered_name")
    if name is None:
        raise FromNoiseError(f"{type(thing).__name__} is not registered: give it @register and a file of its own")
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in getattr(thing, _OPTIONS).items()}
    allowed = inspect.signature(type(thing)).parameters
    for key in getattr(type(thing), "later", ()):
        if options[key] == allowed[key].default:
            del options[key]
    return {"name": name, **options}


def short_spec(thing: Any) -> str | dict[str, Any]:
    """The description of an object like `spec`, but only its name if it has no options."""
    found = spec(thing)
    return found if len(found) > 1 else found["name"]


def insist_on_numbers(value: Any, where: str = "") -> None:
    """Check that all numbers in nested dictionaries and lists are finite, and that integers fit into 64 bits.

    Args:
        value: a number, or nested dictionaries and lists.
        where: the dotted key of `value`, for messages.

    Raises:
        FromNoiseError: a number is not finite or too large.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            insist_on_numbers(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            insist_on_numbers(inner, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise FromNoiseError(f"{where}: must be finite, got {value}")
    elif isinstance(value, int) and abs(value) > _MOST:
        raise FromNoiseError(f"{where}: must be a whole number of at most 18 digits")


def _public(name: str) -> str:
    return str(name).replace("_", "-")


def _words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v}" for k, v in options.items()) or "its defaults"


def _checked(key: str, value: Any, annotation: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError  # a heavy import, so not at the top of the module

    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        said = repr(value)
        got = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
        raise FromNoiseError(f"{key}: {first['msg'].lower()}, got {got}") from None
