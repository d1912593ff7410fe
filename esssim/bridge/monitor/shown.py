"""What a monitor recorded as a table and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray

from esssim.statistics.table import MEAN_SQUARE, PRECONDITIONED, STATISTICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

WITHOUT_EDGE = ("loss", "gradient_norm")


def compared(dataset: xarray.Dataset) -> list[str]:
    """The recorded statistics that the edge is compared with: those in the optimiser's own metric, where it has one."""
    names = [name for name in map(str, dataset.data_vars) if name.removeprefix(PRECONDITIONED) in STATISTICS]
    curvatures = [name for name in names if name.removeprefix(PRECONDITIONED) not in WITHOUT_EDGE]
    own = [name for name in curvatures if name.startswith(PRECONDITIONED)]
    return own or curvatures


def summary(dataset: xarray.Dataset) -> DataFrame:
    """A row per statistic at the last record; momentum: the β that its value is for, where it depends on one."""
    import pandas as pd

    columns = ["value", "standard_error", "lower", "upper", "over_edge", "momentum"]
    if not dataset.sizes["record"]:
        return pd.DataFrame(columns=columns)
    last = dataset.isel(replica=0, record=-1)
    with_edge = compared(dataset)
    rows = {}
    for name in map(str, dataset.data_vars):
        if name.removeprefix(PRECONDITIONED) not in STATISTICS:
            continue
        value = float(last[name])
        beside = {key: float(last.get(f"{name}_{key}", np.nan)) for key in columns[1:4]}
        over = value / float(last["edge"]) if name in with_edge else np.nan
        momentum = 0.0 if name.removeprefix(PRECONDITIONED) == MEAN_SQUARE else np.nan
        rows[name] = {"value": value, **beside, "over_edge": over, "momentum": momentum}
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def figure(dataset: xarray.Dataset) -> Figure:
    """Statistics over the edge against the step, with 95 % intervals or bounds where there are any; below, the loss."""
    from esssim import plots

    with plots.style():
        return _figure(dataset)


def _figure(dataset: xarray.Dataset) -> Figure:
    from esssim.plots import BLACK, GREY, LOOKS, REPORT, Look, draw_edge, legend_above

    drawn, _, _ = REPORT.figure(aspect=0.62)
    above, below = drawn.subplots(2, 1, sharex=True, height_ratios=(2.4, 1.0))
    steps, edge = dataset["step"].values, dataset["edge"].values
    for name in reversed(compared(dataset)):
        values = dataset[name].values[0]
        statistic = name.removeprefix(PRECONDITIONED)
        look = LOOKS.get(statistic, Look(STATISTICS[statistic].short, GREY, "x", "-"))
        error = 1.96 * dataset.get(f"{name}_standard_error", 0 * dataset[name]).values[0]
        low, high = (dataset.get(f"{name}_{end}", dataset[name]).values[0] for end in ("lower", "upper"))
        low, high = np.minimum(low, values - error), np.maximum(high, values + error)
        known = np.isfinite(values) & np.isfinite(edge)
        if not known.any():
            continue
        x, unit = steps[known], edge[known]
        above.fill_between(x, low[known] / unit, high[known] / unit, color=look.color, alpha=0.25, linewidth=0)
        above.plot(
            x, values[known] / unit, color=look.color, linewidth=look.width, linestyle=look.line, marker=look.marker,
            markersize=look.size * 0.8, markevery=max(1, len(x) // 8), label=look.label,
        )  # fmt: skip
    draw_edge(above, "edge")
    above.set_ylim(0, None)
    above.set_ylabel("statistic / edge")
    if "loss" in dataset:
        loss = dataset["loss"].values[0]
        below.plot(steps, loss, color=BLACK, linewidth=1.0)
        if (loss[np.isfinite(loss)] > 0).any():
            below.set_yscale("log")
    below.set_ylabel("loss")
    below.set_xlabel("step")
    named = [line for line in above.lines if not str(line.get_label()).startswith("_")]
    if named:
        legend_above(drawn, named[::-1])
    return drawn
