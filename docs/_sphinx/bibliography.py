"""references.bib: the papers that claims are tested against, and further.bib, those that pages and docstrings name."""

from __future__ import annotations

import re
from functools import cache

from sphinx.application import Sphinx

from _sphinx.files import DOCS, write


@cache
def entries() -> str:
    from esssim import papers

    tested = dict.fromkeys(paper.bibtex for paper in vars(papers).values() if isinstance(paper, papers.Paper))
    return "\n".join([*tested, (DOCS / "further.bib").read_text(encoding="utf-8")])


@cache
def preprints() -> dict[str, str]:
    """The key of each entry by its number on arXiv."""
    found = {}
    for entry in re.split(r"\n(?=@)", entries()):
        key, number = re.match(r"\s*@\w+\{([^,]+),", entry), re.search(r"\b(\d{4}\.\d{5})\b", entry)
        if key and number:
            found[number[1]] = key[1]
    return found


def write_references(app: Sphinx) -> None:
    write(DOCS / "references.bib", entries())
