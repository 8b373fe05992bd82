"""Every command line that can be made of a command's options is understood, or refused in one line with status 2."""

import dataclasses
import io
import string
import typing
import unicodedata
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pytest

pytest.importorskip("hypothesis", reason="the dev extra is not installed")

from faults.hostile import plain
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fromnoise.app.cli import main, parsing

MISSING = "no-such-run"
WORKS_WITHOUT_A_RUN = {"list", "verify", "train", "train-autoencoder", "index", "doctor"}

NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(["", "nan", "-inf", "1e999", "0x1", "1_0", "½", "--"]),
)
WORDS = st.one_of(
    st.text(max_size=20),
    st.text(string.printable, max_size=8),
    st.sampled_from(
        ["", "~nouser/x", "\x1b[31m", "a" * 5000, "\udcff", "=", "a=b", "a=[", "a=!!python/name:os.system x", "None"]
    ),
)
# Without shrinking: the words are short already, and a failure would take minutes.
EXAMPLES = settings(max_examples=60, derandomize=True, deadline=None, database=None,
                    phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip


def value(hint: Any) -> st.SearchStrategy[str]:
    """Words for a field of that type: right ones and wrong ones."""
    if typing.get_origin(hint) is Literal:
        return st.one_of(st.sampled_from([str(word) for word in typing.get_args(hint)]), WORDS)
    inner = [kind for kind in typing.get_args(hint) if kind not in (type(None), ...)]
    if inner:
        return st.one_of([value(kind) for kind in inner])
    return st.one_of(NUMBERS, WORDS) if hint in (int, float) else WORDS


def option(name: str, hint: Any) -> st.SearchStrategy[list[str]]:
    """An option of the command line with its value or values."""
    kind, marks = plain(hint)
    flag = "--" + (next((mark.name for mark in marks if getattr(mark, "name", None)), None) or name).replace("_", "-")
    if kind in (bool, bool | None):
        return st.sampled_from([[flag], [flag.replace("--", "--no-")], [flag, "True"]])
    most = 3 if typing.get_origin(kind) is tuple else 1
    return st.lists(value(kind), min_size=0 if most > 1 else 1, max_size=most).map(lambda words: [flag, *words])


def lines(name: str) -> st.SearchStrategy[list[str]]:
    """Command lines of one command: its positional words, and any of its options."""
    cls = parsing.command(name)
    hints = typing.get_type_hints(cls, include_extras=True)
    positional, options, needed = [], [], [st.just([])]
    for field in dataclasses.fields(cls):
        kind, marks = plain(hints[field.name])
        if any("Positional" in str(mark) for mark in marks):
            right = MISSING if kind in (Path, Path | None) or field.name in ("images", "data") else None
            positional.append(st.one_of(value(kind), *([st.just(right)] * 3 if right else [])))
        else:
            options.append(option(field.name, hints[field.name]))
            needed += options[-1:] if field.default is dataclasses.MISSING else []
    return st.builds(
        lambda words, must, chosen: [*words, *(word for part in (*must, *chosen) for word in part)],
        st.tuples(*positional),
        st.tuples(*needed),
        st.lists(st.one_of(options), max_size=4) if options else st.just([]),
    )


def check(status: int, out: str, err: str) -> None:
    """Nothing on standard error, or one line from us."""
    assert status in (0, 2), err
    assert "Traceback" not in out + err
    if status == 2:
        said = [line for line in err.splitlines() if line.strip()]
        assert len(said) == 1, err
        assert said[0].startswith("fromnoise: ")
        assert not any(unicodedata.category(sign) == "Cc" for sign in said[0]), "a terminal would obey it"
        assert not out


def parse(arguments: list[str]) -> int:
    """Understand a command line, and do not run it."""

    def understood(arguments: list[str]) -> Any:
        assert callable(parsing.parse(arguments))
        return lambda: 0

    with mock.patch("fromnoise.app.cli.entry.parse", understood):
        return main(arguments)


def called(function: Any, arguments: list[str]) -> tuple[int, str, str]:
    # As a terminal's: the parser draws its frames by the encoding of standard output.
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2))
    status: Any = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            status = function(arguments)
    except SystemExit as stop:
        status = stop.code
    said = []
    for stream in (out, err):
        stream.flush()
        said.append(stream.buffer.getvalue().decode())
    return status if isinstance(status, int) else int(status is not None), said[0], said[1]


@pytest.mark.parametrize("name", sorted(parsing.COMMANDS))
def test_any_words_are_parsed_or_refused(name):
    @EXAMPLES
    @given(lines(name))
    def parsed(words: list[str]) -> None:
        check(*called(parse, [name, *words]))

    parsed()


@pytest.mark.parametrize("name", sorted(set(parsing.COMMANDS) - WORKS_WITHOUT_A_RUN))
def test_any_words_about_a_run_that_is_not_there(name, tmp_path, monkeypatch):
    """The whole command: it ends before it does anything, in a line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    @EXAMPLES
    @given(lines(name).filter(lambda words: MISSING in words))
    def run(words: list[str]) -> None:
        status, out, err = called(main, [name, *words])
        check(status, out, err)
        if not {"-h", "--help"} & set(words):
            assert status == 2

    run()


@EXAMPLES
@given(st.lists(st.one_of(WORDS, st.sampled_from(["--help", "-h", "sample", "--set"])), max_size=4))
def test_any_words_at_all(words):
    """Whatever stands where the command should be; a real command is tried above."""
    if any(word in parsing.COMMANDS and word not in ("sample",) for word in words):
        return
    check(*called(parse, words))
