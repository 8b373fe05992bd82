"""Names for what can be chosen, so that adding a thing is adding one file.

A registry is a package: every module in it is one entry, but for those whose name has a leading underscore and the few
that the package names as shared. A package inside it is no entry: it is a part, often with a registry of its own. The
module registers the class that does the work under the module's name. The names are therefore known without importing
anything heavy (`fromnoise --help` never imports torch), and an entry is imported when it is asked for. In names, `-`
and `_` are the same.
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
    """Give a class its public name and remember the arguments that each object is made with."""

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
        shared: modules of the package that are no entries, and that others import: its base class and its helpers.
    """

    def __init__(self, package: str, kind: str, shared: tuple[str, ...] = ()):
        self.package, self.kind, self.shared = package, kind, shared

    def names(self) -> list[str]:
        """Every name, sorted; imports nothing but the package itself."""
        path = importlib.import_module(self.package).__path__
        found = (m.name for m in pkgutil.iter_modules(path) if not m.ispkg and m.name not in self.shared)
        return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))

    def summary(self, name: str) -> str:
        """The first line of the entry's module, without importing it."""
        path = importlib.import_module(self.package).__path__
        source = Path(path[0], self._module(name) + ".py").read_text(encoding="utf-8")
        return source.lstrip().removeprefix('"""').split("\n", 1)[0].removesuffix('"""').strip()

    def get(self, name: str) -> type:
        """The class of that name.

        Raises:
            FromNoiseError: no such name; the message has the nearest one.
        """
        module = importlib.import_module(f"{self.package}.{self._module(name)}")
        for value in vars(module).values():
            if isinstance(value, type) and value.__dict__.get("registered_name") == _public(name):
                return value
        raise FromNoiseError(f"{module.__name__} registers no {self.kind} named {_public(name)!r}")

    def build(self, spec: str | Mapping[str, Any], **defaults: Any) -> Any:
        """An object from its name, or from {"name": ..., option: value}.

        `defaults` are options that hold where `spec` leaves them out, objects among them, which no file holds.

        Raises:
            FromNoiseError: unknown name, unknown option, or a value of the wrong type.
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
        """`thing` itself where it is a `base`, registered or not; else what `build` makes of it.

        Raises:
            FromNoiseError: as `build`, or `thing` is neither a `base` nor a description of one.
        """
        if isinstance(thing, base):
            return thing
        if isinstance(thing, str | Mapping):
            return self.build(thing)
        raise FromNoiseError(f"{self.kind} must be a name, {', '.join(self.names())}, or an object of the class "
                             f"{base.__name__}; got {thing!r}")  # fmt: skip

    def check(self, spec: str | Mapping[str, Any]) -> None:
        """That the name is one of `names`; options are checked when the thing is built. Imports no entry.

        Raises:
            FromNoiseError: no such name, or none at all.
        """
        self._module(self._split(spec)[0])

    def load(self, name: str) -> Any:
        """The ready object `recipe` of that entry, in packages whose modules hold one in place of a class.

        Raises:
            FromNoiseError: no such name; the message has the nearest one.
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
    """Whether a class is an entry of ours: registered, in the module of its name. Another's @register is not enough."""
    name, (_, _, module) = cls.__dict__.get("registered_name"), cls.__module__.rpartition(".")
    return name is not None and cls.__module__.startswith("fromnoise.") and module == name.replace("-", "_")


def spec(thing: Any) -> dict[str, Any]:
    """The description from which `Registry.build` makes the same object again: plain JSON values.

    Raises:
        FromNoiseError: the object's class was not registered, so that its name means nothing elsewhere.
    """
    name = type(thing).__dict__.get("registered_name")
    if name is None:
        raise FromNoiseError(f"{type(thing).__name__} is not registered: give it @register and a file of its own")
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in getattr(thing, _OPTIONS).items()}
    return {"name": name, **options}


def short_spec(thing: Any) -> str | dict[str, Any]:
    """As `spec`, but the name alone where there are no options."""
    found = spec(thing)
    return found if len(found) > 1 else found["name"]


def insist_on_numbers(value: Any, where: str = "") -> None:
    """That every number in nested dictionaries and lists is finite, and that a whole one has at most 64 bits.

    Raises:
        FromNoiseError: one is not; `where` is its key.
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
    from pydantic import TypeAdapter, ValidationError  # the one heavy import of this module, so not at its top

    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        said = repr(value)
        got = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
        raise FromNoiseError(f"{key}: {first['msg'].lower()}, got {got}") from None
