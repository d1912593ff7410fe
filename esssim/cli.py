"""The command line: `esssim verify` measures every claim."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from esssim.claims import Claim, Verdict

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

WORDS = {True: "as we predict", False: "CONTRADICTS OUR PREDICTION", None: "no prediction, or no verdict"}


@app.callback()
def _root() -> None:
    """The stability of stochastic gradient descent, in numbers one can trust."""


@app.command()
def verify(
    claims: Annotated[list[str] | None, typer.Argument(help="ids or families of claims; all without one")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="shorter runs, fewer claims: under a minute")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
    out: Annotated[Path | None, typer.Option(help="folder for results.json")] = None,
) -> None:
    """Measure claims and print each verdict. Exit code: 0 as predicted, 1 contradicted, 2 bad input, 3 undecided."""
    from esssim import claims as claims_module
    from esssim import store

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise ValueError(f"--out must be a writable folder, got {str(out)!r}")

    def progress(claim: Claim, verdict: Verdict | None) -> None:
        if verdict is not None:
            measured = verdict.measurement
            line = f"{measured.verdict:12s} {claim.id}: {measured.reason} ({WORDS[verdict.as_predicted]})"
            print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    verdicts = claims_module.verify(claims, quick, progress)
    environment = {"python": platform.python_version(), "platform": platform.platform(), "cpus": os.cpu_count()}
    text = json.dumps({"claims": [v.as_dict() for v in verdicts], "environment": environment}, indent=1)
    if as_json:
        print(text)
    if out is not None:
        store.write_text(out / "results.json", text)
    raise typer.Exit(claims_module.exit_code(verdicts))


def main() -> None:
    """Entry point: every expected error is one line on stderr and exit code 2."""
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
