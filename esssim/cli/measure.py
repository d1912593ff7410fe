"""`esssim measure`: the statistics of a table of one's own."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from esssim.cli import complete
from esssim.cli.common import AsJson, OutFolder, prepare_folder, print_json

# The bundled tables and their samples: what is wrong with a batch size is said before anything is loaded.
SIZES = {"diabetes": 442, "breast_cancer": 569, "wine": 178, "digits": 1797}
TEXT_FILES = (".csv", ".tsv", ".txt")
FILES = (*TEXT_FILES, ".parquet", ".npz")
MODELS = ("regression", "network", "mlp")

HELP = """Sharpness and critical step size of a table of your own.

For several batch sizes: sharpness, MiniBS and their gap, batch sharpness, IAS, mean-square sharpness Q_b, and the
critical step size 2/Q_b. TABLE is a .csv, .tsv, .txt, .parquet or .npz file, or a bundled table: diabetes,
breast_cancer, wine, digits. Sampled numbers come with a 95 % interval; everything else is exact.

Separator, decimal sign and encoding of a text file are found from its content, and a note says what was found. Where
the content allows two readings, the error names the option that decides.

Examples:

    esssim measure diabetes

    esssim measure houses.csv --target price --batch-size 8,32

    esssim measure häuser.csv --target preis --sep ";" --decimal , --encoding latin-1

    esssim measure houses.csv --target price --columns area,rooms,town --encode one-hot --drop-missing

    esssim measure numbers.txt --no-header --target x3

    esssim measure houses.csv --target price --model network --out results

    esssim measure diabetes --model mlp --batches 200"""


def measure(
    table: Annotated[
        str,
        typer.Argument(metavar="TABLE", help="A file, or the name of a bundled table.", autocompletion=complete.tables),
    ],
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to predict.")] = None,
    batch_size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="B[,B…]",
            help="Several with commas, or repeated; default 1, 2, 4, 8, 16, 32, n.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="regression; network: a diagonal linear network trained to interpolate; or mlp: a torch network of "
            "tanh "
            "units after 5000 steps (extra: esssim[bridge]).",
            autocompletion=complete.models,
        ),
    ] = "regression",
    batches: Annotated[int, typer.Option(help="How many batches to sample where all are too many.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the sampled batches.")] = 0,
    no_standardize: Annotated[bool, typer.Option("--no-standardize", help="Leave the columns as they are.")] = False,
    separator: Annotated[
        str | None,
        typer.Option(
            "--sep", metavar="SIGN", help='What stands between the columns of a text file: ";", tab, space, …'
        ),
    ] = None,
    decimal: Annotated[
        str | None, typer.Option(metavar="SIGN", help="Decimal sign of a text file: a point or a comma.")
    ] = None,
    thousands: Annotated[
        str | None, typer.Option(metavar="SIGN", help="Sign between groups of three digits: a comma, a point, space, …")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="Encoding of a text file, such as latin-1 or utf-16.")
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header",
            help="The first line holds names, or numbers already: columns x0, x1, …",
            show_default=False,
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[,NAME…]", help="The input columns to take; default all but the target.", show_default=False
        ),
    ] = None,
    drop_missing: Annotated[bool, typer.Option("--drop-missing", help="Leave out rows with a missing entry.")] = False,
    encode: Annotated[
        str | None,
        typer.Option(metavar="one-hot", help="Make columns of 0 and 1 of an input column of text.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    out: OutFolder = None,
) -> None:
    sizes = _sizes(batch_size)
    _check(table, target, sizes, model, batches, seed)
    from esssim import _validate

    text = {"separator": separator, "decimal": decimal, "thousands": thousands, "encoding": encoding, "header": header}
    _check_text(table, text)
    from esssim.data.tables import load_table

    names = [name.strip() for each in columns or () for name in each.split(",")] or None
    loaded = load_table(
        table, target, standardize=not no_standardize, columns=names, drop_missing=drop_missing, encode=encode, **text
    )
    for size in sizes or ():
        _validate.integer("batch_size", size, 1, loaded.n_samples, "n_samples")
    if out is not None:
        prepare_folder(out)
    from esssim import measure as measuring
    from esssim._environment import environment
    from esssim.report.progress import run_progress
    from esssim.report.terminal import show_measurement

    with run_progress(f"{loaded.name}: batch sizes") as progress:
        measured = measuring.measure_table(
            loaded,
            batch_sizes=sizes,
            model=model,
            n_batches=batches,
            seed=seed,
            standardized=not no_standardize,
            progress=progress,
        )
    where = environment(seed)
    command = _command(table, target, sizes, model, batches, seed, no_standardize, text)
    written = []
    if out is not None:
        from esssim import store
        from esssim.report.measure_page import render_measurement

        written = measuring.write_measurement(out, measured, where)
        written.append(out / "measure.html")
        store.write_text(written[-1], render_measurement(measured, where, command))
    if as_json:
        print_json({**measured.as_dict(), "environment": where})
    else:
        show_measurement(measured)
    for path in written:
        print(f"wrote {path}", file=sys.stderr)


def _command(
    table: str,
    target: str | None,
    sizes: list[int] | None,
    model: str,
    batches: int,
    seed: int,
    no_standardize: bool,
    text: dict[str, str | bool | None],
) -> str:
    """The command line that gives the same numbers again."""
    words = ["esssim", "measure", table, "--model", model, "--batches", str(batches), "--seed", str(seed)]
    words += ["--target", target] if target is not None else []
    words += ["--batch-size", ",".join(map(str, sizes))] if sizes else []
    words += ["--no-standardize"] if no_standardize else []
    for name, value in text.items():
        if name == "header":
            words += [] if value is None else ["--header" if value else "--no-header"]
        elif value is not None:
            words += [f"--{'sep' if name == 'separator' else name}", str(value)]
    return shlex.join(words)


def _sizes(given: list[str] | None) -> list[int] | None:
    """[4, 8, 16] of ["4,8", "16"]; None of nothing."""
    words = [word.strip() for each in given or () for word in each.split(",")]
    for word in words:
        if not word.removeprefix("-").isdecimal():
            raise typer.BadParameter(
                f"an integer, or several with commas between them, got {word!r}", param_hint="'--batch-size'"
            )
    return [int(word) for word in words] or None


def _check(table: str, target: str | None, sizes: list[int] | None, model: str, batches: int, seed: int) -> None:
    """What can be said without the table: the imports behind it take seconds."""
    from esssim import _validate

    _validate.choice("model", model, MODELS)
    _validate.integer("batches", batches, 2)
    _validate.integer("seed", seed, 0)
    if table in SIZES:
        for size in sizes or ():
            _validate.integer("batch_size", size, 1, SIZES[table], "n_samples")
        return
    for size in sizes or ():
        _validate.integer("batch_size", size, 1)
    path = _validate.path("table", table)
    if not path.suffix and not path.is_file():
        try:
            _validate.choice("table", table, tuple(SIZES))
        except ValueError as error:
            raise ValueError(f"{error} (or give a .csv, .tsv, .txt, .parquet or .npz file)") from None
    if not path.is_file() and path.suffix.lower() in FILES:
        raise ValueError(f"path must be an existing file, got {table!r}")
    if target is None:
        raise ValueError(f"target must name a column of {path.name}, got none (--target COLUMN)")


def _check_text(table: str, text: dict[str, str | bool | None]) -> None:
    """The options for text files: right, and for a text file."""
    if any(value is not None for value in text.values()):
        from esssim.data.text import TextFormat

        form = TextFormat(**text)  # type: ignore[arg-type]
        form.only_for_text(table, table.lower().endswith(TEXT_FILES))
