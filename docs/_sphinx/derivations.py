"""One page for each derivation of theory/: its statement, its results as MathML, and the functions that compute them."""

from __future__ import annotations

import inspect

import sympy
from sphinx.application import Sphinx

from _sphinx.files import DOCS, write
from _sphinx.reference import reference_to
from _sphinx.text import inline, paragraphs

FOLDER = DOCS / "theory"
INTRODUCTION = """# Theory

One page for each derivation: what it assumes, what it gives, the functions of esssim that compute it, and the proof. Every
step of a proof is asserted by sympy, or by enumeration in exact arithmetic, when `make theory` runs; the tests run it too.

"""


def write_derivations(app: Sphinx) -> None:
    import theory

    rows = ["| derivation | computed by |", "|---|---|"]
    for name in theory.names():
        title = theory.title(name)
        rows.append(
            f"| [{inline(title, './')}]({name}.md) | {', '.join(map(reference_to, theory.computed_by(name)))} |"
        )
        write(FOLDER / f"{name}.md", _page(name, title))
    toc = "\n".join(theory.names())
    write(
        FOLDER / "index.md",
        f"{INTRODUCTION}{chr(10).join(rows)}\n\n```{{toctree}}\n:hidden:\n:titlesonly:\n\n{toc}\n```\n",
    )


def _page(name: str, title: str) -> str:
    import theory

    module = theory.module(name)
    statement = (module.__doc__ or "").strip().partition("\n")[2]
    computed = "\n".join(f"* {reference_to(each)}" for each in theory.computed_by(name))
    results = "\n\n".join(
        f"{label}:\n\n$$\n{sympy.latex(sympy.sympify(expression))}\n$$"
        for label, expression in theory.results(name).items()
    )
    source = inspect.getsource(module)
    return (
        f"# {inline(title, './')}\n\n{paragraphs(statement, link='./')}\n\n## Computed by\n\n{computed}\n\n"
        f"## Results, as sympy has them\n\n{results}\n\n"
        f"## The proof, step by step\n\n`python -m theory {name}` runs it.\n\n```{{code-block}} python\n{source}```\n"
    )
