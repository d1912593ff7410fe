"""`esssim report`: the page of a run that was saved."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from esssim.cli.common import OutFolder, prepare_folder

HELP = """Make the page of a saved run: where each statistic settles, its course, its configuration.

RUN.nc is what `esssim run` or `es.save` wrote. The page, one file that asks nobody for anything, goes to
RUN.html beside it or in the folder of --out.

Exit code: 0 the page is written, 2 bad input.

Examples:

    esssim report ramp.nc

    esssim report mine.nc --after 20000 --out pages"""


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN.nc", show_default=False)],
    after: Annotated[
        float | None,
        typer.Option(
            metavar="STEP", help="Average levels from this step on; by default where the run says, or half way."
        ),
    ] = None,
    out: OutFolder = None,
) -> None:
    from esssim import _validate, store
    from esssim.plots.runs import as_run

    trace = as_run("run", store.load(run))
    last = float(trace["step"].values[-1])
    given = trace.attrs.get("after", last / 2) if after is None else after
    since = _validate.real("after", given, at_least=0.0)
    if since > last:
        raise ValueError(f"after must be at most {last:g}, the last step of the run, got {since:g}")
    folder = run.parent if out is None else out
    prepare_folder(folder)
    from esssim._environment import environment
    from esssim.experiments.base import levels_of
    from esssim.report.run_page import render_run

    levels = levels_of(trace, since, replicas_agree=bool(trace.attrs.get("replicas_agree", True)))
    command = shlex.join(["esssim", "report", str(run), *([] if after is None else ["--after", f"{after:g}"])])
    path = folder / f"{run.stem}.html"
    where = environment(trace.attrs.get("seed"))
    store.write_text(path, render_run(run.stem, trace, levels, since, where, command, trace.attrs.get("experiment")))
    print(f"wrote {path}", file=sys.stderr)
