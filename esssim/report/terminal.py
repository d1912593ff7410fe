"""What the command line shows: progress while claims are measured, and tables at the end."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from rich import progress as bars
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from esssim._extras import missing
from esssim.claims.claim import Claim, Verdict
from esssim.claims.verify import Each
from esssim.measure import TableMeasurement
from esssim.report.forecast import Forecast
from esssim.report.progress import spoken
from esssim.report.words import (
    EXPECTED,
    Tone,
    duration,
    grouped,
    interval_text,
    number,
    skipped,
    spoken_verdict,
    summary,
    tone,
)
from esssim.statistics import Estimate

# Where neither a terminal nor COLUMNS gives a width.
PLAIN_WIDTH = 80
# An id, a bar of 40 columns and the time left.
WIDTH_FOR_A_BAR = 120
STYLES: dict[Tone, str] = {
    "confirmed": "green",
    "refuted": "cyan",
    "unpredicted": "blue",
    "contradiction": "bold white on red",
    "undecided": "yellow",
    "skipped": "dim",
}


def output() -> Console:
    """Standard output: as wide as the terminal, as COLUMNS says, or 80 columns."""
    columns = os.environ.get("COLUMNS", "")
    plain = int(columns) if columns.isdecimal() and int(columns) > 0 else PLAIN_WIDTH
    return Console(width=None if sys.stdout.isatty() else plain, highlight=False)


@contextlib.contextmanager
def claim_progress(claims: Sequence[Claim], quick: bool) -> Iterator[Each]:
    """On standard error: each verdict as it comes, and below it, on a terminal, the current claim and the time left.

    Two plain lines per claim where it is no terminal.
    """
    forecast = Forecast(claims, quick)
    if not sys.stderr.isatty():
        yield _plain_claims(len(claims), forecast)
        return
    console = Console(stderr=True)
    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}", markup=False),
        *((bars.BarColumn(),) if console.width >= WIDTH_FOR_A_BAR else ()),
        bars.TextColumn("{task.completed}/{task.total}", markup=False),
        bars.TextColumn("{task.fields[left]}", markup=False),
    )
    with bars.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(claims), left="")

        def show(claim: Claim, verdict: Verdict | None) -> None:
            if verdict is None:
                bar.update(task, description=claim.id)
            else:
                forecast.measured(claim, verdict.seconds)
                bar.update(task, advance=1, left=f"{spoken(forecast.left())} left")
                if verdict.measurement.verdict != "skipped":
                    style = STYLES[tone(claim.expected, verdict.measurement.verdict)]
                    words = Text.assemble(f"{claim.id}  ", (spoken_verdict(verdict), style))
                    console.print(words, highlight=False, soft_wrap=True)

        yield show


def _plain_claims(total: int, forecast: Forecast) -> Each:
    position = itertools.count(1)

    def show(claim: Claim, verdict: Verdict | None) -> None:
        if verdict is None:
            place = next(position)
            if not (claim.extra and missing(claim.extra)):
                print(f"[{place}/{total}] {claim.id} ...", file=sys.stderr, flush=True)
        elif verdict.measurement.verdict != "skipped":
            forecast.measured(claim, verdict.seconds)
            words = f"{spoken_verdict(verdict)} ({duration(verdict.seconds)})"
            if forecast.left() >= 5:
                words += f"; {spoken(forecast.left())} left"
            print(f"    {words}", file=sys.stderr, flush=True)

    return show


def verdict_table(verdicts: list[Verdict], width: int) -> Table:
    """A section per family, headed by its name, with a row per claim: family/row is the id.

    In fewer than 100 columns what we expect is left to the words of the verdict, which say it too. What was skipped has
    no row.
    """
    wide = width >= 100
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    # An id is folded only where there is no other way.
    table.add_column("claim", overflow="fold", no_wrap=width >= 72)
    for heading in ("measured", "95 % interval"):
        table.add_column(heading, justify="right", overflow="fold")
    if wide:
        table.add_column("we expect")
    table.add_column("verdict", overflow="fold")
    shown = [verdict for verdict in verdicts if verdict.measurement.verdict != "skipped"]
    for family, members in grouped(shown, lambda verdict: verdict.claim.family).items():
        table.add_row(Text(family, style="bold"))
        for verdict in members:
            measured, claim = verdict.measurement, verdict.claim
            # Text, not markup: a claim may well contain square brackets.
            table.add_row(
                Text("  " + claim.id.removeprefix(family).lstrip("/")),
                number(measured.value),
                interval_text(measured),
                *([EXPECTED[claim.expected]] if wide else []),
                Text(spoken_verdict(verdict), style=STYLES[tone(claim.expected, measured.verdict)]),
            )
        table.add_section()
    return table


def show_verdicts(verdicts: list[Verdict]) -> None:
    """The table of verdicts and the line that sums them up."""
    console = output()
    console.print(verdict_table(verdicts, console.width))
    for line in skipped(verdicts):
        console.print(Text(line))
    console.print(Text(summary(verdicts), style="bold"), soft_wrap=True)


def show_claims(claims: list[Claim]) -> None:
    """The list of claims: id, and below it what we expect and the statement."""
    console = output()
    for claim in claims:
        # An id is one word, on whatever terminal: it is there to be searched for and copied.
        console.print(Text(claim.id, style="bold"), soft_wrap=True)
        console.print(
            Padding(Text(f"we expect: {EXPECTED[claim.expected]}. {claim.statement}"), (0, 0, 0, 4), expand=False)
        )


def show_figures(figures: Mapping[str, str]) -> None:
    """The list of figures: name and what it shows."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("figure", "shows"):
        table.add_column(heading, overflow="fold")
    for name, sentence in figures.items():
        table.add_row(Text(name), Text(sentence))
    output().print(table)


