"""The tutorials: their cells compile and use public names, their links lead somewhere, and each runs as a notebook."""

import ast
import re
import time
from pathlib import Path

import pytest

import fromnoise as fn

DOCS = Path(__file__).parents[1] / "docs"
TUTORIALS = sorted(path for path in (DOCS / "tutorials").glob("*.md") if path.stem != "index")
PAGES = [*TUTORIALS, DOCS / "tutorials" / "index.md", DOCS / "start.md"]
HEADER = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n\n# "
NEEDED = ("mlxtend", "matplotlib", "torchdiffeq")
"""What the cells use beside the library."""


def blocks(path, kind):
    """The fenced blocks of a page: "{code-cell}", "python" or "bash"."""
    return re.findall(rf"^```{re.escape(kind)}[^\n]*\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S)


def cells(path):
    return blocks(path, "{code-cell}")


def private_names(code):
    """Names in the code that begin with one underscore: of attributes, and in what is imported."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            found.append(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found += [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [part for alias in node.names for part in alias.name.split(".")]
    return [name for name in found if name.startswith("_") and not name.startswith("__")]


def page(path):
    return str(path.relative_to(DOCS).with_suffix(""))


each = pytest.mark.parametrize("path", TUTORIALS, ids=page)
every = pytest.mark.parametrize("path", PAGES, ids=page)


def test_there_are_ten_and_the_index_has_all():
    assert len(TUTORIALS) == 10
    listed = re.findall(r"^\| \[[^\]]+\]\(([\w-]+\.md)\)", (DOCS / "tutorials" / "index.md").read_text(), re.M)
    assert sorted(listed) == [path.name for path in TUTORIALS]


@each
def test_a_tutorial_is_a_notebook_that_says_what_comes_next(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith(HEADER)
    assert "\n## Next\n" in text
    assert "You will " in text.split("\n## ")[0]
    assert len(cells(path)) == 0 if path.stem == "studio" else 3 <= len(cells(path)) <= 8
    assert max(map(len, text.splitlines())) <= 130


@every
def test_python_compiles_and_uses_public_names(path):
    for code in [*cells(path), *blocks(path, "python")]:
        compile(code, str(path), "exec")
        assert private_names(code) == []
    for code in cells(path):
        assert ".fit(" not in code or "progress=False" in code or "**options" in code, "no bars in the output"


def test_private_names_are_found():
    code = "from fromnoise.data._lanes import Lanes\nfn.likelihood._vlb.vlb(x)\nx.__class__"
    assert sorted(private_names(code)) == ["_lanes", "_vlb"]


@every
def test_every_relative_link_exists(path):
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    assert links
    for link in links:
        target, _, section = link.partition("#")
        if "://" in target:
            continue
        found = (path.parent / target).resolve() if target else path
        assert found.is_file(), link
        if section:
            heads = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.M)
            assert section in [re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads], link


@every
def test_commands_and_recipes_exist(path):
    from fromnoise.app.cli.parsing import COMMANDS

    for code in blocks(path, "bash"):
        for command, word in re.findall(r"\bfromnoise ([a-z-]+) +(\S+)", code):
            assert command in COMMANDS
            assert command != "train" or word == "..." or word in fn.recipes.names(), word


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("path", [path for path in TUTORIALS if cells(path)], ids=page)
def test_a_tutorial_runs(path, tmp_path, monkeypatch):
    """In a fresh kernel, within two minutes; it leaves nothing in its folder or in the cache."""
    nbformat = pytest.importorskip("nbformat", reason="the notebooks extra is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the notebooks extra is not installed")
    for name in NEEDED:
        pytest.importorskip(name)
    monkeypatch.setenv("FROMNOISE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells(path)])
    resources = {"metadata": {"path": str(tmp_path / "here")}}
    started = time.monotonic()
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    assert time.monotonic() - started < 120
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert [*(tmp_path / "here").iterdir()] == []
    assert not (tmp_path / "cache").exists()
