"""The site: every public name has its page, every link its target, every figure its command."""

import ast
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import docstrings
import names
import pytest
import reference

from fromnoise import recipes
from fromnoise.app.cli.parsing import COMMANDS
from fromnoise.app.studio.theory.identities import named

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = {"reference", "theory", "notebooks", "_build"}
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if path.relative_to(DOCS).parts[0] not in MADE]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    return {path.stem: path.read_text() for path in reference.write(folder)}


def test_every_public_name_has_a_page_and_says_what_it_is(pages):
    missing, silent = [], []
    for full in names.every():
        _, *module, name = full.split(".")
        page = pages[module[0] if module else "fromnoise"]
        if f"\n## `{name}`\n" not in page:
            missing.append(full)
    for name, module in {"": None, **names.modules()}.items():
        for own, value in (names.of(module) if module else names.top_level()).items():
            documented = inspect.isclass(value) or inspect.isfunction(value)
            if documented and not (value.__doc__ or "").strip():
                silent.append(f"{name}.{own}")
    assert not missing
    assert not silent


def test_every_command_and_every_recipe_is_there(pages):
    for name in COMMANDS:
        assert f"\n## fromnoise {name}\n" in pages["commands"]
    assert pages["commands"].count("usage: fromnoise") >= len(COMMANDS)
    for name in recipes.registry.names():
        assert f"(recipe-{name})=" in pages["recipes-table"]


def test_a_docstring_is_shown_with_its_formulas():
    text = """x_t = alpha_t x_0 + sigma_t eps, |x|^2 < 1 and `x_t` in [-1, 1].

    Args:
        size: of a step, in
            (0, 1).
        *more: others.

    Raises:
        ValueError: no.
    """
    shown = docstrings.markdown(text)
    assert r"x\_t = alpha\_t x\_0 + sigma\_t eps, \|x\|^2 \< 1 and `x_t` in \[-1, 1\]." in shown
    assert "**Parameters**\n\n- `size`: of a step, in\n  (0, 1).\n- `*more`: others." in shown
    assert "- `ValueError`: no." in shown


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        place = (page.parent / target).resolve()
        made = place.is_relative_to(DOCS) and place.relative_to(DOCS).parts[0] in MADE
        assert place.exists() or made, f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_included_code_exists(page):
    for target, options in re.findall(r"```{literalinclude} (\S+)\n(.*?)```", page.read_text(), re.DOTALL):
        source, said = (
            (page.parent / target).read_text(),
            dict(re.findall(r"^:([a-z-]+): (.+)$", options, re.MULTILINE)),
        )
        *_, name = said["pyobject"].split(".")
        found = [n for n in ast.walk(ast.parse(source)) if getattr(n, "name", None) == name]
        assert len(found) == 1, f"{target}: {name}"
        lines = ast.get_source_segment(source, found[0])
        assert said.get("start-at", "") in lines
        assert said.get("end-before", "") in lines


def test_the_evidence_is_of_the_pages_and_every_table_of_figures_has_a_command():
    spec = importlib.util.spec_from_file_location("evidence", DOCS / "evidence" / "make.py")
    made = importlib.util.module_from_spec(spec)
    sys.modules["evidence"] = made  # dataclasses look it up
    spec.loader.exec_module(made)
    text, missing = made.page()
    assert not missing
    assert (DOCS / "evidence.md").read_text() == text, "python docs/evidence/make.py"


def test_the_identities_of_the_evidence_are_those_of_the_code():
    rows = json.loads((DOCS / "evidence" / "verify.json").read_text())
    assert {row["name"] for row in rows} == {one.name for one in named()}, "make evidence"
    assert all(row["passed"] for row in rows)


@pytest.mark.long
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("myst_nb", reason="the docs extra is not installed")
    copy = tmp_path / "docs"
    shutil.copytree(DOCS, copy, ignore=shutil.ignore_patterns(*MADE))
    for name in (
        "src",
        "notebooks",
        "examples",
        "tests",
        "benchmarks",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CITATION.cff",
        "LICENSE",
        "README.md",
    ):
        os.symlink(ROOT / name, tmp_path / name)
    done = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(copy), str(tmp_path / "out")],
                          capture_output=True, text=True, timeout=1500)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "reference" / "samplers.html").exists()
