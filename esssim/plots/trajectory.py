"""The course of one run: every recorded statistic times η/2, or the loss, against the step or the step size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray

from esssim import _validate
from esssim._rows import Row, column
from esssim.experiments.base import WITHOUT_AN_EDGE, with_an_edge
from esssim.plots.axes import draw_edge
from esssim.plots.pages import REPORT
from esssim.plots.runs import as_run, figure_of, own_axes, recorded, rows_of
from esssim.plots.style import BLACK, GREY, LOOKS, look_of, statistics_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"step": "step", "step_size": r"step size $\eta$"}


def trajectory_rows(
    run: xarray.Dataset, statistics: Sequence[str] | None = None, *, after: float = math.inf
) -> list[Row]:
    """Per record: step, η, whether the step is at least `after`, and for every statistic the mean, lowest and highest
    (η/2)·statistic over the replicas that never diverged; the loss and others without an edge as they are."""
    run = as_run("run", run)
    names = _names(run, statistics)
    survived = run.isel(replica=np.flatnonzero(run["diverged_at"].values < 0))
    if not survived.sizes["replica"]:
        return []
    steps, sizes = run["step"].values, run["step_size"].values
    rows: list[Row] = [
        {"step": int(step), "step_size": float(eta), "in_window": bool(step >= after)}
        for step, eta in zip(steps, sizes, strict=True)
    ]
    for name in names:
        series = survived[name].transpose("replica", "record").values
        if name not in WITHOUT_AN_EDGE:
            series = series * sizes / 2
        for row, mean, lowest, highest in zip(rows, series.mean(0), series.min(0), series.max(0), strict=True):
            row |= {name: float(mean), f"{name}_lowest": float(lowest), f"{name}_highest": float(highest)}
    return rows


def trajectory(
    run: xarray.Dataset | Sequence[Row],
    statistics: Sequence[str] | None = None,
    *,
    x: str = "step",
    after: float | None = None,
    edge: str | None = r"$2/\eta$",
    axes: Axes | None = None,
) -> Axes:
    """Draw the course of a run: (η/2)·statistic, mean and range of the replicas, with the edge 2/η at 1.

    run: the Dataset of `simulate`, an experiment, a sweep's cell, `bridge.train` or a Monitor; or `trajectory_rows` of
    one. Replicas that diverged are no part of the mean; a cross marks the step. statistics: all that are recorded by
    default; ["loss"] alone has a logarithmic axis. x: "step", "step_size", or another column of the rows. after: where
    to draw a dotted line, in `x`. edge: what the line at 1 is called. axes: where to draw; by default a figure of its
    own with a legend. Raises ValueError for a Dataset that is no run and a statistic that it does not hold.
    """
    if isinstance(run, xarray.Dataset):
        run = as_run("run", run)
        names, rows, diverged = _names(run, statistics), trajectory_rows(run, statistics), _diverged(run, x)
    else:
        rows, diverged = rows_of("run", run, (), "trajectory_rows"), []
        held = [name for row in rows[:1] for name in row if f"{name}_lowest" in row]
        names = held if statistics is None else [_validate.choice("statistic", s, tuple(held)) for s in statistics]
    if rows:
        drawn_up = {each for name in names for each in (name, f"{name}_lowest", f"{name}_highest")}
        _validate.choice(
            "x", x, tuple(each for each, value in rows[0].items() if each not in drawn_up and _is_number(value))
        )
    flat = [name for name in names if name in WITHOUT_AN_EDGE]
    if flat and len(flat) < len(names):
        raise ValueError(f"statistics must be {flat[0]!r} alone or all with an edge, got {', '.join(names)}")
    drawn = own_axes(axes)
    _draw(drawn, rows, names, x)
    if not flat:
        draw_edge(drawn, edge)
    elif all(float(row[f"{name}_lowest"]) > 0 for row in rows for name in flat):
        drawn.set_yscale("log")
    if after is not None:
        drawn.axvline(after, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
    if diverged:
        top = drawn.get_xaxis_transform()
        drawn.plot(diverged, [0.03] * len(diverged), "x", color=BLACK, markersize=4, zorder=9, transform=top)
    if axes is None:
        _label(drawn, names, x, bool(flat))
    return drawn


def trajectory_figure(run: xarray.Dataset, statistics: Sequence[str] | None, after: float) -> Figure:
    """`trajectory` as a figure of a report, with a dotted line at step `after`. Call within `style`."""
    figure, _, _ = REPORT.figure(aspect=0.5)
    axes = figure.add_subplot()
    names = _names(as_run("run", run), statistics)
    trajectory(run, names, after=after, axes=axes)
    _label(axes, names, "step", all(name in WITHOUT_AN_EDGE for name in names))
    return figure


def _label(axes: Axes, names: Sequence[str], x: str, flat: bool) -> None:
    axes.set_xlabel(LABELS.get(x, x))
    axes.set_ylabel(", ".join(look_of(name).label for name in names) if flat else r"$(\eta/2)\times$ statistic")
    if not flat:
        axes.set_ylim(0, None)
    statistics_legend(figure_of(axes), names)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(run: xarray.Dataset, statistics: Sequence[str] | None) -> list[str]:
    """The statistics asked for, or all recorded ones with an edge, or else the loss; in the order of the legend."""
    held = recorded(run)
    if statistics is not None:
        if isinstance(statistics, str):
            raise ValueError(f"statistics must be a list of names, got the string {statistics!r}")
        return [_validate.choice("statistic", name, tuple(held)) for name in statistics]
    known = with_an_edge(held)
    found = list(dict.fromkeys((*(name for name in LOOKS if name in known), *known))) or [
        name for name in ("loss",) if name in held
    ]
    if not found:
        raise ValueError(f"run must hold a recorded statistic, got {', '.join(held) or 'none'}")
    return found


def _draw(axes: Axes, rows: Sequence[Row], names: Sequence[str], x: str) -> None:
    """Mean and range of every statistic; the first of the legend on top."""
    for rank, name in enumerate(reversed(names) if rows else ()):
        look = look_of(name)
        mean, low, high = (column(rows, f"{name}{end}") for end in ("", "_lowest", "_highest"))
        known = np.isfinite(mean)
        along = column(rows, x)[known]
        first = 3 + 2 * rank if len(along) > 16 else 0
        axes.fill_between(
            along, low[known], high[known], color=look.color, alpha=0.25, linewidth=0, zorder=2 + rank
        )  # fmt: skip
        axes.plot(
            along, mean[known], color=look.color, linewidth=look.width, linestyle=look.line, zorder=2 + rank,
            marker=look.marker, markersize=look.size * 0.8, markevery=(first, max(1, len(along) // 4)),
            label=look.label,
        )  # fmt: skip


def _diverged(run: xarray.Dataset, x: str) -> list[float]:
    """Where replicas diverged: the step, or the step size at it."""
    steps = run["diverged_at"].values
    steps = steps[steps >= 0]
    if x == "step_size":
        steps = np.interp(steps, run["step"].values, run["step_size"].values)
    return [float(step) for step in steps]
