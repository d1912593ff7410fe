"""The command line. Everything slow is imported inside the commands, so that help is instant."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esssim._errors import in_one_line, tracebacks_are_wanted

if TYPE_CHECKING:
    from esssim.claims import Verdict
    from esssim.claims.model import Claim

BAD_INPUT = 2
INTERRUPTED = 130
BROKEN_PIPE = 141

VERIFY_HELP = """Measure claims: which hold, which are refuted, is it what we predict?

CLAIM is an id or a family (`esssim verify --list`); all claims without one.

Exit code: 0 all as predicted, 1 something contradicts our prediction, 2 bad input or a claim that could not be
measured, 3 something stayed undecided.

Examples:

    esssim verify --quick

    esssim verify mean-square-settles --out results

    esssim verify minibs-settles/diabetes/b=4 --json

    esssim verify --bridge --quick

Claims about torch networks need the extra esssim[bridge]; without it they are skipped, and said to be."""

MEASURE_HELP = """Sharpness and critical step size of a table of your own.

For several batch sizes: sharpness, MiniBS and their gap, batch sharpness, IAS, mean-square sharpness Q_b, and the
critical step size 2/Q_b. TABLE is a .csv, .parquet or .npz file, or a bundled table: diabetes, breast_cancer, wine,
digits. Sampled numbers come with a 95 % interval; everything else is exact.

Examples:

    esssim measure diabetes

    esssim measure houses.csv --target price --batch-size 8 --batch-size 32

    esssim measure houses.csv --target price --model network --out results

    esssim measure diabetes --model mlp --batches 200"""

CITE_HELP = """A claim's statement and source, and BibTeX.

Example:

    esssim cite mean-square-edge"""

FIGURE_HELP = """Draw a figure for a paper, a lecture or a talk.

NAME is one of `esssim figure --list`. Beside the picture lie the numbers drawn (.csv), where they come from (.json), and
its caption with an alt text (.md). What was computed once is kept (ESSSIM_CACHE, by default ~/.cache/esssim; delete it
at any time).

