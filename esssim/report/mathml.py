"""Formulas as MathML, which browsers draw themselves: no script, no font and no request."""

from __future__ import annotations

from functools import cache
from html import escape
from xml.etree import ElementTree

NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"
ELEMENTS = frozenset(
    {"math", "menclose", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mpadded", "mphantom", "mroot", "mrow",
     "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover"}
)  # fmt: skip


@cache
def mathml(latex: str, display: str = "inline") -> str:
    """A formula in LaTeX as a <math> element; its source as text where it cannot be drawn."""
    from latex2mathml.converter import convert

    try:
        markup: str = convert(latex, display=display)
    except Exception:  # a slip in one formula of one's own must not cost the report of a long run
        markup = ""
    if not _is_harmless(markup):
        return f"<code>{escape(latex)}</code>"
    return markup


def _is_harmless(markup: str) -> bool:
    """Whether it is MathML and nothing else: the converter copies the text of a formula as it is, tags and all."""
    try:
        elements = list(ElementTree.fromstring(markup).iter())
    except ElementTree.ParseError:
        return False
    names = {str(element.tag).removeprefix(NAMESPACE) for element in elements}
    attributes = {name for element in elements for name in element.attrib}
    return names <= ELEMENTS and not any(name.startswith("on") or name in ("href", "style") for name in attributes)
