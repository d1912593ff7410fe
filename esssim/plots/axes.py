"""Arrays and tables drawn onto matplotlib axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from esssim._rows import Row
from esssim.experiments import FOLLOWED
from esssim.plots.style import CASING, GREY, LOOKS, Look, small_letters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure


def draw_edge(axes: Axes, label: str | None = r"$2/\eta$", tolerance: float | None = None) -> None:
    """The line of the edge 2/η, at 1 where levels (η/2)·statistic are shown, named at the right end of the axes."""
    if tolerance is not None:
        axes.axhspan(1 - tolerance, 1 + tolerance, color="#DDDDDD", linewidth=0, zorder=0)
    axes.axhline(1.0, color=GREY, linewidth=0.8, zorder=1, label="_edge")
    if label:
        axes.annotate(
            label, (1, 1), (2, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="left", va="center", color="#333333", annotation_clip=False,
        )  # fmt: skip


def draw_ramp(
    axes: Axes,
    rows: Sequence[Row],
    label: str | None = r"$2/\eta$",
    x_name: str = "relative_step_size",
    since: float | None = FOLLOWED,
) -> None:
    """The rows of one run (`trace_rows`): (η/2)·statistic, mean and range of the replicas, against a column, by default
    η/η₀; a dotted line at `since`, from where levels are averaged."""
    x = _column(rows, x_name)
    draw_edge(axes, label)
    if since is not None:
        axes.axvline(since, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
    for rank, (name, look) in enumerate(reversed(LOOKS.items())):
        low, high = _column(rows, f"{name}_lowest"), _column(rows, f"{name}_highest")
        axes.fill_between(x, low, high, color=look.color, alpha=0.25, linewidth=0, zorder=2 + rank)
        axes.plot(
            x, _column(rows, name), color=look.color, linewidth=look.width, linestyle=look.line, zorder=2 + rank,
            marker=look.marker, markersize=look.size * 0.8, markevery=(3 + 2 * rank, max(1, len(x) // 4)),
        )  # fmt: skip


def draw_levels(axes: Axes, rows: Sequence[Row]) -> None:
    """The rows of one setting (`level_rows`): levels against b with 95 % intervals, open if inconclusive."""
    draw_edge(axes, tolerance=float(rows[0]["tolerance"]))
    for rank, (name, look) in enumerate(reversed(LOOKS.items())):
        mine = [row for row in rows if row["statistic"] == name]
        b, level = _column(mine, "batch_size"), _column(mine, "level")
        errors = np.abs(np.stack([_column(mine, "lower"), _column(mine, "upper")]) - level)
        axes.plot(b, level, color=look.color, linewidth=look.width, linestyle=look.line, zorder=2 + rank)
        axes.errorbar(b, level, errors, fmt="none", ecolor=look.color, elinewidth=0.8, capsize=1.5, zorder=2 + rank)
        for is_open in (False, True):
            chosen = np.array([(row["verdict"] == "inconclusive") is is_open for row in mine], dtype=bool)
            axes.plot(
                b[chosen], level[chosen], look.marker, markersize=look.size, markeredgecolor=look.color,
                markerfacecolor=CASING if is_open else look.color, markeredgewidth=0.8, zorder=3 + rank,
                label=f"_{name} {'open' if is_open else 'decided'}",
            )  # fmt: skip
        if name == "minibatch_sharpness":
            _name_farthest(axes, b, level, look.color)
    batch_axis(axes, sorted({int(row["batch_size"]) for row in rows}), int(rows[0]["n_samples"]))


def _name_farthest(
    axes: Axes, b: npt.NDArray[np.float64], level: npt.NDArray[np.float64], color: str, at_least: float = 0.1
) -> None:
    """The level farthest from the edge, as a number beside its point."""
    k = int(np.argmax(np.abs(level - 1)))
    if abs(level[k] - 1) >= at_least:
        above, first = level[k] > 1, k == 0
        axes.annotate(
            f"{level[k]:.2f}", (b[k], level[k]), (-3 if first else 0, 5 if above else -4), textcoords="offset points",
            ha="left" if first else "center", va="bottom" if above else "top", fontsize=small_letters(), color=color,
        )  # fmt: skip


def batch_axis(axes: Axes, sizes: Sequence[int], n: int) -> None:
    """A logarithmic axis of batch sizes that ends with b = n, or with n − 1, where nothing is left at n."""
    from matplotlib.ticker import NullLocator

    ends = {n: f"$n={n}$", n - 1: f"$n-1={n - 1}$"}
    axes.set_xscale("log")
    axes.set_xticks(list(sizes), [ends.get(b, str(b)) for b in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("batch size $b$")


def thin_labels(figure: Figure) -> None:
    """Leave out labels of batch sizes that would touch their neighbours; b = n stays."""
    from matplotlib.ticker import FixedLocator

    figure.draw_without_rendering()
    for axes in figure.axes:
        if not isinstance(axes.xaxis.get_major_locator(), FixedLocator):
            continue
        ticks, labels = axes.get_xticks(), axes.get_xticklabels()
        if len(ticks) != len(labels):  # without numbers of its own
            continue
        texts, left = [label.get_text() for label in labels], np.inf
        for k in np.argsort(ticks)[::-1]:
            box = labels[k].get_window_extent()
            if box.x1 > left - 0.35 * box.height and texts[k]:
                texts[k] = ""
            elif texts[k]:
                left = box.x0
        if texts != [label.get_text() for label in labels]:
            axes.set_xticks(ticks, texts)


def draw_stability(
    axes: Axes, b: npt.ArrayLike, step_size: npt.ArrayLike, growth: npt.ArrayLike, limit: float
) -> QuadMesh:
    """Growth rate per step (len(step_size), len(b)) as colour over logarithmic axes; the hue turns at 0."""
    from matplotlib.colors import LinearSegmentedColormap

    # The lightness falls throughout: a grey print tells both signs apart.
    hues = ["#F7FCFF", "#BFE2F8", "#86BEE6", "#9A9A9A", "#B8692F", "#8A4110", "#2E1000"]
    places = [0.0, 0.25, 0.45, 0.5, 0.55, 0.75, 1.0]
    colors = LinearSegmentedColormap.from_list("growth", list(zip(places, hues, strict=True)))
    mesh = axes.pcolormesh(
        _cell_edges(b), _cell_edges(step_size), np.asarray(growth), cmap=colors, vmin=-limit, vmax=limit,
        linewidth=0, rasterized=True, zorder=0,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    return mesh


def draw_threshold(axes: Axes, b: npt.ArrayLike, step_size: npt.ArrayLike, look: Look) -> None:
    """A critical step size against b, with a light casing that shows on any colour."""
    from matplotlib.patheffects import Normal, Stroke

    axes.plot(
        np.asarray(b), np.asarray(step_size), color=look.color, linewidth=look.width, linestyle=look.line,
        path_effects=[Stroke(linewidth=look.width + 1.6, foreground=CASING), Normal()], label=look.label, zorder=3,
    )  # fmt: skip


def _cell_edges(centres: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Borders of cells around logarithmically spaced centres: geometric means between, as far again outside."""
    logs = np.log(np.asarray(centres, dtype=np.float64))
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - middle[0]], middle, [2 * logs[-1] - middle[-1]]]))


def _column(rows: Iterable[Row], name: str) -> npt.NDArray[np.float64]:
    return np.array([row[name] for row in rows], dtype=np.float64)
