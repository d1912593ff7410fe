"""One run: every recorded statistic times η/2, or the loss, against the step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray

from esssim.plots.axes import draw_edge
from esssim.plots.pages import REPORT
from esssim.plots.style import BLACK, GREY, LOOKS, Look, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def run_figure(trace: xarray.Dataset, statistics: Sequence[str], after: float) -> Figure:
    """Mean and range over the replicas of (η/2)·statistic at each record; a dotted line at step `after`.

    Without a statistic: the loss on a logarithmic axis, where it is recorded. Call within `style`.
    """
    figure, _, _ = REPORT.figure(aspect=0.5)
    axes = figure.add_subplot()
    survived = trace.isel(replica=np.flatnonzero(trace["diverged_at"].values < 0))
    shown = list(statistics) or [name for name in ("loss",) if name in trace]
    if survived.sizes["replica"]:
        half = trace["step_size"].values / 2 if statistics else np.ones(trace.sizes["record"])
        for name in shown:
            _draw(axes, trace["step"].values, survived[name].values * half, _look(name))
    if statistics:
        draw_edge(axes)
        axes.set_ylim(0, None)
    elif "loss" in shown and (survived["loss"].values > 0).any():
        axes.set_yscale("log")
    axes.axvline(after, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
    axes.set_xlabel("step")
    axes.set_ylabel(r"$(\eta/2)\times$ statistic" if statistics else "loss")
    named = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    if named:
        legend_above(figure, named)
    return figure


def _look(name: str) -> Look:
    return LOOKS.get(name, Look(name.replace("_", " "), BLACK if name == "loss" else GREY, "x", "-"))


def _draw(axes: Axes, steps: np.ndarray, series: np.ndarray, look: Look) -> None:
    known = np.isfinite(series).all(axis=0)
    steps, series = steps[known], series[:, known]
    if not len(steps):
        return
    axes.fill_between(steps, series.min(axis=0), series.max(axis=0), color=look.color, alpha=0.25, linewidth=0)
    axes.plot(
        steps, series.mean(axis=0), color=look.color, linewidth=look.width, linestyle=look.line, marker=look.marker,
        markersize=look.size * 0.8, markevery=max(1, len(steps) // 6), label=look.label,
    )  # fmt: skip
