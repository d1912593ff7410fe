"""The critical step size against the batch size, with its bounds, linear scaling, and a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from esssim.plots.axes import batch_axis, thin_labels
from esssim.plots.pages import REPORT
from esssim.plots.style import BLACK, BLUE, GREY, ORANGE, legend_above, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from esssim.stability.map import StabilityMap


def stability_map_figure(found: StabilityMap) -> Figure:
    """Below the line SGD contracts in the mean square; the dotted line is the critical batch size."""
    with style():
        return _figure(found)


def _figure(found: StabilityMap) -> Figure:
    figure, _, _ = REPORT.figure(aspect=0.55)
    axes = figure.add_subplot()
    data = found.dataset
    b, steps = data["batch_size"].values, data["critical_step_size"].values
    lower, upper = (data[f"critical_step_size_{end}"].values for end in ("lower", "upper"))
    axes.fill_between(b, np.where(lower > 0, lower, steps), upper, color=BLUE, alpha=0.25, linewidth=0)
    axes.plot(b, steps, color=BLUE, linewidth=1.6, label="critical step size")
    scaling = data["linear_scaling"].values
    shown = scaling <= 2 * steps.max()
    axes.plot(b[shown], scaling[shown], color=ORANGE, linewidth=1.2, linestyle=(0, (4, 2)), label="linear scaling")
    axes.axvline(
        found.critical_batch_size, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), label="critical batch size"
    )
    if found.batch_size is not None and found.step_size is not None:
        axes.plot([found.batch_size], [found.step_size], "D", color=BLACK, markersize=6, label="this run")
    axes.set_yscale("log")
    n = int(b[-1])
    batch_axis(axes, sorted({n, *(2**k for k in range(63) if 2**k < n)}), n)
    axes.set_ylabel(r"step size $\eta$")
    legend_above(figure, [line for line in axes.lines if not str(line.get_label()).startswith("_")])
    thin_labels(figure)
    return figure
