"""Formulas as MathML, which browsers draw themselves: no script, no font and no request."""

from __future__ import annotations

import re
from functools import cache

# MathML Core knows no variants of letters: the letters themselves are in Unicode.
DOUBLE_STRUCK = {"E": "𝔼", "R": "ℝ", "N": "ℕ", "P": "ℙ", "C": "ℂ"}


@cache
def mathml(latex: str, display: str = "inline") -> str:
    """A formula in LaTeX as a <math> element."""
    from latex2mathml.converter import convert

    markup: str = convert(latex, display=display)
    return re.sub(r'<mi mathvariant="double-struck">(\w)</mi>', lambda m: f"<mi>{DOUBLE_STRUCK[m[1]]}</mi>", markup)
