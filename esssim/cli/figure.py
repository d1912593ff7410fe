"""`esssim figure`: pictures for papers, lectures and talks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from esssim.cli import complete
from esssim.cli.common import AsJson, prepare_folder, print_json

HELP = """Draw a figure for a paper, a lecture or a talk.

NAME is one of `esssim figure --list`. Beside the picture lie the numbers drawn (.csv), where they come from (.json),
and its caption with an alt text (.md). What was computed once is kept (ESSSIM_CACHE, by default ~/.cache/esssim; delete
it at any time).

Examples:

    esssim figure levels

    esssim figure gap --width neurips1 --format pdf --out paper/figures

    esssim figure teaching --width slides --format gif

    esssim figure flow --quick"""


def figure(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", show_default=False, autocompletion=complete.figures)
    ] = None,
    width: Annotated[
        str,
        typer.Option(
            metavar="PAGE",
            help="icml1, icml2, neurips1, neurips2, jmlr1, jmlr2 (one column or half the text, two columns or all of "
            "it) "
            "or slides.",
        ),
    ] = "icml2",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Write into this folder.")] = Path("."),
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            show_default=False,
            help="pdf, svg, png; gif and mp4 for animations. May be repeated; default: all that the figure has.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer and shorter runs: seconds, and a rougher picture.")
    ] = False,
    usetex: Annotated[bool, typer.Option("--usetex", help="Let LaTeX set the text; it has to be installed.")] = False,
    as_json: AsJson = False,
    listed: Annotated[bool, typer.Option("--list", help="List the figures instead of drawing one.")] = False,
) -> None:
    from esssim._scripts import scripts

    package = scripts()
    if listed:
        if as_json:
            print_json({"figures": [{"name": each, "shows": text} for each, text in package.FIGURES.items()]})
        else:
            from esssim.report.terminal import show_figures

            show_figures(package.FIGURES)
        return
    if name is None:
        raise ValueError("figure must be named, got none; `esssim figure --list` shows them")
    package.check(name, width, formats or (), usetex)
    prepare_folder(out)
    from esssim.report.progress import step_progress

    with step_progress() as tell:
        paths = package.build(name, out, width=width, formats=formats or (), quick=quick, usetex=usetex, tell=tell)
    if as_json:
        provenance = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        print_json({**provenance, "width": width, "quick": quick, "files": [str(path) for path in paths]})
        return
    for path in paths:
        print(path)
