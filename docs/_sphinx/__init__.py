"""What the site needs beyond Sphinx: formulas as MathML, pages made from results, theory and figures, links to sources."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from _sphinx import claims, explorer, mathml, numbers, pictures, reference, theme
from _sphinx.bibliography import write_references
from _sphinx.derivations import write_derivations
from _sphinx.gallery import write_gallery
from _sphinx.pictures import draw_all
from _sphinx.reference import write_reference


def setup(app: Sphinx) -> dict[str, Any]:
    for write in (write_references, write_derivations, write_gallery, write_reference, draw_all):
        write(app)
    for part in (mathml, reference, claims, numbers, pictures, explorer, theme):
        part.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
