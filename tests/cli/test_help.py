"""The help of every command: examples that parse, defaults that say what they are, 80 columns."""

import dataclasses
import inspect
import re
import shlex
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from faults.hostile import plain

from fromnoise.app.cli import main, parsing
from fromnoise.errors import FromNoiseError

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(parsing.COMMANDS)


def page(capsys, monkeypatch, *words: str) -> str:
    """What `fromnoise WORDS --help` prints on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        parsing.parse([*words, "--help"])
    assert not stop.value.code
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


def examples(text: str) -> dict[str, str]:
    """{command line: what it does} of a help page."""
    block = text.split("\nexamples:\n")[1].split("\n\n")[0]
    found: dict[str, str] = {}
    for line in block.splitlines():
        if line.startswith("      "):
            found[last] = f"{found[last]} {line.strip()}".strip()  # noqa: F821  (a command comes first)
        else:
            assert line.startswith("  fromnoise "), line
            last = line.strip()
            found[last] = ""
    return found


def command_lines(text: str) -> list[str]:
    """The lines of a page of documentation that call fromnoise, without their comments."""
    lines = []
    for block in re.findall(r"```(?:sh|bash|console)?\n(.*?)```", text, re.DOTALL):
        lines += [line.split("  #")[0].strip() for line in block.splitlines()]
    lines = [part.strip() for line in lines for part in line.split("&&")]
    return [re.sub(r"^\S*bin/", "", line).rstrip("& ") for line in lines if re.match(r"(\S*bin/)?fromnoise ", line)]


def parsed(line: str) -> object:
    words = shlex.split(line)
    assert words[0] == "fromnoise"
    try:
        return parsing.parse(words[1:])
    except FromNoiseError as error:
        pytest.fail(f"{line}: does not parse ({error})")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_begins_with_examples_that_parse(name, capsys, monkeypatch):
    text = page(capsys, monkeypatch, name)
    usage, empty, about, blank, heading = text.splitlines()[:5]
    assert usage.startswith(f"usage: fromnoise {name} ")
    assert (empty, blank, heading) == ("", "", "examples:")
    assert about.endswith(".")
    found = examples(text)
    assert len(found) in (2, 3) or (name == "doctor" and len(found) == 1)  # which has no option
    assert any(line.split()[1] == name for line in found)
    for line, does in found.items():
        assert does.endswith("."), line
        assert callable(parsed(line))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns_and_its_defaults_say_something(name, capsys, monkeypatch):
    text = page(capsys, monkeypatch, name)
    assert max(map(len, text.splitlines())) <= 80
    joined = " ".join(re.sub("[│╭╮╰╯]", " ", text).split())
    for unsaid in ("None)", "None,", ",None", "True|False", "(default: )", "(default: True)", "(default: False)"):
        assert unsaid not in joined


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_described_in_sentences_which_no_line_of_the_source_breaks(name):
    """tyro ends a line where the source does."""
    cls = parsing.command(name)
    sources = [(base, inspect.getsource(base)) for base in cls.__mro__ if dataclasses.is_dataclass(base)]
    for field in dataclasses.fields(cls):
        source = next(text for base, text in sources if field.name in base.__annotations__)
        after = source[re.search(rf"^    {field.name}: ", source, re.MULTILINE).start() :]
        said = re.search(r'\n    """(.*?)"""', after, re.DOTALL)[1]
        assert said.endswith("."), field.name
        assert all(re.search("[.:]$", line) for line in said.splitlines()), field.name


@pytest.mark.parametrize("name", COMMANDS)
def test_what_may_be_on_off_or_left_alone_is_a_pair_of_flags(name):
    cls = parsing.command(name)
    hints = typing.get_type_hints(cls, include_extras=True)
    flags = [field for field in dataclasses.fields(cls) if plain(hints[field.name])[0] == bool | None]
    needed = {"info": ["RUN"], "convert": ["RUN", "OUT"], "export": ["RUN", "OUT"]}.get(name, ["RUN"])
    for field in flags:
        option = field.name.replace("_", "-")
        for words, value in ([f"--{option}"], True), ([f"--no-{option}"], False), ([], None):
            assert getattr(parsing.parse([name, *needed, *words]), field.name) is value
    assert {field.name for field in flags} == {"sample": {"clip", "truncated"}, "eval": {"clip", "truncated"},
                                               "export": {"clip"}}.get(name, set())  # fmt: skip


def test_the_studio_writes_a_truth_value_as_a_flag():
    from fromnoise.app.studio.again import option

    assert option("--clip", True) == ["--clip"]
    assert option("--clip", False) == ["--no-clip"]
    assert option("--steps", 1) == ["--steps", "1"]


def test_the_page_of_all_commands_has_a_line_for_each(capsys, monkeypatch):
    text = page(capsys, monkeypatch)
    assert max(map(len, text.splitlines())) <= 80
    listed = text.split("\ncommands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == list(parsing.COMMANDS)
    assert all(re.fullmatch(r"  [a-z-]+ +[A-Z].*\.", line) for line in listed)
    for line, does in examples(text).items():
        assert does
        assert callable(parsed(line))


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_the_command_lines_of_the_documentation_parse(path):
    for line in command_lines(path.read_text()):
        line = re.sub(r"\[(--[^]]*)\]", r"\1", line)  # what may be left out
        if any(part in line for part in (" COMMAND", "...")):
            continue
        assert callable(parsed(line)), line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "name a command: train, "),
        (["sample"], "missing RUN; see fromnoise sample --help"),
        (["table"], "missing KIND, RUN; see fromnoise table --help"),
        (["encode", "x"], "missing --out FOLDER; see fromnoise encode --help"),
        (["sample", "r", "--n", "x"], "--n: expected a whole number, got 'x'"),
        (["sample", "r", "--steps", "x"], "--steps: expected a whole number, got 'x'"),
        (["sample", "r", "--guidance", "x"], "--guidance: expected a number, got 'x'"),
        (["sample", "r", "--guidance-interval", "1"], "--guidance-interval: expected two numbers, got '1'"),
        (["eval", "--seeds"], "--seeds needs a value"),
        (
            ["sample", "r", "--smapler", "ddim"],
            "unknown option or extra argument: --smapler, ddim (did you mean --sampler?)",
        ),
        (["sample", "r", "--clip", "False"], "unknown option or extra argument: False"),
        (["nll", "r", "--split", "x"], "--split: must be one of "),
    ],
)
@pytest.mark.parametrize("frames", [True, False])
def test_the_parser_says_plainly_what_is_wrong(words, line, frames, capsys, monkeypatch):
    monkeypatch.setattr("tyro._fmtlib._FORCE_UTF8_BOXES", frames, raising=False)
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"fromnoise: {line}")
    assert "None" not in said[0]


def test_help_is_quick():
    """Half a second on a machine of today; the processor's time is measured, of the better of two tries."""
    probe = (
        "import time\n"
        "from fromnoise.app.cli import main\n"
        "try:\n main(['--help'])\n"
        "except SystemExit:\n print('SECONDS', time.process_time())\n"
    )
    tries = [subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout for _ in range(2)]
    assert min(float(said.rpartition("SECONDS")[2]) for said in tries) < 0.5