def show_measurement(measured: TableMeasurement) -> None:
    """The table of statistics by batch size, and its footnotes."""
    from esssim.statistics import STATISTICS

    console = output()
    scale = "standardised" if measured.standardized else "as in the table"
    console.print(
        Text(f"{measured.table}: n = {measured.n_samples}, d = {measured.n_features}, {scale}; {measured.model}")
    )
    console.print(Text(f"at {measured.theta}"), soft_wrap=True)
    columns = {
        "b": [str(row.batch_size) for row in measured.rows],
        STATISTICS["sharpness"].short: [number(row.sharpness) for row in measured.rows],
        STATISTICS["minibatch_sharpness"].short: [_estimate(row.minibatch_sharpness) for row in measured.rows],
        "gap": [_estimate(row.gap) for row in measured.rows],
        STATISTICS["batch_sharpness"].short: [_estimate(row.batch_sharpness) for row in measured.rows],
        STATISTICS["interaction_aware_sharpness"].short: [
            number(row.interaction_aware_sharpness) for row in measured.rows
        ],
        "Q_b": [number(row.mean_square_sharpness) for row in measured.rows],
        "critical step size": [number(row.critical_step_size) for row in measured.rows],
    }
    for table in side_by_side(columns, console.width):
        console.print(table)
    console.print(Text("± half a 95 % interval over sampled batches; every other number is exact"))
    console.print(Text("Q_b: mean-square sharpness; SGD is mean-square stable below the critical step size 2/Q_b"))
    for note in measured.notes:
        console.print(Text(note), soft_wrap=True)


def side_by_side(columns: Mapping[str, Sequence[str]], width: int) -> Iterator[Table]:
    """Columns of equal length as one table, or as several below each other, each with the first column, where it is
    too wide."""
    (first, label), *rest = columns.items()
    # A space on either side, and one between the columns.
    widths = {name: max(map(len, (name, *cells))) + 3 for name, cells in columns.items()}
    while rest:
        taken = 1
        while taken < len(rest) and widths[first] + sum(widths[name] for name, _ in rest[: taken + 1]) <= width:
            taken += 1
        part, rest = rest[:taken], rest[taken:]
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for name in (first, *(name for name, _ in part)):
            table.add_column(name, justify="right", overflow="fold")
        for row in zip(label, *(cells for _, cells in part), strict=True):
            table.add_row(*row)
        yield table


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "—"
    return number(estimate.value) if estimate.exact else f"{number(estimate.value)} ± {estimate.half_width():.2g}"
