"""The explorer as a page of the site: the file that `esssim explore` writes, in a frame and by itself."""

from __future__ import annotations

from importlib import import_module, util
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FILE = "_static/explorer.html"
ABSENT = "The page with sliders is not part of this version."
WORDS = (
    f'<p><a href="{FILE}">Open it on a page of its own</a>, or run <code>esssim explore</code>.</p>'
    f'<iframe class="explorer" src="{FILE}" title="Explorer: SGD on small models, with sliders" loading="lazy"></iframe>'
)


def page() -> str | None:
    """The explorer as one HTML file; None in a version without it."""
    if util.find_spec("esssim.explorer") is None:
        return None
    written: Any = getattr(import_module("esssim.explorer"), "page", None)
    return None if written is None else str(written())


class Explorer(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(__file__)
        return [nodes.paragraph(text=ABSENT)] if page() is None else [nodes.raw("", WORDS, format="html")]


def write_page(app: Sphinx, error: Exception | None) -> None:
    text = page()
    if error is None and app.builder.format == "html" and text is not None:
        (Path(app.outdir) / FILE).write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.add_directive("explorer", Explorer)
    app.connect("build-finished", write_page)
