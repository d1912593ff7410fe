"""Indices of plain text, λ_max, E_B, M_{b+1} and x^{2D}, as HTML and as SVG."""

from __future__ import annotations

import re
from html import escape

INDEX = re.compile(
    r"([^\W\d_]|‖)_(?:\{([^{}]*)\}|(B(?![a-z]{2})|(?:max|min|jk|ac|ij)(?![^\W_])|[A-Za-z0-9](?![A-Za-z0-9_])))"
)
MARKED = re.compile(r"<(sub|sup)>(.*?)</su[bp]>")
# An index of SVG in parts of a letter: how far it is lowered or raised, and its size in report.css.
SHIFT, SIZE = 0.3, 0.75


def html(text: str) -> str:
    """Text as HTML: escaped, with its indices."""
    return subscripts(escape(text))


def svg(text: str) -> str:
    """The inside of a <text> of SVG: escaped, with its indices as smaller letters on a line of their own."""
    return MARKED.sub(_shifted, subscripts(escape(text)))


def _shifted(match: re.Match[str]) -> str:
    down = SHIFT if match[1] == "sub" else -SHIFT
    # A space without width brings what follows back to the line.
    return f'<tspan dy="{down / SIZE:.2f}em" class="index">{match[2]}</tspan><tspan dy="{-down}em">\u200b</tspan>'


def subscripts(markup: str) -> str:
    """λ_max, E_B, M_{b+1} and x^{2D} as HTML, in text that is escaped; names of code such as n_steps stay."""
    lowered = INDEX.sub(_lowered, markup)
    return re.sub(r"\^\{([^{}]*)\}", r"<sup>\1</sup>", lowered)


def _lowered(match: re.Match[str]) -> str:
    before = match.string[: match.start()][-1:]
    if match[3] and match[3] != "B" and before.isascii() and before.islower():
        return match[0]  # a name of code
    return f"{match[1]}<sub>{match[2] or match[3]}</sub>"
