"""The explorer: a page that trains small models in the browser, with every statistic and the flow beside the run."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

__all__ = ["page"]


def page() -> str:
    """The whole page as one self-contained HTML document: it asks nothing of the network.

    Write it to a file and open that in a browser, or use `esssim explore`. Its numbers are computed by the JavaScript
    in `esssim/explorer/js`, which `python -m esssim.explorer.golden FILE` and the tests compare with Python's to 1e-10.
    """
    from esssim.explorer.bundle import bundle

    here = files("esssim.explorer")
    template = here.joinpath("page.html").read_text(encoding="utf-8")
    script = bundle(Path(str(here)) / "js" / "page" / "main.mjs")
    parts = {
        "style": here.joinpath("style.css").read_text(encoding="utf-8"),
        "script": f'"use strict";\nconst STYLE = {json.dumps(_style())};\n{script}',
    }
    for name, content in parts.items():
        template = template.replace(f"{{{{{name}}}}}", content)
    return template


def _style() -> dict[str, object]:
    """The colours of the figures: of each statistic, and of batch sizes from dark to light."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    from esssim.plots.style import LOOKS

    shades = [to_hex(colormaps["viridis"](k / 24)) for k in range(25)]
    return {"colors": {name: look.color for name, look in LOOKS.items()}, "viridis": shades}
