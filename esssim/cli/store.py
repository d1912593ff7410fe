"""`esssim store`: the folder of a sweep: is it intact, make it so, and give it to other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from esssim.cli.common import AsJson, print_json

app = typer.Typer(
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    help="The folder of a sweep: check it, repair it, export it.",
)
Folder = Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="The folder of a sweep.")]

VERIFY = """Check every file and every row of a sweep against its checksum.

The digest of the results is equal for two sweeps whose results are equal bit by bit.

Exit code: 0 intact, 1 something is damaged or does not belong there, 2 there is no sweep."""

REPAIR = """Save the intact rows of damaged files, and put the damaged files into the folder "damaged".

The next run of the sweep computes the cells that were lost. Not while the sweep is running."""

EXPORT = """Write a sweep as one file: --parquet has a row for each cell, --netcdf is the Dataset of `es.load`.

Examples:

    esssim store export levels.sweep --parquet levels.parquet

    esssim store export levels.sweep --netcdf levels.nc"""


@app.command(help=VERIFY)
def verify(folder: Folder, as_json: AsJson = False) -> None:
    from dataclasses import asdict

    from esssim.experiments.folder import rescue

    found = rescue.verify(folder)
    if as_json:
        print_json({**asdict(found), "intact": found.intact})
    else:
        print(
            f"{found.cells:,} cells: {found.done:,} done, {found.failed:,} failed, {found.missing:,} missing; "
            f"{found.parts} files"
        )
        for name, reason in found.wrong.items():
            print(f"{name}: {reason}")
        print(f"results: sha256 {found.digest}")
        print("intact" if found.intact else f"damaged: {len(found.wrong)} files; `esssim store repair {folder}`")
    raise typer.Exit(0 if found.intact else 1)


@app.command(help=REPAIR)
def repair(folder: Folder, as_json: AsJson = False) -> None:
    from esssim.experiments.folder import rescue

    done = rescue.repair(folder)
    if as_json:
        print_json({"repaired": done})
        return
    for line in done:
        print(line)
    print("run the sweep again for the cells that are missing" if done else "nothing to repair")


@app.command(help=EXPORT)
def export(
    folder: Folder,
    parquet: Annotated[Path | None, typer.Option("--parquet", metavar="FILE", help="A table, a row per cell.")] = None,
    netcdf: Annotated[Path | None, typer.Option("--netcdf", metavar="FILE", help="The Dataset.")] = None,
) -> None:
    from esssim.experiments.folder import export as exporting

    if parquet is None and netcdf is None:
        raise ValueError("export needs --parquet FILE or --netcdf FILE")
    if parquet is not None:
        exporting.to_parquet(folder, parquet)
    if netcdf is not None:
        exporting.to_netcdf(folder, netcdf)
    for path in filter(None, (parquet, netcdf)):
        print(f"wrote {path}", file=sys.stderr)
