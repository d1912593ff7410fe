"""`esssim run`: one experiment from its TOML file."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from esssim.cli import complete
from esssim.cli.common import AsJson, OutFolder, prepare_folder, print_json

HELP = """Run one experiment, and say where each recorded statistic settles.

CONFIG.toml names problem, data, start, sampling, dynamics and records; docs/experiments.md lists the keys. The records
go to CONFIG.nc, a picture to CONFIG.png and CONFIG.svg, a page to CONFIG.html, beside the file or in the folder of
--out.

Exit code: 0 the run is done (a verdict is no failure), 2 bad input, 130 and 143 interrupted.

Examples:

    esssim run examples/constant.toml

    esssim run examples/ramp.toml --set sampling.batch_size=16 --out results

    esssim run examples/ramp.toml --set 'dynamics.step_size={from = 0.5, to = 2, unit = "first edge"}' --json"""


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", show_default=False, autocompletion=complete.configs)],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the file. May be repeated."),
    ] = None,
    as_json: AsJson = False,
    out: OutFolder = None,
) -> None:
    from esssim import experiments

    experiment = experiments.from_toml(config, changes or ())
    folder = config.parent if out is None else out
    prepare_folder(folder)
    from esssim._threads import one_blas_thread
    from esssim.experiments import toml
    from esssim.report import run as report
    from esssim.report.progress import run_progress

    try:
        with one_blas_thread(), run_progress(config.stem) as progress:
            trace = experiment.run(progress)
            levels, results = experiment.levels(trace), experiment.results(trace, progress)
    except experiments.ConfigurationError as error:  # what only the run could show
        raise toml.read(config, changes or ()).error(error) from None
    sets = [word for change in changes or () for word in ("--set", change)]
    command = shlex.join(["esssim", "run", str(config), *sets])
    files = report.write_run(folder, config.stem, trace, levels, results, experiment, command)
    if as_json:
        print_json(report.as_dict(experiment, levels, results, files, int(trace.attrs["seed"])))
    else:
        report.show_run(experiment, trace, levels, results)
    for path in files:
        print(f"wrote {path}", file=sys.stderr)
