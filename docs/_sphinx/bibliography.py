"""references.bib, from the papers that claims are tested against."""

from __future__ import annotations

from sphinx.application import Sphinx

from _sphinx.files import DOCS, write


def write_references(app: Sphinx) -> None:
    from esssim import papers

    entries = dict.fromkeys(paper.bibtex for paper in vars(papers).values() if isinstance(paper, papers.Paper))
    write(DOCS / "references.bib", "\n".join(entries) + "\n")
