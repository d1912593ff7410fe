"""A sweep as a heat map over two of its axes; where the value is a level, with what its verdict says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray

from esssim import _validate
from esssim.experiments.measures import VERDICTS
from esssim.plots.pages import REPORT, Page
from esssim.plots.style import BLACK, GREY, legend_above
from esssim.statistics.table import STATISTICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 24
# Labels at an axis that can be read next to each other.
MOST_LABELS = 12
# Levels this far from the edge have the end colours.
SPAN = 0.5


def sweep_figure(
    found: xarray.Dataset, x: str, y: str, value: str, at: Mapping[str, Any] | None = None, page: Page = REPORT
) -> Figure:
    """The value over two axes of a sweep; a panel for each value of the others, which `at` can fix.

    A level is drawn in colours around the edge 1. A line surrounds the cells that settle at it, hatching covers those
    without a verdict, and a cross those without a level. Call within `style`. Raises ValueError for axes and variables
    that there are not, a value with sides of its own, and more than 24 panels.
    """
    dims = found["state"].dims
    names = tuple(map(str, dims))
    for name, axis in (("x", x), ("y", y)):
        _validate.choice(name, axis, names)
    if x == y:
        raise ValueError(f"y must be another axis than x, got {y!r} twice")
    _validate.choice("value", value, tuple(map(str, found.data_vars)))
    if set(found[value].dims) != set(dims):
        raise ValueError(
            f"value must be one number for each cell, {value!r} has {', '.join(map(str, found[value].dims))}"
        )
    found = _fixed(found, dict(at or {}), names)
    panels = _panels(found, [name for name in map(str, found["state"].dims) if name not in (x, y)])
    figure, n_rows, n_columns = page.figure(len(panels), aspect=0.75, narrowest=1.6)
    grid = np.atleast_1d(figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)).ravel()
    is_level = value.startswith("level:")
    values = [panel[value].transpose(y, x).values for _, panel in panels]
    low, high = (1 - SPAN, 1 + SPAN) if is_level else _range(values)
    mesh = None
    for axes, (title, panel), numbers in zip(grid, panels, values, strict=False):
        colors = "RdBu_r" if is_level else "viridis"
        mesh = axes.pcolormesh(np.ma.masked_invalid(numbers), cmap=colors, vmin=low, vmax=high, rasterized=True)
        axes.set_facecolor("#EEEEEE")
        if is_level:
            _draw_verdicts(axes, panel[value.replace("level:", "verdict:", 1)].transpose(y, x).values)
        axes.set_title(title)
        _label(axes, found, x, y)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[: len(panels)]:
        if axes.get_subplotspec().is_last_row():
            axes.set_xlabel(_words(x))
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(_words(y))
    if mesh is not None:
        bar = figure.colorbar(mesh, ax=list(grid), extend="both" if is_level else "neither")
        bar.set_label(_title(value))
    if is_level:
        legend_above(figure, _handles())
    return figure


def _range(values: list[np.ndarray]) -> tuple[float, float]:
    every = np.concatenate([numbers.ravel() for numbers in values])
    every = every[np.isfinite(every)]
    return (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)


def _fixed(found: xarray.Dataset, at: dict[str, Any], names: tuple[str, ...]) -> xarray.Dataset:
    """The cells with the given values of some axes."""
    for key, wanted in at.items():
        _validate.choice("at", key, names)
        known = found[key].values
        here = (
            np.isclose(known.astype(float), float(wanted), rtol=1e-9) if known.dtype.kind in "fiu" else known == wanted
        )
        if not here.any():
            listed = ", ".join(map(str, known[:MOST_LABELS]))
            raise ValueError(
                f"at must have a value of {key} ({listed}{', …' if len(known) > MOST_LABELS else ''}), got {wanted!r}"
            )
        found = found.isel({key: int(np.argmax(here))})
    return found


def _panels(found: xarray.Dataset, others: list[str]) -> list[tuple[str, xarray.Dataset]]:
    """A title and the cells of each panel."""
    shape = [found.sizes[name] for name in others]
    if int(np.prod(shape)) > MOST_PANELS:
        counts = ", ".join(f"{name} has {count} values" for name, count in zip(others, shape, strict=True))
        raise ValueError(f"at must fix the other axes to at most {MOST_PANELS} panels, {counts}")
    panels = []
    for place in np.ndindex(*shape):
        chosen = found.isel(dict(zip(others, place, strict=True)))
        panels.append((", ".join(f"{name.split('.')[-1]} = {chosen[name].item()}" for name in others), chosen))
    return panels


def _draw_verdicts(axes: Axes, codes: np.ndarray) -> None:
    """A line around what settles, hatching where there is no verdict, a cross where there is no level."""
    settles = codes == VERDICTS.index("settles")
    padded = np.pad(settles, 1)
    rows, columns = settles.shape
    for i in range(rows + 1):
        for j in range(columns + 1):
            if padded[i, j + 1] != padded[i + 1, j + 1] and j < columns:
                axes.plot([j, j + 1], [i, i], color=BLACK, linewidth=1.2)
            if padded[i + 1, j] != padded[i + 1, j + 1] and i < rows:
                axes.plot([j, j], [i, i + 1], color=BLACK, linewidth=1.2)
    from matplotlib.patches import Rectangle

    for i, j in np.argwhere(codes == VERDICTS.index("inconclusive")):
        axes.add_patch(Rectangle((j, i), 1, 1, fill=False, hatch="////", edgecolor=GREY, linewidth=0))
    crossed = np.argwhere(codes == VERDICTS.index("undefined"))
    axes.plot(crossed[:, 1] + 0.5, crossed[:, 0] + 0.5, "x", color=GREY, markersize=3)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(facecolor="none", edgecolor=BLACK, linewidth=1.2, label="settles at the edge"),
        Patch(facecolor="none", edgecolor=GREY, hatch="////", linewidth=0, label="no verdict"),
        Line2D([], [], color=GREY, marker="x", linestyle="", markersize=4, label="no level"),
    ]


def _label(axes: Axes, found: xarray.Dataset, x: str, y: str) -> None:
    for name, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        labels = found[name].values
        every = max(1, -(-len(labels) // MOST_LABELS))
        axis.set_ticks(np.arange(len(labels))[::every] + 0.5, [_short(label) for label in labels[::every]])
    axes.tick_params(length=0)
    axes.set_xlim(0, found.sizes[x])
    axes.set_ylim(0, found.sizes[y])


def _short(label: Any) -> str:
    return f"{label:.3g}" if isinstance(label, float | np.floating) else str(label)[:24]


def _words(key: str) -> str:
    return (
        key.split(".")[-1].replace("_", " ")
        if not key.endswith((".from", ".to"))
        else "step size, " + key.split(".")[-1]
    )


def _title(value: str) -> str:
    kind, _, name = value.partition(":")
    title = STATISTICS[name].short if name in STATISTICS else name.replace("_", " ")
    if kind == "level":
        return rf"level $(\eta/2)\times$ {title}"
    return f"{kind.replace('_', ' ')}: {title}" if title else kind.replace("_", " ")
