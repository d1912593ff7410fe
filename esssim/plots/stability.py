"""The stability diagram: growth rate of SGD as colour over batch size and step size, and the thresholds as lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray

from esssim import _validate
from esssim._rows import Row, column
from esssim.plots.axes import batch_axis, thin_labels
from esssim.plots.runs import figure_of, own_axes, rows_of
from esssim.plots.style import BLACK, CASING, LOOKS, Look, legend_above
from esssim.statistics.table import MEAN_SQUARE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh

LIMIT = 0.4  # growth rates beyond it have the end colours
THRESHOLDS = {
    "sharpness": Look(
        r"sharpness, $2/\lambda_{\max}$", LOOKS["sharpness"].color, "", LOOKS["sharpness"].line, main=True
    ),
    "almost_sure": Look("almost-sure edge", BLACK, "", (0, (6, 1.2, 1.5, 1.2)), main=True),
    "minibatch_sharpness": Look(
        "MiniBS, $2/M_b$", LOOKS["minibatch_sharpness"].color, "", LOOKS["minibatch_sharpness"].line, main=True
    ),
    "mean_square": Look("mean-square edge, $2/Q_b$", LOOKS[MEAN_SQUARE].color, "", "-", main=True),
}
# The lightness falls throughout: a grey print still shows both signs.
HUES = ("#F7FCFF", "#BFE2F8", "#86BEE6", "#9A9A9A", "#B8692F", "#8A4110", "#2E1000")
PLACES = (0.0, 0.25, 0.45, 0.5, 0.55, 0.75, 1.0)


def stability_rows(diagram: xarray.Dataset) -> list[Row]:
    """The numbers of `es.stability.diagram`, with step sizes in units of the full-batch edge: a row per point of the
    grid (threshold ""), then one per threshold and batch size with its 95 % interval."""
    _validate.instance("diagram", diagram, xarray.Dataset, "es.stability.diagram returns")
    missing = [name for name in ("growth_rate", "step_size_at", "full_batch_edge") if name not in diagram]
    if missing:
        words = f"got a Dataset without {', '.join(missing)}"
        raise ValueError(f"diagram must be what es.stability.diagram returns, {words}")
    unit, n = float(diagram["full_batch_edge"]), int(diagram.attrs["n_samples"])
    steps, names = (diagram[name].values.tolist() for name in ("step_size", "threshold"))
    grid, lines = list[Row](), list[Row]()
    for b in diagram["batch_size"].values.tolist():
        at = diagram.sel(batch_size=b)
        for name in names:
            value, lower, upper = (
                float(at[f"step_size_at{end}"].sel(threshold=name)) / unit for end in ("", "_lower", "_upper")
            )
            lines.append(_row(n, b, value, threshold=name, lower=lower, upper=upper))
        rates = zip(at["growth_rate"].values.tolist(), at["growth_rate_standard_error"].values.tolist(), strict=True)
        for eta, (rate, error) in zip(steps, rates, strict=True):
            grid.append(_row(n, b, eta / unit, growth_rate=rate, standard_error=error))
    return grid + lines


def _row(n: int, b: int, step_size: float, **others: float | str) -> Row:
    empty: Row = dict.fromkeys(("threshold", "lower", "upper", "growth_rate", "standard_error"), "")
    return {"n_samples": n, "batch_size": b, "relative_step_size": step_size} | empty | others


def stability_diagram(
    diagram: xarray.Dataset | Sequence[Row], *, limit: float = LIMIT, axes: Axes | None = None
) -> Axes:
    """Draw where SGD contracts (blue) and grows (brown) over batch size and step size, and four thresholds as lines.

    diagram: what `es.stability.diagram` returns, or its `stability_rows`. Step sizes are in units of the full-batch
    edge. limit: growth rates beyond it have the end colours. axes: where to draw; by default a figure of its own with a
    legend. Raises ValueError for another Dataset.
    """
    limit = _validate.real("limit", limit, above=0.0)
    rows = (
        stability_rows(diagram)
        if isinstance(diagram, xarray.Dataset)
        else rows_of("diagram", diagram, ("batch_size", "relative_step_size", "threshold"), "stability_rows")
    )
    grid = [row for row in rows if not row["threshold"]]
    sizes = sorted({int(row["batch_size"]) for row in grid})
    steps = sorted({float(row["relative_step_size"]) for row in grid})
    growth = column(grid, "growth_rate").reshape(len(sizes), len(steps)).T
    drawn = own_axes(axes, aspect=0.75)
    mesh = _draw_growth(drawn, sizes, steps, growth, limit)
    for name, look in THRESHOLDS.items():
        line = [row for row in rows if row["threshold"] == name]
        _draw_threshold(drawn, column(line, "batch_size"), column(line, "relative_step_size"), look)
    drawn.set_ylabel(r"step size $\eta$, in units of $2/\lambda_{\max}$")
    drawn.set_ylim(*_cell_edges(steps)[[0, -1]])
    drawn.text(0.04, 0.93, "grows", transform=drawn.transAxes, color="white", va="top", fontstyle="italic")
    drawn.text(0.96, 0.07, "contracts", transform=drawn.transAxes, color="black", ha="right", fontstyle="italic")
    ticks = [-limit, -limit / 2, 0, limit / 2, limit]
    bar = figure_of(drawn).colorbar(mesh, ax=drawn, extend="both", ticks=ticks, format="{x:.2g}")
    narrow = figure_of(drawn).get_figwidth() < 4
    bar.set_label(
        "growth rate per step\n(negative: stable)" if narrow else r"growth rate $\gamma$ per step (negative: stable)"
    )
    if axes is None:
        ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if steps[0] <= tick <= steps[-1]]
        drawn.set_yticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        batch_axis(drawn, sizes, next((int(row["n_samples"]) for row in rows if "n_samples" in row), None))
        legend_above(figure_of(drawn), drawn.get_legend_handles_labels()[0])
        thin_labels(figure_of(drawn))
    return drawn


def _draw_growth(
    axes: Axes, b: Sequence[int], step_size: Sequence[float], growth: npt.NDArray[np.float64], limit: float
) -> QuadMesh:
    """Growth rate per step (len(step_size), len(b)) as colour over logarithmic axes; the hue turns at 0."""
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("growth", list(zip(PLACES, HUES, strict=True)))
    mesh = axes.pcolormesh(
        _cell_edges(b), _cell_edges(step_size), growth, cmap=colors, vmin=-limit, vmax=limit, linewidth=0,
        rasterized=True, zorder=0,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    return mesh


def _draw_threshold(axes: Axes, b: npt.ArrayLike, step_size: npt.ArrayLike, look: Look) -> None:
    """A critical step size against b, with a light casing that shows on any colour."""
    from matplotlib.patheffects import Normal, Stroke

    axes.plot(
        np.asarray(b), np.asarray(step_size), color=look.color, linewidth=look.width, linestyle=look.line,
        path_effects=[Stroke(linewidth=look.width + 1.6, foreground=CASING), Normal()], label=look.label, zorder=3,
    )  # fmt: skip


def _cell_edges(centres: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Borders of cells around logarithmically spaced centres: geometric means between, as far again outside."""
    logs = np.log(np.asarray(centres, dtype=np.float64))
    if len(logs) == 1:
        return np.exp(logs[0] + np.array([-0.5, 0.5]))
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - middle[0]], middle, [2 * logs[-1] - middle[-1]]]))
