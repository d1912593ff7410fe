"""The statistics of a table against the batch size, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from esssim.measure.results import BatchSizeRow, TableMeasurement
from esssim.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def picture(measured: TableMeasurement) -> Figure:
    """Each statistic against the batch size with its 95 % interval. Call within `plots.style`."""
    from matplotlib.figure import Figure

    from esssim import plots

    figure = Figure(figsize=(4.6, 3.2))
    axes = figure.add_subplot()
    _draw(axes, measured.rows)
    # A dollar in the name of a file begins no formula.
    title = f"{measured.table}: {measured.model}".replace("$", r"\$")
    axes.set(ylabel="sharpness", title=title)
    plots.batch_axis(axes, [row.batch_size for row in measured.rows], measured.n_samples)
    axes.legend()
    return figure


def _draw(axes: Axes, rows: Sequence[BatchSizeRow]) -> None:
    from esssim.plots import LOOKS, MEAN_SQUARE

    sizes = [row.batch_size for row in rows]
    series: dict[str, list[Estimate | float | None]] = {
        MEAN_SQUARE: [row.mean_square_sharpness for row in rows],
        "minibatch_sharpness": [row.minibatch_sharpness for row in rows],
        "batch_sharpness": [row.batch_sharpness for row in rows],
        "interaction_aware_sharpness": [row.interaction_aware_sharpness for row in rows],
        "sharpness": [row.sharpness for row in rows],
    }
    for name, values in series.items():
        known = [(b, value) for b, value in zip(sizes, values, strict=True) if value is not None]
        half = [e.half_width() if isinstance(e, Estimate) else 0.0 for _, e in known]
        look = LOOKS[name]
        if known:
            axes.errorbar(
                [b for b, _ in known], [float(value) for _, value in known], half, label=look.label, color=look.color,
                marker=look.marker, markersize=look.size, linestyle=look.line, linewidth=look.width, capsize=1.5,
            )  # fmt: skip
    # Statistics of one table easily differ by factors of a hundred.
    if all(float(value) > 0 for values in series.values() for value in values if value is not None):
        from matplotlib.ticker import LogFormatter

        axes.set_yscale("log")
        for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
