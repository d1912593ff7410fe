"""`esssim sweep`: one experiment over a grid of its keys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esssim.cli import complete, interrupts
from esssim.cli.common import AsJson, print_json

if TYPE_CHECKING:
    from esssim.experiments.folder.writing import Writer
    from esssim.experiments.timing import Timing

HELP = """Run an experiment for each cell of a grid, and keep what comes out.

CONFIG.toml is an experiment with a table [grid]: a list or a range for each key that changes. Results go to the folder
CONFIG.sweep beside the file, or to --out. The same command goes on where an earlier one ended, was interrupted or was
killed: it runs what is missing or damaged, and with --retry-failed what failed.

Cells run on every core, on --workers N processes, or on dask: --cluster local:4 starts one here, --scheduler names one
that is running (extra: esssim[sweep]). The numbers are the same everywhere.

Exit code: 0 every cell is done, 2 bad input or a cell that failed, 130 and 143 interrupted.

Examples:

    esssim sweep examples/sweep.toml --dry-run

    esssim sweep examples/sweep.toml --plot x=sampling.batch_size y=data.seed value=level:sharpness

    esssim sweep study.toml --out results/study --scheduler tcp://10.0.0.5:8786"""


def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", show_default=False, autocompletion=complete.configs)],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the file. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The folder of the results; default CONFIG.sweep.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Processes; default: every core.", min=1)
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A running scheduler of dask: tcp://HOST:PORT.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="local:N", help="Start a cluster of dask with N workers here.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run the cells again that failed.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many cells, how long, how much disk and memory; run three cells.")
    ] = False,
    plot: Annotated[
        tuple[str, str, str] | None,
        typer.Option(
            "--plot", metavar="x=KEY y=KEY value=VARIABLE", show_default=False,
            help="Draw a heat map, with verdicts where the value is a level, to CONFIG.png and CONFIG.svg in the "
                 "folder.",
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="KEY=VALUE", help="Fix another axis of the heat map. May be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    from esssim.experiments import sweeps, timing

    plan = sweeps.from_toml(config, changes or ())
    folder = config.with_suffix(".sweep") if out is None else out
    picture = _picture(plan, plot, at or [])
    if dry_run:
        _tell_forecast(timing.forecast(plan, folder), workers, as_json)
        return
    from esssim import experiments
    from esssim.report import sweep as report

    kept: list[Writer] = []

    def watch(writer: Writer, times: Timing) -> None:
        kept[:] = [writer]
        show(writer, times)

    with interrupts.saving(lambda: _save(kept, folder)), report.sweep_progress(config.stem) as show:
        outcome = sweeps.run(plan, folder, workers, scheduler, cluster, retry_failed=retry_failed, watch=watch)
    for note in outcome.notes:
        print(note, file=sys.stderr)
    found = experiments.open(folder)
    files = _drawn(found, picture, folder, config.stem) if picture else []
    if as_json:
        print_json(report.as_dict(found, outcome, folder, files))
    else:
        report.show_sweep(found, outcome, folder)
    for path in files:
        print(f"wrote {path}", file=sys.stderr)
    raise typer.Exit(2 if outcome.failed else 0)


def _tell_forecast(found: object, workers: int | None, as_json: bool) -> None:
    from dataclasses import asdict

    import joblib

    from esssim.report import sweep as report

    n_workers = workers or joblib.cpu_count()
    if as_json:
        print_json({**asdict(found), "workers": n_workers})  # type: ignore[call-overload]
    else:
        report.show_forecast(found, n_workers)  # type: ignore[arg-type]


def _save(kept: list[Writer], folder: Path) -> None:
    """What was finished is on the disk; the same command goes on."""
    from esssim.experiments.cells import DONE

    for writer in kept:
        writer.flush()
        done, total = writer.count(DONE), len(writer.plan.cells)
        print(
            f"interrupted: {done} of {total} cells; the same command goes on from {folder}", file=sys.stderr, flush=True
        )


def _picture(plan: object, plot: tuple[str, str, str] | None, at: list[str]) -> dict[str, object] | None:
    """What to draw, checked before anything is run."""
    if plot is None:
        if at:
            raise ValueError("--at is for a heat map: it needs --plot")
        return None
    from esssim import _validate

    given: dict[str, object] = {}
    for word in plot:
        name, equals, value = word.partition("=")
        if not equals or name in given:
            raise ValueError(f"--plot must be x=KEY y=KEY value=VARIABLE, got {' '.join(plot)!r}")
        given[_validate.choice("--plot", name, ("x", "y", "value"))] = value
    names = tuple(axis.name for axis in plan.grid.axes)  # type: ignore[attr-defined]
    for side in ("x", "y"):
        _validate.choice(f"--plot {side}", given[side], names)
    _validate.choice("--plot value", given["value"], (*plan.sides, "seconds", "state"))  # type: ignore[attr-defined]
    given["at"] = dict(_fixed(word, names) for word in at)
    return given


def _fixed(word: str, names: tuple[str, ...]) -> tuple[str, object]:
    import tomllib

    from esssim import _validate

    key, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"--at must be KEY=VALUE, got {word!r}")
    _validate.choice("--at", key, names)
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _drawn(found: object, picture: dict[str, object], folder: Path, name: str) -> list[Path]:
    from esssim import plots, store
    from esssim.plots.files import rendered

    with plots.style():
        contents = rendered(plots.sweep_figure(found, **picture))  # type: ignore[arg-type]
    paths = []
    for suffix, content in contents.items():
        paths.append(folder / f"{name}.{suffix}")
        with store.whole_file(paths[-1]) as temporary:
            temporary.write_bytes(content)
    return paths