Examples:

    esssim figure levels

    esssim figure gap --width neurips1 --format pdf --out paper/figures

    esssim figure teaching --width slides --format gif

    esssim figure flow --quick"""

app = typer.Typer(
    name="esssim",
    help="esssim: the edge of stochastic stability, in numbers one can trust.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
OutFolder = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the results to this folder.")]


@app.callback(invoke_without_command=True)
def entry(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print it.")] = False
) -> None:
    if version:
        from esssim import __version__

        print(f"esssim {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command(help=VERIFY_HELP)
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[CLAIM]...", show_default=False)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Shorter runs, only what they can decide: a minute.")] = False,
    as_json: AsJson = False,
    out: OutFolder = None,
    bridge: Annotated[
        bool, typer.Option("--bridge", help="Only the claims about torch networks (extra: esssim[bridge]).")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the claims instead of measuring them.")] = False,
) -> None:
    from esssim import claims

    extra = "bridge" if bridge else None
    selected = claims.registry.select(names or None, quick, extra)
    if listed:
        _list(selected, as_json)
        return
    if not selected:
        raise ValueError("there is no claim to verify")
    absent = claims.missing(extra) if extra else None
    if absent:
        raise ValueError(f"--bridge needs torch: {absent}")
    if out is not None:
        _prepare_folder(out)
    verdicts, interrupted = _measure(names or None, quick, len(selected), extra)
    from esssim import report
    from esssim.experiments import RampExperiment
    from esssim.report.environment import environment
    from esssim.report.terminal import show_verdicts

    where = environment(RampExperiment.seed)
    # The numbers are safe before anything is drawn, and an interrupt costs only what was not measured yet.
    if out is not None and verdicts:
        report.write_results(out, verdicts, where)
    if interrupted:
        if out is not None and verdicts:
            print(f"interrupted: {len(verdicts)} of {len(selected)} claims are in {out}", file=sys.stderr)
        raise KeyboardInterrupt
    if as_json:
        print(report.results_json(verdicts, where), end="")
    else:
        show_verdicts(verdicts)
    if out is not None:
        from esssim import plots

        drawable = [verdict.claim.setting for verdict in verdicts if verdict.error is None]
        report.write_report(out, verdicts, where, plots.report_pictures(quick, drawable))
        print(f"report: {out / 'report.html'}", file=sys.stderr)
    for verdict in verdicts:
        if verdict.error is not None:
            print(f"error: {verdict.claim.id} could not be measured: {verdict.error}", file=sys.stderr)
    raise typer.Exit(claims.exit_code(verdicts))


@app.command(help=MEASURE_HELP)
def measure(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A file, or the name of a bundled table.")],
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to predict.")] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(help="May be repeated; default 1, 2, 4, 8, 16, 32 and n.", show_default=False)
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="regression; network: a diagonal linear network trained to interpolate; or mlp: a torch network of tanh "
            "units after 5000 steps (extra: esssim[bridge])."
        ),
    ] = "regression",
    batches: Annotated[int, typer.Option(help="How many batches to sample where all are too many.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the sampled batches.")] = 0,
    no_standardize: Annotated[bool, typer.Option("--no-standardize", help="Leave the columns as they are.")] = False,
    as_json: AsJson = False,
    out: OutFolder = None,
) -> None:
    from esssim import measure as measuring
    from esssim.report.environment import environment
    from esssim.report.terminal import show_measurement, step_progress

    loaded = measuring.load_table(table, target, standardize=not no_standardize)
    if out is not None:
        _prepare_folder(out)
    with step_progress() as progress:
        measured = measuring.measure_table(
            loaded,
            batch_sizes=batch_size or None,
            model=model,
            n_batches=batches,
            seed=seed,
            standardized=not no_standardize,
            progress=progress,
        )
    where = environment(seed)
    written = measuring.write_measurement(out, measured, where) if out is not None else []
    if as_json:
        _print_json({**measured.as_dict(), "environment": where})
    else:
        show_measurement(measured)
    for path in written:
        print(f"wrote {path}", file=sys.stderr)


@app.command(help=CITE_HELP)
def cite(name: Annotated[str, typer.Argument(metavar="CLAIM")], as_json: AsJson = False) -> None:
    from esssim import claims
    from esssim.papers import bibtex

    selected = claims.registry.select([name])
    sources = list(dict.fromkeys(claim.source for claim in selected))
    entries = bibtex(tuple(sources))
    if as_json:
        statements = [{"id": claim.id, "statement": claim.statement, "source": str(claim.source)} for claim in selected]
        _print_json({"claims": statements, "bibtex": entries})
        return
    for claim in selected:
        print(f"{claim.id}: {claim.statement}")
    print(f"source: {'; '.join(map(str, sources))}", *entries, sep="\n\n")


@app.command(help=FIGURE_HELP)
def figure(
    name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False)] = None,
    width: Annotated[
        str,
        typer.Option(
            metavar="PAGE",
            help="icml1, icml2, neurips1, neurips2, jmlr1, jmlr2 (one column or half the text, two columns or all of it) "
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
            help="pdf, svg, png; gif and mp4 for what moves. May be repeated; default all there are.",
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
    from esssim.report.terminal import show_figures, step_progress

    package = scripts()
    if listed:
        if as_json:
            _print_json({"figures": [{"name": each, "shows": text} for each, text in package.FIGURES.items()]})
        else:
            show_figures(package.FIGURES)
        return
    if name is None:
        raise ValueError("figure must be named, got none; `esssim figure --list` shows them")
    package.check(name, width, formats or (), usetex)
    _prepare_folder(out)
    with step_progress() as tell:
        paths = package.build(name, out, width=width, formats=formats or (), quick=quick, usetex=usetex, tell=tell)
    if as_json:
        provenance = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        _print_json({**provenance, "width": width, "quick": quick, "files": [str(path) for path in paths]})
        return
    for path in paths:
        print(path)


def main() -> None:
    """Entry point: every error is one line on standard error and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        # η and λ on a terminal that knows ASCII only: a question mark, not a failure after the work.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # `esssim ... | head`: what is left in the buffer must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """The exit code of a command line."""
    try:
        code = app(arguments, prog_name="esssim", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit:  # raised by rich and typer alike, with 1 (which means something else here), on a closed pipe
        return BROKEN_PIPE
    except Exception as error:
        if tracebacks_are_wanted():
            raise
        print(f"error: {in_one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    return code if isinstance(code, int) else 0


def _measure(names: list[str] | None, quick: bool, total: int, extra: str | None) -> tuple[list[Verdict], bool]:
    """The verdicts, and whether an interrupt cut them short."""
    from esssim import claims
    from esssim.report.terminal import claim_progress

    verdicts: list[Verdict] = []
    with claim_progress(total) as show:

        def keep(claim: Claim, verdict: Verdict | None) -> None:
            if verdict is not None:
                verdicts.append(verdict)
            show(claim, verdict)

        try:
            claims.verify(names, quick, keep, extra)
        except KeyboardInterrupt:
            return verdicts, True
    return verdicts, False


def _list(selected: list[Claim], as_json: bool) -> None:
    from esssim.report.terminal import show_claims

    if as_json:
        _print_json({"claims": [claim.as_dict() for claim in selected]})
    else:
        show_claims(selected)


def _print_json(content: dict[str, object]) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def _prepare_folder(folder: Path) -> None:
    """Create the folder and try to write there: before the work, not after ten minutes of it."""
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"out must be a folder that can be written to, got {str(folder)!r}: {error.strerror}"
        ) from error


if __name__ == "__main__":
    main()
