"""The statements and results as one page: HTML with MathML, and LaTeX."""

from __future__ import annotations

import re
from html import escape

import sympy
from sympy.printing.mathml import mathml

from theory import module, results

STYLE = (
    "body{max-width:52rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 Georgia,serif}"
    "pre{font:0.9rem/1.45 ui-monospace,monospace;white-space:pre-wrap}"
    "math{font-size:1.1rem}figure{margin:1rem 0;overflow-x:auto}figcaption{color:#555;font-size:0.9rem}"
)
SPECIAL = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}


def html(chosen: list[str]) -> str:
    """One section per result: title, statement, results as MathML."""
    parts = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Derivations</title><style>{STYLE}</style>']
    parts.append("<h1>Derivations</h1>")
    for name in chosen:
        title, statement = _statement(name)
        parts.append(f'<h2 id="{escape(name)}">{escape(title)}</h2><pre>{escape(statement)}</pre>')
        for label, expression in results(name).items():
            markup = mathml(_equation(expression), printer="presentation")
            parts.append(
                '<figure><math xmlns="http://www.w3.org/1998/Math/MathML" display="block">'
                f"{markup}</math><figcaption>{escape(label)}</figcaption></figure>"
            )
    return "\n".join(parts) + "\n</html>\n"


def latex(chosen: list[str]) -> str:
    """The same for XeLaTeX or LuaLaTeX, which read the statements' Greek letters as they are."""
    parts = [
        r"\documentclass{article}",
        r"\usepackage{amsmath,fontspec,unicode-math,geometry}",
        r"\setmainfont{DejaVu Serif}\setmonofont{DejaVu Sans Mono}[Scale=0.8]",
        r"\title{Derivations}\author{}\begin{document}\maketitle",
    ]
    for name in chosen:
        title, statement = _statement(name)
        parts += [rf"\section{{{_plain(title)}}}", r"\begin{verbatim}", statement, r"\end{verbatim}"]
        for label, expression in results(name).items():
            parts += [rf"\paragraph{{{_plain(label)}}}", rf"\[ {sympy.latex(_equation(expression))} \]"]
    return "\n".join([*parts, r"\end{document}", ""])


def _statement(name: str) -> tuple[str, str]:
    title, _, statement = (module(name).__doc__ or "").strip().partition("\n")
    return title.rstrip("."), statement.strip()


def _equation(expression: object) -> sympy.Basic:
    return sympy.sympify(expression)


def _plain(text: str) -> str:
    return re.sub(r"[\\{}^~]|[#$%&_]", lambda match: SPECIAL.get(match[0], "\\" + match[0]), text)
