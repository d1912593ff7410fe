"""What the command line shows: progress while claims are measured, and tables at the end."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping

from rich import progress as bars
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from esssim.claims.model import Claim, Verdict
from esssim.claims.verify import Progress
from esssim.measure import TableMeasurement
from esssim.report.words import EXPECTED, Tone, duration, grouped, interval_text, number, spoken_verdict, summary, tone
from esssim.statistics import Estimate

# Where no terminal gives a width, lines of a table are not to be folded.
PLAIN_WIDTH = 160
STYLES: dict[Tone, str] = {
    "confirmed": "green",
    "refuted": "cyan",
    "unpredicted": "blue",
    "contradiction": "bold white on red",
    "undecided": "yellow",
    "skipped": "dim",
}


def output() -> Console:
    """Standard output: as wide as the terminal, or wide enough where there is none."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


@contextlib.contextmanager
def claim_progress(total: int) -> Iterator[Progress]:
    """The current claim and a bar on a terminal, a line per claim otherwise; both on standard error."""
    if not sys.stderr.isatty():
        yield _plain_claims(total)
        return
    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)

        def show(claim: Claim, verdict: Verdict | None) -> None:
            if verdict is None:
                bar.update(task, description=claim.id)
            else:
                bar.advance(task)

        yield show


def _plain_claims(total: int) -> Progress:
    position = itertools.count(1)

    def show(claim: Claim, verdict: Verdict | None) -> None:
        if verdict is None:
            print(f"[{next(position)}/{total}] {claim.id} ...", file=sys.stderr, flush=True)
        else:
            words = f"{spoken_verdict(verdict)} ({duration(verdict.seconds)})"
            print(f"    {words}", file=sys.stderr, flush=True)

    return show


@contextlib.contextmanager
def step_progress() -> Iterator[Callable[[str], None]]:
    """What is being done, in words: one changing line on a terminal, one line each otherwise; on standard error."""
    if not sys.stderr.isatty():
        yield lambda words: print(f"{words} ...", file=sys.stderr, flush=True)
        return
    with Console(stderr=True).status("") as status:
        yield lambda words: status.update(Text(words))


def verdict_table(verdicts: list[Verdict], width: int) -> Table:
    """A section per family, headed by its name, with a row per claim: family/row is the id.

    In fewer than 100 columns what we expect is left to the words of the verdict, which say it too.
    """
    wide = width >= 100
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("claim", overflow="fold")
    for heading in ("measured", "95 % interval"):
        table.add_column(heading, justify="right")
    if wide:
        table.add_column("we expect")
    table.add_column("verdict", overflow="fold")
    for family, members in grouped(verdicts, lambda verdict: verdict.claim.family).items():
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
    console.print(Text(summary(verdicts), style="bold"), soft_wrap=True)


def show_claims(claims: list[Claim]) -> None:
    """The list of claims: id, what we expect, statement."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("claim", "we expect", "statement"):
        table.add_column(heading, overflow="fold")
    for claim in claims:
        table.add_row(Text(claim.id), EXPECTED[claim.expected], Text(claim.statement))
    output().print(table)


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
    console = output()
    scale = "standardised" if measured.standardized else "as in the table"
    console.print(
        Text(f"{measured.table}: n = {measured.n_samples}, d = {measured.n_features}, {scale}; {measured.model}")
    )
    console.print(Text(f"at {measured.theta}"), soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("b", "sharpness", "MiniBS", "gap", "batch sharpness", "IAS", "mean-square", "critical step size"):
        table.add_column(heading, justify="right", overflow="fold")
    for row in measured.rows:
        table.add_row(
            str(row.batch_size),
            number(row.sharpness),
            _estimate(row.minibatch_sharpness),
            _estimate(row.gap),
            _estimate(row.batch_sharpness),
            number(row.interaction_aware_sharpness),
            number(row.mean_square_sharpness),
            number(row.critical_step_size),
        )
    console.print(table)
    console.print(Text("± half a 95 % interval over sampled batches; every other number is exact"))
    for note in measured.notes:
        console.print(Text(note), soft_wrap=True)


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "—"
    return number(estimate.value) if estimate.exact else f"{number(estimate.value)} ± {estimate.half_width():.2g}"
