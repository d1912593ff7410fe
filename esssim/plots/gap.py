"""The gap between mini-batch sharpness and sharpness against the batch size, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray

from esssim import _validate
from esssim._intervals import student_quantile
from esssim._rows import Row, column
from esssim.plots.axes import batch_axis, thin_labels
from esssim.plots.runs import figure_of, own_axes, rows_of
from esssim.plots.style import BLACK, BLUE, CASING, GREEN, LOOKS, ORANGE, PURPLE, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RED = LOOKS["minibatch_sharpness"].color
OUTSIDE = "#E4E4E4"
# Colour, marker and line of each formula of `esssim.gap`.
PREDICTIONS: dict[str, tuple[str, str, Any]] = {
    "joint": (RED, "", "-"),
    "second order": (ORANGE, "v", (0, (4, 1.5))),
    "third order": (GREEN, "^", (0, (4, 1, 1, 1))),
    "crossover": (PURPLE, "D", (0, (2, 1))),
    "Marchenko–Pastur": (BLUE, "o", "-"),
    "spike": (BLACK, "P", (0, (1, 1))),
    "additive noise": ("#56B4E9", "X", (0, (5, 1, 1, 1, 1, 1))),
}
COLUMNS = ("gap", "standard_error", "lower", "upper")


def gap_rows(curve: xarray.Dataset) -> list[Row]:
    """Per batch size of `es.gap.curve`: gap, standard error, bounds and each prediction, in units of the sharpness."""
    _validate.instance("curve", curve, xarray.Dataset, "es.gap.curve returns")
    missing = [name for name in (*COLUMNS, "prediction", "sharpness", "exact") if name not in curve]
    if missing:
        raise ValueError(f"curve must be what es.gap.curve returns, got a Dataset without {', '.join(missing)}")
    top = float(curve["sharpness"])
    rows: list[Row] = []
    for b in curve["batch_size"].values.tolist():
        at = curve.sel(batch_size=b)
        row: Row = {"n_samples": int(curve.attrs["n_samples"]), "batch_size": b, "sharpness": top}
        row |= {name: float(at[name]) / top for name in COLUMNS}
        row |= {"exact": bool(at["exact"]), "n_batches": int(at["n_batches"])}
        rows.append(row | {name: float(at["prediction"].sel(formula=name)) / top for name in PREDICTIONS})
    return rows


def gap(curve: xarray.Dataset | Sequence[Row], *, axes: Axes | None = None) -> Axes:
    """Draw the gap (M_b − λ_max)/λ_max against b: measured, predicted, and what the bounds allow (white).

    curve: what `es.gap.curve` returns, or its `gap_rows`. Open markers are sampled, with 95 % intervals. A gap of 0,
    as at b = n, has no place on a logarithmic axis: the label says so. axes: where to draw; by default a figure of its
    own with a legend. Raises ValueError for another Dataset, and where no gap is positive.
    """
    rows = (
        gap_rows(curve)
        if isinstance(curve, xarray.Dataset)
        else rows_of("curve", curve, ("batch_size", *COLUMNS, "exact", *PREDICTIONS), "gap_rows")
    )
    all_rows, rows = rows, [row for row in rows if float(row["gap"]) > 0]
    if not rows:
        raise ValueError("curve must hold at least one positive gap, got none")
    drawn = own_axes(axes)
    _draw(drawn, rows)
    if axes is None:
        n, gaps = int(rows[0]["n_samples"]), column(rows, "gap")
        batch_axis(drawn, [int(row["batch_size"]) for row in rows], n)
        drawn.set_ylim(gaps.min() / 2, 3 * gaps.max())
        if len(rows) < len(all_rows):
            drawn.set_xlabel(f"{drawn.get_xlabel()} (gaps of 0 are not drawn)")
        drawn.set_ylabel(r"gap $(M_b-\lambda_{\max})/\lambda_{\max}$")
        legend_above(figure_of(drawn), gap_handles(rows))
        thin_labels(figure_of(drawn))
    return drawn


def gap_handles(rows: Sequence[Row]) -> list[Any]:
    """What the legend of the picture names."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    square: dict[str, Any] = {"color": RED, "marker": "s", "markersize": 4, "linewidth": 0}
    sampled = [Line2D([], [], **square, markerfacecolor=CASING, label="sampled (95 %)")]
    found = [name for name in PREDICTIONS if any(np.isfinite(float(row[name])) for row in rows)]
    return [
        Line2D([], [], **square, label="MiniBS gap"),
        *(sampled if any(not row["exact"] for row in rows) else []),
        *(Line2D([], [], color=color, marker=marker, markersize=3, linestyle=dashes, linewidth=1, label=name)
          for name, (color, marker, dashes) in PREDICTIONS.items() if name in found),
        Patch(color=OUTSIDE, label="outside the bounds"),
    ]  # fmt: skip


def _draw(axes: Axes, rows: Sequence[Row]) -> None:
    b, gaps, error, lower, upper = (column(rows, name) for name in ("batch_size", *COLUMNS))
    exact = np.array([bool(row["exact"]) for row in rows])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.fill_between(b, upper, 1e6, color=OUTSIDE, linewidth=0, zorder=0)
    axes.fill_between(b, 1e-12, np.maximum(lower, 1e-12), color=OUTSIDE, linewidth=0, zorder=0)
    for method, (color, marker, dashes) in PREDICTIONS.items():
        axes.plot(
            b, column(rows, method), color=color, linestyle=dashes, linewidth=1, marker=marker, markersize=2.5, zorder=3
        )  # fmt: skip
    axes.plot(b[exact], gaps[exact], "s", color=RED, markersize=4, zorder=2)
    axes.errorbar(
        b[~exact], gaps[~exact], student_quantile(np.inf) * error[~exact], fmt="s", color=RED, markersize=4,
        markerfacecolor=CASING, elinewidth=0.8, capsize=1.5, zorder=2,
    )  # fmt: skip
