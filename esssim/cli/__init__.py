"""The command line, one file per command. Everything slow is imported inside the commands, so that help is instant."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from typing import Annotated

import typer

from esssim._errors import in_one_line, tracebacks_are_wanted
from esssim.cli import (
    cite,
    doctor,
    experiment,
    explore,
    figure,
    interrupts,
    measure,
    measure_network,
    report,
    store,
    sweep,
    verify,
)

BAD_INPUT = 2
INTERRUPTED = 130
BROKEN_PIPE = 141

app = typer.Typer(
    name="esssim",
    help="esssim: the edge of stochastic stability, in numbers one can trust.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def entry(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from esssim import __version__

        print(f"esssim {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


app.command(help=verify.HELP)(verify.verify)
app.command(help=measure.HELP)(measure.measure)
app.command(name="measure-network", help=measure_network.HELP)(measure_network.measure_network)
app.command(name="run", help=experiment.HELP)(experiment.run)
app.command(help=report.HELP)(report.report)
app.command(help=sweep.HELP)(sweep.sweep)
app.add_typer(store.app, name="store")
app.command(help=cite.HELP)(cite.cite)
app.command(help=figure.HELP)(figure.figure)
app.command(help=explore.HELP)(explore.explore)
app.command(help=doctor.HELP)(doctor.doctor)


def main() -> None:
    """Entry point: every error is one line on standard error and exit code 2; 128 + its number for a signal."""
    for stream in (sys.stdout, sys.stderr):
        # η and λ on a terminal that knows ASCII only: a question mark, not a failure after the work.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    interrupts.watch()
    # At the end Python looks through all that was loaded once more. That takes longer than a short command, and is for
    # nothing: the process ends.
    atexit.register(gc.freeze)
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # `esssim ... | head`: what is left in the buffer must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    if interrupts.came():
        interrupts.leave()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """The exit code of a command line."""
    try:
        code = app(arguments, prog_name="esssim", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as left:  # 1, which means something else here: by both rich and typer on a closed pipe
        return BROKEN_PIPE if left.code == 1 else int(left.code or 0)
    except Exception as error:
        if tracebacks_are_wanted():
            raise
        print(f"error: {in_one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    return code if isinstance(code, int) else 0
