"""Formulas as MathML, which browsers draw themselves: no script, no font and no request."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

# MathML Core knows no variants of letters: the letters themselves are in Unicode.
_DOUBLE_STRUCK = {"E": "𝔼", "R": "ℝ", "N": "ℕ", "P": "ℙ", "C": "ℂ"}


def mathml(latex: str, display: str = "inline") -> str:
    """A formula as a <math> element."""
    markup = convert(latex, display=display)
    return re.sub(r'<mi mathvariant="double-struck">(\w)</mi>', lambda m: f"<mi>{_DOUBLE_STRUCK[m[1]]}</mi>", markup)


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math notranslate"))
    self.body.append(mathml(node.astext(), "block") + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
