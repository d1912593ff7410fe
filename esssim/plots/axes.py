"""What several pictures share: the line of the edge, the axis of batch sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from esssim.plots.style import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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


def batch_axis(axes: Axes, sizes: Sequence[int], n: int | None) -> None:
    """A logarithmic axis of batch sizes that ends with b = n, or with n − 1, where nothing is left at n."""
    from matplotlib.ticker import NullLocator

    ends = {} if n is None else {n: f"$n={n}$", n - 1: f"$n-1={n - 1}$"}
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
