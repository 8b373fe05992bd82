"""How Sphinx builds the site: `make docs`."""

import json
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the tutorials: two threads on a busy machine are many times slower
sys.path.insert(0, str(HERE / "_ext"))

import reference
import theory
from sphinx.application import Sphinx

import fromnoise

project = "fromnoise"
author = "The fromnoise founders"
copyright = "2026, the fromnoise founders"
version = release = fromnoise.__version__

extensions = ["myst_nb", "sphinx_copybutton", "mathml"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nb_execution_excludepatterns = ["notebooks/*"]
exclude_patterns = ["_build", "_ext", "atlas", "images", "evidence"]
html_math_renderer = "mathml"
nitpicky = False
toc_object_entries = False

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist", "attrs_inline"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
suppress_warnings = ["config.cache", "ref.python"]  # a class of one name in two modules: annotations name it alone

nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

html_theme = "furo"
html_title = f"fromnoise {version}"
html_static_path = ["_static", "../src/fromnoise/app/studio/page/chart.js", "../src/fromnoise/app/studio/page/dom.js"]
html_css_files = ["site.css"]
html_js_files = [("figure.js", {"type": "module"})]
html_favicon = "../src/fromnoise/app/studio/page/icon.svg"
html_theme_options = {"sidebar_hide_name": False, "navigation_with_keys": True}
html_copy_source = False
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

linkcheck_ignore = [r"https?://"]  # those of the network: `make docs-links` checks them


def _made(app: Sphinx, config: object) -> None:
    """What is made of the code, before Sphinx looks for pages."""
    rows = json.loads((HERE / "evidence" / "verify.json").read_text(encoding="utf-8"))
    for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
        (HERE / "notebooks").mkdir(exist_ok=True)
        shutil.copyfile(notebook, HERE / "notebooks" / notebook.name)
    reference.write(HERE / "reference")
    theory.write(HERE / "theory", HERE / "_static" / "figures", {row["name"]: row for row in rows})


def _moved(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to notebooks and pages beside docs, which the site has copies of inside."""
    up = "../" * page.count("/")
    for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG"):
        source[0] = source[0].replace(f"](../{up}{name}.md", f"]({up}{name.lower()}.md")
    source[0] = source[0].replace(f"](../{up}notebooks/", f"]({up}notebooks/")


def setup(app: Sphinx) -> None:
    """As Sphinx asks."""
    app.connect("config-inited", _made)
    app.connect("source-read", _moved)
