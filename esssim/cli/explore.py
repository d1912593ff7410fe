"""`esssim explore`: the page with sliders, in the browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from esssim.cli.common import AsJson, prepare_folder, print_json

HELP = """Open the explorer in the browser: train small models and watch which quantity stays at 2/η.

It is one HTML file that asks nothing of the network. With --out it is written there, and no browser is opened.

Examples:

    esssim explore

    esssim explore --out explorer.html"""


def explore(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the page to this file instead of opening it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    from esssim import store
    from esssim.explorer import page

    path = _kept() if out is None else out
    prepare_folder(path.parent)
    content = page()
    store.write_text(path, content)
    opened = out is None and webbrowser.open(path.resolve().as_uri())
    if as_json:
        print_json({"file": str(path), "bytes": len(content.encode()), "opened": opened})
    elif opened or out is not None:
        print(f"{'opened' if opened else 'wrote'} {path}", file=sys.stderr)
    else:
        print(f"no browser could be opened; open this file in one: {path}", file=sys.stderr)


def _kept() -> Path:
    """Where the page lies while a browser shows it: a reload, and an address that was kept, find it again."""
    return Path(os.environ.get("ESSSIM_CACHE") or Path.home() / ".cache" / "esssim") / "explorer.html"
