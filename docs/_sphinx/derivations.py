"""One page for each derivation of theory/: its statement, its results as MathML, and the functions that compute them."""

from __future__ import annotations

from sphinx.application import Sphinx

from _sphinx.files import DOCS, write


def write_derivations(app: Sphinx) -> None:
    write(DOCS / "theory" / "index.md", "# Theory\n")
