"""Formulas as MathML, which browsers draw by themselves: the site loads nothing from elsewhere."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from fromnoise.app.studio.theory.mathml import formula


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(formula(node.astext(), "inline"))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="fn-formula">{formula(node.astext().strip(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """As Sphinx asks an extension."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True}
