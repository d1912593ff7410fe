"""The page of `esssim measure`: the statistics of a table, their picture, and how to get them again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from esssim import plots
from esssim.measure import BatchSizeRow, TableMeasurement, picture
from esssim.report import indices
from esssim.report.mathml import mathml
from esssim.report.page import document, figure, made_with, reproduce
from esssim.report.words import number
from esssim.statistics import Estimate
from esssim.statistics.table import STATISTICS

CAPTION = "Each statistic against the batch size, with 95 % intervals where batches were sampled."
COLUMNS = {
    "b": r"b",
    "sharpness": STATISTICS["sharpness"].latex,
    "mini-batch sharpness": STATISTICS["minibatch_sharpness"].latex,
    "gap": r"M_b-\lambda_{\max}(H)",
    "batch sharpness": STATISTICS["batch_sharpness"].latex,
    "interaction-aware sharpness": STATISTICS["interaction_aware_sharpness"].latex,
    "mean-square sharpness": r"Q_b",
    "critical step size": r"\frac{2}{Q_b}",
}


def render_measurement(measured: TableMeasurement, environment: Mapping[str, object], command: str) -> str:
    """The page: the answer in two sentences, the picture, the numbers, notes and the command."""
    with plots.style():
        drawing = plots.svg_text(picture(measured), "measure", "Each statistic against the batch size")
    head = "".join(f'<th class="n">{escape(name)}<br>{mathml(latex)}</th>' for name, latex in COLUMNS.items())
    rows = "".join(map(_row, measured.rows))
    notes = "".join(f"<li>{escape(note)}</li>" for note in measured.notes)
    where = (
        f"{measured.n_samples} samples, {measured.n_features} features"
        f"{', columns standardized' if measured.standardized else ''}; {measured.model} at {measured.theta}"
    )
    answer = " ".join(measure_answer(measured))
    body = (
        f'<header><h1>{escape(measured.table)}</h1><p class="answer">{indices.html(answer)}</p>'
        f'<p class="soft">{escape(where)}.</p></header>'
        f"<main><div style='max-width:34rem'>{figure(drawing, CAPTION, paper=True)}</div>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        '<p class="soft">Below a number, its 95 % interval where batches were sampled; the others are exact.</p>'
        f"{f'<ul>{notes}</ul>' if notes else ''}{reproduce(command, ())}</main>{made_with(environment)}"
    )
    return document(f"esssim: {measured.table}", body)


def measure_answer(measured: TableMeasurement) -> tuple[str, str]:
    """Where SGD is stable, and how far mini-batches are from the full batch."""
    first, last = measured.rows[0], measured.rows[-1]
    if len(measured.rows) == 1:
        stable = f"SGD is mean-square stable below η = {_eta(first)} at b = {first.batch_size}."
    else:
        stable = (
            f"SGD is mean-square stable below η = {_eta(first)} at b = {first.batch_size} and below "
            f"η = {_eta(last)} at b = {last.batch_size}."
        )
    if first.sharpness <= 0:
        return stable, "The sharpness is not positive."
    ratio = first.minibatch_sharpness.value / first.sharpness
    return stable, (
        f"Mini-batch sharpness is {ratio:.3g} times the sharpness at b = {first.batch_size}, and the critical step "
        "size "
        f"there is {first.critical_step_size * first.sharpness / 2:.3g} times 2/λ_max."
    )


def _eta(row: BatchSizeRow) -> str:
    return number(row.critical_step_size) if math.isfinite(row.critical_step_size) else "∞"


def _row(row: BatchSizeRow) -> str:
    values: list[Estimate | float | None] = [
        row.sharpness, row.minibatch_sharpness, row.gap, row.batch_sharpness, row.interaction_aware_sharpness,
        row.mean_square_sharpness, row.critical_step_size,
    ]  # fmt: skip
    return f'<tr><td class="n">{row.batch_size}</td>{"".join(map(_cell, values))}</tr>'


def _cell(value: Estimate | float | None) -> str:
    if isinstance(value, Estimate):
        lower, upper = value.interval
        below = "" if value.exact else f'<br><span class="soft">{number(lower)} … {number(upper)}</span>'
        return f'<td class="n">{number(value.value)}{below}</td>'
    words = "∞" if value is not None and math.isinf(value) else number(value)
    return f'<td class="n">{words}</td>'
