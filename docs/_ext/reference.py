"""The reference: a page for every public module, command and recipe, made from the code when the site is built."""

import contextlib
import importlib
import inspect
import io
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import names
import yaml
from docstrings import escaped, markdown, summary

import fromnoise
from fromnoise import recipes
from fromnoise.app.cli import main
from fromnoise.app.cli.parsing import COMMANDS
from fromnoise.registry import Registry

_QUALIFIED = re.compile(r"\b(?:[a-zA-Z_]\w*\.)+([A-Za-z_]\w*)")
_LONGEST = 40
_FENCE = ":" * 4


def write(folder: Path) -> list[Path]:
    """Every page, into a folder of their own; returns them."""
    pages = {"fromnoise": _module("fromnoise", fromnoise, names.top_level())}
    pages |= {name: _module(f"fromnoise.{name}", module, names.of(module)) for name, module in names.modules().items()}
    pages["commands"] = _commands()
    pages["recipes-table"] = _recipes()
    listed = {name: f"fromnoise.{name}" for name in names.modules()}
    pages["index"] = _index(listed)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # else Sphinx would read all pages anew
            path.write_text(text, encoding="utf-8")
        written.append(path)
    for old in set(folder.glob("*.md")) - set(written):
        old.unlink()
    return written


def _index(listed: dict[str, str]) -> str:
    lines = ["# Reference", "", "Every public name, every command and every recipe, from the installed code.", ""]
    lines += ["| module | what it holds |", "|---|---|"]
    lines += [f"| [`{full}`]({name}.md) | {summary(names.modules()[name].__doc__)} |" for name, full in listed.items()]
    lines += [
        "",
        "```{toctree}",
        ":maxdepth: 1",
        "",
        "fromnoise",
        "commands",
        "Recipes <recipes-table>",
        *listed,
        "```",
        "",
    ]
    return "\n".join(lines)


def _module(full: str, module: ModuleType, own: dict[str, Any]) -> str:
    lines = [f"# `{full}`", "", markdown(module.__doc__), f"```{{py:module}} {full}", "```", ""]
    registry = getattr(module, "registry", None)
    if isinstance(registry, Registry) and module is not recipes:
        lines += ["| name | class | what it is |", "|---|---|---|"]
        lines += [f"| `{name}` | `{registry.get(name).__name__}` | {escaped(registry.summary(name))} |"
                  for name in registry.names()]  # fmt: skip
        lines += [""]
    for name, value in own.items():
        lines += _entry(full, name, value)
    return "\n".join(lines) + "\n"


def _entry(module: str, name: str, value: Any) -> list[str]:
    head = [f"## `{name}`", ""]
    again = [":no-index:"] if module != "fromnoise" and any(value is one for one in names.top_level().values()) else []
    if inspect.isclass(value):
        body = [f"{_FENCE}{{py:class}} {name}{_signature(value)}", f":module: {module}", *again, "", _class_text(value)]
        for own, member in _members(value):
            body += _member(own, member)
        return [*head, *body, _FENCE, ""]
    if callable(value) and hasattr(value, "__name__"):
        return [*head, f"{_FENCE}{{py:function}} {name}{_signature(value)}", f":module: {module}", *again, "",
                markdown(value.__doc__), _FENCE, ""]  # fmt: skip
    shown = " ".join(_short(value).split())
    return [*head, f"{_FENCE}{{py:data}} {name}", f":module: {module}", "", f"`{shown}`" if shown else "", _FENCE, ""]


def _class_text(cls: type) -> str:
    """What it says of itself; a dataclass without a docstring has one that only repeats its signature."""
    text = cls.__doc__ or ""
    if text.startswith(f"{cls.__name__}("):
        text = ""
    made = cls.__dict__.get("__init__")
    if made is not None and getattr(made, "__doc__", None) and "Args:" in made.__doc__:
        text += "\n\n" + inspect.cleandoc(made.__doc__)
    return markdown(text)


def _members(cls: type) -> list[tuple[str, Any]]:
    """Public methods and properties that the class defines or documents itself."""
    found = []
    for name, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        is_member = isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value)
        if is_member and not name.startswith("_") and getattr(function, "__doc__", None):
            found.append((name, value))
    return found


def _member(name: str, value: Any) -> list[str]:
    if isinstance(value, property):
        return [f":::{{py:property}} {name}", "", markdown(value.__doc__), ":::", ""]
    function = getattr(value, "__func__", value)
    flags = {classmethod: [":classmethod:"], staticmethod: [":staticmethod:"]}.get(type(value), [])
    bound = _signature(function, drop_first=not isinstance(value, staticmethod))
    return [f":::{{py:method}} {name}{bound}", *flags, "", markdown(function.__doc__), ":::", ""]


def _signature(value: Any, drop_first: bool = False) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "()"
    parameters = list(signature.parameters.values())[1 if drop_first else 0 :]
    parameters = [p.replace(annotation=_annotation(p.annotation), default=_default(p.default)) for p in parameters]
    back = inspect.Signature.empty if inspect.isclass(value) else _annotation(signature.return_annotation)
    text = str(signature.replace(parameters=parameters, return_annotation=back))
    return " ".join(text.replace("'", '"').split()) if "\n" in text else text


class _Text:
    """Shown as it is, without the quotes of a string."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _annotation(value: Any) -> Any:
    if value is inspect.Parameter.empty or value is inspect.Signature.empty:
        return value
    text = value if isinstance(value, str) else inspect.formatannotation(value)
    text = _QUALIFIED.sub(r"\1", text).replace('"', "")
    return _Text(text if len(text) < 4 * _LONGEST else "Any")


def _default(value: Any) -> Any:
    return value if value is inspect.Parameter.empty else _Text(_short(value))


def _short(value: Any) -> str:
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    text = repr(value)
    return text if len(text) <= _LONGEST and " object at 0x" not in text and "\n" not in text else "..."


def _commands() -> str:
    lines = ["# Commands", "", "What `fromnoise COMMAND --help` says.", ""]
    for name in COMMANDS:
        lines += [f"## fromnoise {name}", "", "```text", _help(name), "```", ""]
    return "\n".join(lines)


def _help(name: str) -> str:
    """The page of a command, of 100 columns, without colours."""
    before = dict(os.environ)
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    box = io.StringIO()
    try:
        with contextlib.redirect_stdout(box), contextlib.suppress(SystemExit):
            main([name, "--help"])
    finally:
        os.environ.clear()
        os.environ |= before
    return re.sub(r"\x1b\[[0-9;]*m", "", box.getvalue()).rstrip()


def _recipes() -> str:
    about = "`fromnoise train NAME` trains one. The table has what was published, and what was reproduced here."
    lines = ["# Recipes", "", about, "", "| recipe | what it is | published | reproduced |", "|---|---|---|---|"]
    for name in recipes.registry.names():
        found = recipes.load(name)
        said = [
            escaped(recipes.registry.summary(name)),
            escaped(found.expected or "–"),
            escaped(found.reproduced or "–"),
        ]
        lines.append(f"| [`{name}`](#recipe-{name}) | " + " | ".join(said) + " |")
    for name in recipes.registry.names():
        found = recipes.load(name)
        text = yaml.safe_dump(found.model_dump(mode="json"), sort_keys=False, allow_unicode=True).rstrip()
        lines += ["", f"(recipe-{name})=", f"## {name}", "", markdown(_recipe(name).__doc__), "",
                  "```yaml", text, "```"]  # fmt: skip
    return "\n".join(lines) + "\n"


def _recipe(name: str) -> ModuleType:
    return importlib.import_module(f"{recipes.__name__}.{name.replace('-', '_')}")
