"""One page for each figure: the picture, its caption, its numbers and the script that draws it."""

from __future__ import annotations

from sphinx.application import Sphinx

from _sphinx.files import DOCS, write


def write_gallery(app: Sphinx) -> None:
    write(DOCS / "gallery" / "index.md", "# Gallery\n")
